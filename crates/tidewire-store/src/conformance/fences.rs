//! Leases, fences, snapshots, and the end.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use tidewire_core::{Commit, Expect, Fence, Key, StoreError};

use super::{Rig, append, applied, event, head};

const TTL: Duration = Duration::from_secs(2);

async fn take(rig: &Rig, owner: &str) -> Option<u64> {
    rig.store.lease("relay/1", owner, TTL).await.unwrap()
}

fn fenced(rig: &Rig, epoch: u64) -> Commit {
    let fence = Some(Fence { lease: "relay/1".into(), epoch });
    Commit { fence, ..append(Expect::Any, vec![event(rig, "k")]) }
}

async fn refused(rig: &Rig, epoch: u64) {
    let before = head(rig).await;
    let found = rig.store.commit(fenced(rig, epoch)).await;
    assert!(matches!(found, Err(StoreError::Fenced { .. })), "{found:?}");
    assert_eq!(head(rig).await, before);
}

pub(super) async fn a_lease_has_one_holder(rig: Rig) {
    let race = (0..8).map(|n| {
        let rig = rig.clone();
        tokio::spawn(async move { take(&rig, &format!("owner {n}")).await.is_some() })
    });
    let won = join_all(race).await.into_iter().filter(|result| matches!(result, Ok(true))).count();
    assert_eq!(won, 1);
    assert_eq!(rig.store.lease("relay/2", "b", TTL).await.unwrap(), Some(1));
    assert_eq!(rig.store.lease("relay/2", "b", TTL).await.unwrap(), Some(1));
    assert_eq!(rig.store.lease("relay/2", "c", TTL).await.unwrap(), None);
}

pub(super) async fn an_expired_lease_is_taken_with_a_higher_epoch(rig: Rig) {
    let first = take(&rig, "a").await.unwrap();
    assert_eq!(take(&rig, "b").await, None);
    (rig.pass)(TTL + Duration::from_millis(100)).await;
    let second = take(&rig, "b").await.unwrap();
    assert!(second > first);
    assert_eq!(take(&rig, "a").await, None);
    // A renewal counts from when it was asked for.
    (rig.pass)(TTL / 2).await;
    assert_eq!(take(&rig, "b").await, Some(second));
    (rig.pass)(TTL / 2 + Duration::from_millis(100)).await;
    assert_eq!(take(&rig, "a").await, None);
}

pub(super) async fn a_released_lease_is_free_at_once(rig: Rig) {
    let first = take(&rig, "a").await.unwrap();
    rig.store.release("relay/1", "a", first + 1).await.unwrap();
    rig.store.release("relay/1", "b", first).await.unwrap();
    assert_eq!(take(&rig, "b").await, None);
    rig.store.release("relay/1", "a", first).await.unwrap();
    refused(&rig, first).await;
    let second = take(&rig, "b").await.unwrap();
    assert!(second > first);
    rig.store.release("relay/1", "a", first).await.unwrap();
    assert_eq!(take(&rig, "a").await, None);
    rig.store.release("unknown", "a", 1).await.unwrap();
}

pub(super) async fn an_old_epoch_writes_nothing(rig: Rig) {
    refused(&rig, 0).await;
    refused(&rig, 1).await;
    let first = take(&rig, "a").await.unwrap();
    applied(&rig, fenced(&rig, first)).await;
    refused(&rig, first + 1).await;
    (rig.pass)(TTL + Duration::from_millis(100)).await;
    // Not taken over: safety comes from the epoch, not from time.
    applied(&rig, fenced(&rig, first)).await;
    let second = take(&rig, "b").await.unwrap();
    refused(&rig, first).await;
    applied(&rig, fenced(&rig, second)).await;
    // The fence comes before everything else, and guards commits that write nothing too.
    let empty = Commit { fence: Some(Fence { lease: "relay/1".into(), epoch: first }), ..Commit::default() };
    assert!(matches!(rig.store.commit(empty).await, Err(StoreError::Fenced { .. })));
}

pub(super) async fn snapshots_keep_the_newest(rig: Rig) {
    let key = Key::of("k", 1);
    let snapshot = |aggregate: &'static str| {
        let (store, key) = (rig.store.clone(), key.clone());
        async move { store.snapshot(aggregate, &key).await.unwrap() }
    };
    assert_eq!(snapshot("a@1").await, None);
    rig.store.keep_snapshot("a@1", &key, 5, Bytes::from_static(b"five")).await.unwrap();
    rig.store.keep_snapshot("a@1", &key, 9, Bytes::from_static(b"nine")).await.unwrap();
    rig.store.keep_snapshot("a@1", &key, 7, Bytes::from_static(b"seven")).await.unwrap();
    assert_eq!(snapshot("a@1").await, Some((9, Bytes::from_static(b"nine"))));
    assert_eq!(snapshot("a@2").await, None);
}

pub(super) async fn a_closed_store_refuses(rig: Rig) {
    applied(&rig, append(Expect::Any, vec![event(&rig, "k")])).await;
    rig.store.close().await;
    rig.store.close().await;
    let late = rig.store.commit(append(Expect::Any, vec![event(&rig, "k")])).await;
    assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
    let late = rig.store.stream(&Key::new("k").unwrap(), 0, 1).await;
    assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
    assert!(rig.store.ping().await.is_err());
}
