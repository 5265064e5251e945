//! An auditor of its own: looks every event up, in the log, on the broker and in the inboxes.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde_json::Value;
use tidewire::store::Selection;
use tidewire::{Key, Mark, Ports};

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
    let events = audit_ports(&ports, consumers).await;
    ports.broker.close().await;
    ports.store.close().await;
    events
}

/// Audits log, broker and inboxes once everything has settled. Answers how many events the log holds.
pub async fn audit_ports(ports: &Ports, consumers: &[(String, Vec<String>)]) -> u64 {
    let held = held(ports).await;
    let head = ports.store.head().await.expect("a head");
    let mut selection = Selection { limit: 1_000, ..Selection::default() };
    let mut versions = HashMap::new();
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
            let mark = Mark::of(&recorded.envelope);
            assert!(held.contains(&mark), "lost on the way to the broker: {mark:?}");
        }
        selection.after = next;
    }
    assert_eq!(selection.after, head);
    for (consumer, names) in consumers {
        let lost = ports.store.unhandled(consumer, names, head, 10).await.expect("an answer");
        assert!(lost.is_empty(), "{consumer} never handled {lost:?}");
    }
    head.0
}

/// What the broker holds: in order per key, and once where the broker recognises what it holds.
async fn held(ports: &Ports) -> HashSet<Mark> {
    let recognises = ports.broker.features().dedupe_window_events > 0;
    let mut held = HashSet::new();
    let mut versions: HashMap<Key, u64> = HashMap::new();
    let mut cursor = None;
    loop {
        let (page, next) = ports.broker.scan(cursor, 1_000).await.expect("a page");
        if page.is_empty() {
            return held;
        }
        for envelope in page {
            if !held.insert(Mark::of(&envelope)) {
                assert!(!recognises, "twice on the broker: {}", envelope.id);
                continue;
            }
            let version = envelope.sequence.expect("events of the log have a version");
            let before = versions.insert(envelope.key.clone(), version).unwrap_or(0);
            assert!(before < version, "{} is out of order on the broker: {version} after {before}", envelope.key);
        }
        cursor = next;
    }
}
