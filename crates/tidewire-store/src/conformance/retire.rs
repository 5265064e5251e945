//! Retiring the oldest events.

use tidewire_core::store::{Conflict, Selection};
use tidewire_core::{Commit, Envelope, Expect, Key, Mark, Position, StoreError};

use super::{Rig, append, applied, conflict, duplicate, event, head, put, seen};

/// Removes everything up to `until`, and says how many events that were.
async fn retire(rig: &Rig, until: u64, limit: usize) -> u64 {
    let mut gone = 0;
    loop {
        let retired = rig.store.retire(Position(until), limit).await.unwrap();
        assert_eq!(rig.store.info().await.unwrap().first, retired.first);
        if retired.events == 0 {
            return gone;
        }
        gone += retired.events;
    }
}

async fn positions(rig: &Rig, selection: Selection) -> Vec<u64> {
    let found = rig.store.read(&selection).await.unwrap();
    found.iter().map(|recorded| recorded.position.0).collect()
}

fn all() -> Selection {
    Selection { limit: 1_000, ..Selection::default() }
}

pub(super) async fn the_log_begins_later_and_is_gapless_from_there(rig: Rig) {
    assert_eq!(rig.store.info().await.unwrap().first, Position(1));
    assert_eq!(retire(&rig, u64::MAX, 10).await, 0);
    let mut sent = Vec::new();
    for n in 0..20 {
        sent.push(put(&rig, &format!("k/{}", n % 4)).await);
    }
    assert_eq!(retire(&rig, 0, 100).await, 0);
    let retired = rig.store.retire(Position(8), 3).await.unwrap();
    assert_eq!((retired.events, retired.first), (3, Position(4)));
    assert_eq!(positions(&rig, all()).await, (4..=20).collect::<Vec<_>>());
    assert_eq!(retire(&rig, 8, 3).await, 5);
    assert_eq!(positions(&rig, all()).await, (9..=20).collect::<Vec<_>>());
    assert_eq!(positions(&rig, Selection { after: Position(3), limit: 2, ..all() }).await, [9, 10]);
    assert_eq!(positions(&rig, Selection { backwards: true, limit: 1, ..all() }).await, [20]);
    assert!(positions(&rig, Selection { id: Some(sent[7].id.clone()), ..all() }).await.is_empty());
    let types: Vec<u64> = rig.store.types().await.unwrap().into_iter().map(|(_, count)| count).collect();
    assert_eq!(types, [12]);
    // What comes next goes on from the head.
    assert_eq!(applied(&rig, append(Expect::Any, vec![event(&rig, "k/0")])).await, Position(21));
}

pub(super) async fn the_last_event_stays(rig: Rig) {
    for _ in 0..5 {
        put(&rig, "k").await;
    }
    assert_eq!(retire(&rig, u64::MAX, 100).await, 4);
    assert_eq!(positions(&rig, all()).await, [5]);
    assert_eq!(head(&rig).await, 5);
    assert_eq!(applied(&rig, append(Expect::Version(5), vec![event(&rig, "k")])).await, Position(6));
}

pub(super) async fn a_commit_of_many_events_is_retired(rig: Rig) {
    for _ in 0..3 {
        let events = (0..10).map(|_| event(&rig, "k")).collect();
        applied(&rig, append(Expect::Any, events)).await;
    }
    // Up to the midst of the second: it may stay, but nothing before it and nothing behind.
    let gone = retire(&rig, 15, 4).await;
    assert!((10..=15).contains(&gone), "{gone}");
    assert_eq!(positions(&rig, all()).await, (gone + 1..=30).collect::<Vec<_>>());
    assert_eq!(retire(&rig, 20, 4).await, 20 - gone);
}

pub(super) async fn streams_keep_their_versions_and_say_what_is_gone(rig: Rig) {
    let key = Key::new("a").unwrap();
    for _ in 0..3 {
        put(&rig, "a").await;
        put(&rig, "b").await;
    }
    put(&rig, "c").await;
    retire(&rig, 3, 100).await;
    for after in [0, 1] {
        let refused = rig.store.stream(&key, after, 10).await;
        assert!(matches!(refused, Err(StoreError::Retired(_))), "after {after}: {refused:?}");
    }
    let left = rig.store.stream(&key, 2, 10).await.unwrap();
    assert_eq!(left.iter().map(|r| r.envelope.sequence).collect::<Vec<_>>(), [Some(3)]);
    // All of it gone: that must not look like a stream that never was.
    retire(&rig, 6, 100).await;
    for after in [0, 2] {
        let refused = rig.store.stream(&key, after, 10).await;
        assert!(matches!(refused, Err(StoreError::Retired(_))), "after {after}: {refused:?}");
    }
    assert!(rig.store.stream(&key, 3, 10).await.unwrap().is_empty());
    assert!(rig.store.stream(&Key::new("never").unwrap(), 0, 10).await.unwrap().is_empty());
    let found = conflict(&rig, append(Expect::Version(0), vec![event(&rig, "a")])).await;
    assert_eq!(found, Conflict::Version { key: key.clone(), expected: 0, found: 3 });
    applied(&rig, append(Expect::Version(3), vec![event(&rig, "a")])).await;
    assert_eq!(rig.store.stream(&key, 3, 10).await.unwrap()[0].envelope.sequence, Some(4));
}

pub(super) async fn what_was_handled_stays_handled(rig: Rig) {
    let (a, b) = (put(&rig, "a").await, put(&rig, "b").await);
    put(&rig, "c").await;
    let handle = |envelope: &Envelope| Commit { seen: vec![seen("h", envelope)], ..Commit::default() };
    applied(&rig, handle(&a)).await;
    let names = ["thing.happened".to_owned()];
    retire(&rig, 2, 100).await;
    // The broker hands it out once more.
    duplicate(&rig, handle(&a)).await;
    assert_eq!(rig.store.seen("h", &[Mark::of(&a), Mark::of(&b)]).await.unwrap(), [true, false]);
    assert_eq!(rig.store.handled("h").await.unwrap(), 1);
    let unhandled = rig.store.unhandled("h", &names, Position(3), 10).await.unwrap();
    assert_eq!(unhandled.iter().map(|recorded| recorded.position.0).collect::<Vec<_>>(), [3]);
}

pub(super) async fn writers_and_readers_go_on_meanwhile(rig: Rig) {
    const EVENTS: u64 = 300;
    let writer = {
        let rig = rig.clone();
        tokio::spawn(async move {
            for n in 0..EVENTS {
                put(&rig, &format!("k/{}", n % 7)).await;
            }
        })
    };
    let mut cursor = 0;
    while cursor < EVENTS {
        rig.store.wait(Position(cursor), std::time::Duration::from_secs(10)).await;
        for position in positions(&rig, Selection { after: Position(cursor), limit: 20, ..all() }).await {
            assert_eq!(position, cursor + 1, "a position was missed");
            cursor = position;
        }
        // Only what was read.
        let retired = rig.store.retire(Position(cursor), 50).await.unwrap();
        assert!(retired.first.0 <= cursor + 1, "{retired:?} at {cursor}");
    }
    writer.await.unwrap();
    retire(&rig, EVENTS, 1_000).await;
    assert_eq!(positions(&rig, all()).await, [EVENTS]);
}
