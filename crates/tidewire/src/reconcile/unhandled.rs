//! What a consumer has yet to handle, of what is its business.

use tidewire_core::store::Selection;
use tidewire_core::{Consumer, Mark, Position, Recorded, Store, StoreError};

/// Events read at once.
const PAGE: usize = 1_000;

/// Events up to `until` that `consumer` reads and has neither handled nor parked, in order, at most `limit`. Those up to
/// [`Consumer::since`] are not among them.
pub(crate) async fn unhandled(
    store: &dyn Store,
    consumer: &Consumer,
    until: Position,
    limit: usize,
) -> Result<Vec<Recorded>, StoreError> {
    let names = consumer.names();
    if consumer.since == Position(0) {
        return store.unhandled(&consumer.name, &names, until, limit).await;
    }
    let mut found = Vec::new();
    if names.is_empty() {
        return Ok(found);
    }
    let mut selection =
        Selection { after: consumer.since, until: Some(until), names, limit: PAGE, ..Selection::default() };
    while selection.after < until {
        let page = store.read(&selection).await?;
        let Some(last) = page.last() else { break };
        selection.after = last.position;
        let marks: Vec<Mark> = page.iter().map(|recorded| Mark::of(&recorded.envelope)).collect();
        let seen = store.seen(&consumer.name, &marks).await?;
        let left = limit - found.len();
        found.extend(page.into_iter().zip(seen).filter(|(_, seen)| !seen).map(|(recorded, _)| recorded).take(left));
        if found.len() >= limit {
            break;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidewire_core::{Append, Commit, Draft, EventType, Expect, Key, ManualClock, Seen};
    use tidewire_store::{SqliteOptions, SqliteStore};

    use super::*;

    const TYPE: EventType = EventType::new("test.counted", 1);

    #[tokio::test]
    async fn what_came_before_is_nobodys_business() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap(), 1));
        let store = SqliteStore::open(SqliteOptions::new(dir.path()), clock.clone()).await.unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let key = Key::of("counter", "a");
        let mut events = Vec::new();
        for _ in 0..5 {
            let draft = Draft {
                ty: TYPE,
                key: key.clone(),
                data: None,
                datacontenttype: None,
                subject: None,
                id: None,
                correlationid: None,
                expirytime: None,
                dataref: None,
                extensions: Default::default(),
            };
            events.push(draft.seal(clock.as_ref(), "/tests", None));
        }
        let mark = Mark::of(&events[3]);
        let append = vec![Append { key, expect: Expect::Any, events }];
        let seen = vec![Seen { consumer: "late".into(), mark }];
        store.commit(Commit { append, seen, ..Commit::default() }).await.unwrap();
        let late = Consumer { since: Position(2), ..Consumer::new("late", vec![TYPE]) };
        let found = async |consumer: &Consumer, until, limit| -> Vec<u64> {
            let found = unhandled(store.as_ref(), consumer, Position(until), limit).await.unwrap();
            found.into_iter().map(|recorded| recorded.position.0).collect()
        };
        assert_eq!(found(&late, 5, 10).await, [3, 5]);
        assert_eq!(found(&late, 5, 1).await, [3]);
        assert_eq!(found(&late, 4, 10).await, [3]);
        assert_eq!(found(&late, 2, 10).await, [0; 0]);
        assert_eq!(found(&Consumer { since: Position(0), ..late.clone() }, 5, 10).await, [1, 2, 3, 5]);
        assert_eq!(found(&Consumer::new("late", Vec::new()), 5, 10).await, [0; 0]);
    }
}
