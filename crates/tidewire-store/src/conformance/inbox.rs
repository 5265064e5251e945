//! The inbox.

use futures::future::join_all;
use tidewire_core::store::ParkedQuery;
use tidewire_core::{Commit, Committed, Envelope, EventType, Expect, Mark, Park, Position, Unpark};

use super::{Rig, append, applied, event, put, seen};

fn handle(envelope: &Envelope) -> Commit {
    Commit { seen: vec![seen("h", envelope)], ..Commit::default() }
}

pub(super) fn park(consumer: &str, envelope: &Envelope, follower: bool) -> Park {
    Park {
        consumer: consumer.into(),
        envelope: envelope.clone(),
        code: if follower { "parked.behind" } else { "handler.failed" }.into(),
        reason: "ü".into(),
        attempts: 2,
        follower,
        place: None,
    }
}

pub(super) async fn knows_what_was_handled_or_parked(rig: Rig) {
    let (a, b, c) = (put(&rig, "a").await, put(&rig, "b").await, put(&rig, "c").await);
    applied(&rig, handle(&a)).await;
    applied(&rig, Commit { park: vec![park("h", &b, false)], ..Commit::default() }).await;
    let other = Mark { source: "/elsewhere".into(), ..Mark::of(&a) };
    let marks = [Mark::of(&c), Mark::of(&b), other, Mark::of(&a), Mark::of(&a)];
    assert_eq!(rig.store.seen("h", &marks).await.unwrap(), [false, true, false, true, true]);
    assert_eq!(rig.store.seen("nobody", &marks).await.unwrap(), [false; 5]);
    assert!(rig.store.seen("h", &[]).await.unwrap().is_empty());
    assert_eq!(rig.store.handled("h").await.unwrap(), 1);
    assert_eq!(rig.store.handled("nobody").await.unwrap(), 0);
}

pub(super) async fn counts_starts_until_handled(rig: Rig) {
    let (a, b) = (put(&rig, "a").await, put(&rig, "b").await);
    let marks = [Mark::of(&a), Mark::of(&b)];
    assert_eq!(rig.store.start("h", &marks[..1], None).await.unwrap(), [1]);
    assert_eq!(rig.store.start("h", &marks, Some("it failed")).await.unwrap(), [2, 1]);
    assert_eq!(rig.store.start("other", &marks, None).await.unwrap(), [1, 1]);
    assert!(rig.store.start("h", &[], None).await.unwrap().is_empty());
    applied(&rig, handle(&a)).await;
    // Handled: whoever asks again starts over.
    assert_eq!(rig.store.start("h", &marks, None).await.unwrap(), [1, 2]);
}

pub(super) async fn finds_what_is_unhandled(rig: Rig) {
    let mut sent = Vec::new();
    for n in 0..10 {
        let mut envelope = event(&rig, &format!("k/{n}"));
        if n == 4 {
            envelope.ty = EventType::new("other.happened", 1);
        }
        applied(&rig, append(Expect::Any, vec![envelope.clone()])).await;
        sent.push(envelope);
    }
    let names = ["thing.happened".to_owned()];
    let unhandled = |until: u64, limit: usize| {
        let (store, names) = (rig.store.clone(), names.clone());
        async move {
            let found = store.unhandled("h", &names, Position(until), limit).await.unwrap();
            found.iter().map(|recorded| recorded.position.0).collect::<Vec<_>>()
        }
    };
    assert_eq!(unhandled(100, 100).await, [1, 2, 3, 4, 6, 7, 8, 9, 10]);
    applied(&rig, handle(&sent[0])).await;
    applied(&rig, handle(&sent[2])).await;
    applied(&rig, Commit { park: vec![park("h", &sent[1], false)], ..Commit::default() }).await;
    assert_eq!(unhandled(7, 100).await, [4, 6, 7]);
    assert_eq!(unhandled(10, 2).await, [4, 6]);
    for n in [3, 5, 6, 7, 8, 9] {
        applied(&rig, handle(&sent[n])).await;
    }
    assert!(unhandled(10, 100).await.is_empty());
    assert!(rig.store.unhandled("h", &[], Position(10), 10).await.unwrap().is_empty());
    // What is taken out of parking without a mark is unhandled again.
    let ordinal = rig.store.parked(&ParkedQuery { limit: 1, ..Default::default() }).await.unwrap()[0].ordinal;
    let unpark = vec![Unpark { consumer: "h".into(), ordinal }];
    applied(&rig, Commit { unpark, ..Commit::default() }).await;
    assert_eq!(unhandled(10, 100).await, [2]);
    assert_eq!(rig.store.unhandled("other", &names, Position(10), 100).await.unwrap().len(), 9);
}

pub(super) async fn racing_commits_handle_once(rig: Rig) {
    for _ in 0..10 {
        let cause = put(&rig, "in").await;
        let race = (0..8).map(|n| {
            let commit =
                Commit { seen: vec![seen("h", &cause)], ..append(Expect::Any, vec![event(&rig, &format!("out/{n}"))]) };
            let store = rig.store.clone();
            tokio::spawn(async move { store.commit(commit).await.unwrap() })
        });
        let results = join_all(race).await.into_iter().map(|result| result.unwrap());
        assert_eq!(results.filter(|result| matches!(result, Committed::Applied { .. })).count(), 1);
    }
    assert_eq!(rig.store.head().await.unwrap(), Position(20));
}
