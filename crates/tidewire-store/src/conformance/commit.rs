//! The commit: all or nothing.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use tidewire_core::store::{Conflict, ParkedQuery};
use tidewire_core::{
    Append, Call, Commit, Committed, DocumentWrite, Effect, Envelope, Expect, ExpectDocument, Key, Park, Position,
    StoreError, Timer, TimerWrite,
};

use super::{Rig, append, applied, conflict, duplicate, event, head, put, seen};

fn document(id: &str, expect: ExpectDocument, value: Option<&'static str>) -> DocumentWrite {
    DocumentWrite { collection: "c".into(), id: id.into(), expect, value: value.map(Bytes::from_static_str) }
}

trait FromStaticStr {
    fn from_static_str(text: &'static str) -> Bytes;
}

impl FromStaticStr for Bytes {
    fn from_static_str(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }
}

/// A commit with something in every part, about `cause`.
fn everything(rig: &Rig, cause: &Envelope, poison: &Envelope) -> Commit {
    let timer =
        Timer { owner: "h".into(), id: "t".into(), key: cause.key.clone(), due: rig.clock.now(), data: Bytes::new() };
    let call = Call::Mail { to: "a@example.com".into(), subject: "s".into(), text: "t".into() };
    Commit {
        append: vec![Append { key: Key::of("out", 1), expect: Expect::Version(0), events: vec![event(rig, "out/1")] }],
        seen: vec![seen("h", cause)],
        documents: vec![document("d", ExpectDocument::Absent, Some("{}"))],
        park: vec![Park {
            consumer: "h".into(),
            envelope: poison.clone(),
            code: "handler.failed".into(),
            reason: "it fails".into(),
            attempts: 3,
            follower: false,
            place: None,
        }],
        timers: vec![TimerWrite::Set(timer)],
        effects: vec![Effect::new("h", &cause.source, &cause.id, 0, call)],
        ..Commit::default()
    }
}

/// What of [`everything`] is there.
async fn traces(rig: &Rig, cause: &Envelope) -> [bool; 6] {
    let store = &rig.store;
    let later = rig.clock.now() + chrono::TimeDelta::days(1);
    [
        !store.stream(&Key::of("out", 1), 0, 1).await.unwrap().is_empty(),
        store.seen("h", &[seen("h", cause).mark]).await.unwrap()[0],
        store.documents("c", &["d".into()]).await.unwrap()[0].is_some(),
        !store.parked(&ParkedQuery { limit: 1, ..Default::default() }).await.unwrap().is_empty(),
        !store.due_timers(&["h".into()], later, 1).await.unwrap().is_empty(),
        !store.due_effects(later, 1).await.unwrap().is_empty(),
    ]
}

pub(super) async fn all_or_nothing(rig: Rig) {
    let (cause, poison) = (put(&rig, "in/1").await, put(&rig, "in/2").await);
    let broken = [
        Commit {
            append: append(Expect::Version(7), vec![event(&rig, "x")]).append,
            ..everything(&rig, &cause, &poison)
        },
        Commit {
            documents: vec![document("d", ExpectDocument::Revision(7), Some("{}"))],
            ..everything(&rig, &cause, &poison)
        },
        Commit {
            fence: Some(tidewire_core::Fence { lease: "l".into(), epoch: 1 }),
            ..everything(&rig, &cause, &poison)
        },
        Commit {
            append: append(Expect::Any, vec![Envelope { key: Key::of("y", 1), ..cause.clone() }]).append,
            ..everything(&rig, &cause, &poison)
        },
    ];
    for commit in broken {
        let found = rig.store.commit(commit).await;
        assert!(found.is_err(), "{found:?}");
        assert_eq!(traces(&rig, &cause).await, [false; 6]);
        assert_eq!(head(&rig).await, 2);
    }
    assert_eq!(applied(&rig, everything(&rig, &cause, &poison)).await, Position(3));
    assert_eq!(traces(&rig, &cause).await, [true; 6]);
}

pub(super) async fn a_duplicate_mark_writes_nothing(rig: Rig) {
    let (cause, poison) = (put(&rig, "in/1").await, put(&rig, "in/2").await);
    applied(&rig, Commit { seen: vec![seen("h", &cause)], ..Commit::default() }).await;
    duplicate(&rig, everything(&rig, &cause, &poison)).await;
    assert_eq!(traces(&rig, &cause).await, [false, true, false, false, false, false]);
    // Being a duplicate comes before any conflict.
    let stale = Commit { seen: vec![seen("h", &cause)], ..append(Expect::Version(9), vec![event(&rig, "x")]) };
    duplicate(&rig, stale).await;
    // Other consumers have inboxes of their own.
    applied(&rig, Commit { seen: vec![seen("other", &cause)], ..Commit::default() }).await;
    assert_eq!(rig.store.handled("h").await.unwrap(), 1);
}

pub(super) async fn conflicts_are_decided_one_by_one(rig: Rig) {
    let known = put(&rig, "a").await;
    let commits = (0..30).map(|n| match n % 3 {
        0 => append(Expect::Any, vec![event(&rig, &format!("good/{n}"))]),
        1 => append(Expect::Version(5), vec![event(&rig, &format!("stale/{n}"))]),
        _ => append(Expect::Any, vec![Envelope { key: Key::of("twice", n), ..known.clone() }]),
    });
    let commits = commits.map(|commit| {
        let store = rig.store.clone();
        tokio::spawn(async move { store.commit(commit).await })
    });
    for (n, result) in join_all(commits).await.into_iter().enumerate() {
        match (n % 3, result.unwrap()) {
            (0, Ok(Committed::Applied { .. }))
            | (1, Err(StoreError::Conflict(Conflict::Version { .. })))
            | (2, Err(StoreError::Conflict(Conflict::Event { .. }))) => {}
            (_, other) => panic!("commit {n}: {other:?}"),
        }
    }
    assert_eq!(head(&rig).await, 11);
}

pub(super) async fn an_empty_commit_applies(rig: Rig) {
    assert_eq!(applied(&rig, Commit::default()).await, Position(0));
    put(&rig, "a").await;
    assert_eq!(applied(&rig, Commit::default()).await, Position(1));
}

pub(super) async fn nonsense_is_refused(rig: Rig) {
    let cause = event(&rig, "a");
    let twice = document("d", ExpectDocument::Any, Some("1"));
    let nonsense = [
        Commit {
            append: vec![Append { key: Key::of("a", 1), expect: Expect::Any, events: vec![] }],
            ..Commit::default()
        },
        Commit {
            append: vec![Append { key: Key::of("a", 1), expect: Expect::Any, events: vec![event(&rig, "b")] }],
            ..Commit::default()
        },
        Commit { documents: vec![twice.clone(), twice], ..Commit::default() },
        Commit { seen: vec![seen("h", &cause), seen("h", &cause)], ..Commit::default() },
    ];
    for commit in nonsense {
        let found = rig.store.commit(commit).await;
        assert!(matches!(found, Err(StoreError::Invalid(_))), "{found:?}");
    }
    let own_twice = append(Expect::Any, vec![cause.clone(), cause]);
    assert!(matches!(conflict(&rig, own_twice).await, Conflict::Event { .. }));
    assert_eq!(head(&rig).await, 0);
}

pub(super) async fn a_dropped_future_still_commits(rig: Rig) {
    for n in 0..20 {
        let commit = append(Expect::Any, vec![event(&rig, &format!("k/{n}"))]);
        let future = rig.store.commit(commit);
        tokio::pin!(future);
        // Called, and given up at once.
        let _ = futures::poll!(future);
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while head(&rig).await < 20 {
        assert!(tokio::time::Instant::now() < deadline, "only {} of 20 were written", head(&rig).await);
        rig.store.wait(rig.store.head().await.unwrap(), Duration::from_millis(100)).await;
    }
}

pub(super) async fn many_rows_at_once(rig: Rig) {
    const MANY: usize = 1_500;
    let causes: Vec<Envelope> = (0..MANY).map(|n| event(&rig, &format!("many/{}", n % 700))).collect();
    let mut commit = Commit::default();
    for n in 0..700 {
        let events: Vec<_> = causes.iter().skip(n).step_by(700).cloned().collect();
        commit.append.push(Append { key: Key::of("many", n), expect: Expect::Version(0), events });
    }
    commit.seen = causes.iter().map(|cause| seen("h", cause)).collect();
    let write = |n: usize| DocumentWrite {
        collection: "c".into(),
        id: format!("{n:05}"),
        expect: ExpectDocument::Absent,
        value: Some(Bytes::from(n.to_string())),
    };
    commit.documents = (0..MANY).map(write).collect();
    assert_eq!(applied(&rig, commit).await, Position(MANY as u64));
    assert_eq!(rig.store.handled("h").await.unwrap(), MANY as u64);
    assert_eq!(rig.store.count("c", "").await.unwrap(), MANY as u64);
    let ids: Vec<String> = (0..MANY).rev().map(|n| format!("{n:05}")).collect();
    let found = rig.store.documents("c", &ids).await.unwrap();
    assert!(ids.iter().zip(&found).all(|(id, found)| found.as_ref().is_some_and(|found| found.id == *id)));
    let marks: Vec<_> = causes.iter().map(|cause| seen("h", cause).mark).collect();
    assert!(rig.store.seen("h", &marks).await.unwrap().iter().all(|seen| *seen));
}
