//! An auditor of its own: opens what a process left behind and looks every event up.

use std::collections::HashSet;
use std::path::Path;

use serde_json::Value;
use tidewire::store::Selection;

use super::process::Instance;
use super::world::open;

/// What each consumer reads, as the running process says.
pub async fn consumers(instance: &Instance) -> Vec<(String, Vec<String>)> {
    let listed = instance.get("/v1/consumers").await;
    let name = |ty: &Value| ty.as_str().and_then(|ty| ty.rsplit_once(".v")).map(|(name, _)| name.to_owned());
    let consumer = |row: &Value| {
        let types = row["types"].as_array().expect("types").iter().filter_map(name).collect();
        (row["name"].as_str().expect("a name").to_owned(), types)
    };
    listed["items"].as_array().expect("items").iter().map(consumer).collect()
}

/// Audits a data directory that no process has open. Answers how many events the log holds.
pub async fn audit(dir: &Path, consumers: &[(String, Vec<String>)]) -> u64 {
    assert!(consumers.len() >= 8, "the services do consume: {consumers:?}");
    let ports = open(dir).await;
    let head = ports.store.head().await.expect("a head");
    let mut held: HashSet<(String, String)> = HashSet::new();
    let mut cursor = None;
    loop {
        let (page, next) = ports.broker.scan(cursor, 1_000).await.expect("a page");
        if page.is_empty() {
            break;
        }
        for envelope in page {
            assert!(
                held.insert((envelope.source.clone(), envelope.id.clone())),
                "twice on the broker: {}",
                envelope.id
            );
        }
        cursor = next;
    }
    let mut selection = Selection { limit: 1_000, ..Selection::default() };
    let mut versions = std::collections::HashMap::new();
    loop {
        let page = ports.store.read(&selection).await.expect("a page");
        let Some(last) = page.last() else { break };
        let next = last.position;
        for recorded in &page {
            selection.after.0 += 1;
            assert_eq!(recorded.position, selection.after, "positions are gapless");
            let version = versions.entry(recorded.envelope.key.clone()).or_insert(0);
            *version += 1;
            assert_eq!(recorded.envelope.sequence, Some(*version), "versions are gapless per key");
            let mark = (recorded.envelope.source.clone(), recorded.envelope.id.clone());
            assert!(held.contains(&mark), "lost on the way to the broker: {mark:?}");
        }
        selection.after = next;
    }
    assert_eq!(selection.after, head);
    for (consumer, names) in consumers {
        let lost = ports.store.unhandled(consumer, names, head, 10).await.expect("an answer");
        assert!(lost.is_empty(), "{consumer} never handled {lost:?}");
    }
    ports.broker.close().await;
    ports.store.close().await;
    head.0
}
