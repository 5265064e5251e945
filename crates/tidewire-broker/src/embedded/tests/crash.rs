//! What is left after an end without a close.

use std::time::Duration;

use tidewire_core::broker::Subscribe;
use tidewire_core::{Broker, Delivery};

use super::{open, options};
use crate::conformance::{consume, event, group, ids, join, only_these_arrive, publish, receive, until_lag};

#[tokio::test]
async fn what_may_have_been_running_counts_as_handed_out() {
    let dir = tempfile::tempdir().unwrap();
    let request = Subscribe { max_in_flight: 3, ..group("g") };
    let broker = open(options(dir.path())).await;
    publish(&*broker, (0..6).map(|n| event(&format!("k{n}"), &format!("e{n}"))).collect()).await;
    let mut seat = join(&*broker, request.clone()).await;
    let _running = receive(&mut *seat, 3).await;
    broker.abandon().await;

    let broker = open(options(dir.path())).await;
    until_lag(&*broker, "g", |lag| lag.pending == 6).await;
    let mut seat = join(&*broker, request.clone()).await;
    let mut attempts = Vec::new();
    for _ in 0..6 {
        let delivery = receive(&mut *seat, 1).await.remove(0);
        attempts.push((delivery.envelope.id.clone(), delivery.attempt));
        delivery.ack();
    }
    let expected = [("e0", 2), ("e1", 2), ("e2", 2), ("e3", 1), ("e4", 1), ("e5", 1)];
    assert_eq!(attempts, expected.map(|(id, attempt)| (id.to_owned(), attempt)));
    broker.close().await;

    let broker = open(options(dir.path())).await;
    until_lag(&*broker, "g", |lag| lag.pending == 0).await;
}

#[tokio::test]
async fn published_events_and_the_dedupe_window_survive() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(options(dir.path())).await;
    publish(&*broker, (0..700).map(|n| event("k", &format!("k-{n}"))).collect()).await;
    broker.abandon().await;
    let broker = open(options(dir.path())).await;
    let again = broker.publish((0..700).map(|n| event("k", &format!("k-{n}"))).collect()).await;
    assert!(again.iter().all(|answer| answer.as_ref().is_ok_and(|published| published.duplicate)));
    let mut seat = join(&*broker, group("g")).await;
    let expected: Vec<_> = (0..700).map(|n| format!("k-{n}")).collect();
    assert_eq!(consume(&mut *seat, 700).await, expected);
}

#[tokio::test]
async fn what_waits_behind_a_retry_is_not_suspected() {
    let dir = tempfile::tempdir().unwrap();
    let request = Subscribe { max_in_flight: 4, ..group("g") };
    let broker = open(options(dir.path())).await;
    let mut seat = join(&*broker, request.clone()).await;
    publish(&*broker, (0..10).map(|n| event("stuck", &format!("s{n}"))).collect()).await;
    let held = receive(&mut *seat, 4).await;
    held.into_iter().for_each(|delivery| delivery.retry(Duration::from_secs(3_600)));
    // Many more than may be in flight wait behind it, and other keys pass.
    publish(&*broker, (0..10).map(|n| event("free", &format!("f{n}"))).collect()).await;
    let mut free = Vec::new();
    for _ in 0..8 {
        free.extend(consume(&mut *seat, 1).await);
    }
    assert_eq!(free, (0..8).map(|n| format!("f{n}")).collect::<Vec<_>>());
    until_lag(&*broker, "g", |lag| lag.pending == 12).await;
    let running = receive(&mut *seat, 2).await;
    // One more commit: what waits is on record, and so are the acknowledgements.
    publish(&*broker, vec![event("later", "l0")]).await;
    broker.abandon().await;
    drop(running);

    let broker = open(options(dir.path())).await;
    let mut seat = join(&*broker, request).await;
    let again = receive(&mut *seat, 3).await;
    assert_eq!(ids(&again), ["f8", "f9", "l0"]);
    assert_eq!([again[0].attempt, again[1].attempt], [2, 2]);
    again.into_iter().for_each(Delivery::ack);
    until_lag(&*broker, "g", |lag| lag.pending == 10 && lag.in_flight == 0 && lag.retrying == 4).await;
    only_these_arrive(&*broker, &mut *seat, "probe").await;
}

#[tokio::test]
async fn dropping_the_broker_frees_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(options(dir.path())).await;
    let mut seat = join(&*broker, group("g")).await;
    publish(&*broker, vec![event("k", "k-0")]).await;
    drop(broker);
    assert!(seat.next(1, 1).await.is_err());
    let free = async {
        while super::EmbeddedBroker::open(options(dir.path()), std::sync::Arc::new(tidewire_core::SystemClock))
            .await
            .is_err()
        {
            tokio::task::yield_now().await;
        }
    };
    crate::conformance::within("the directory to be free", free).await;
}
