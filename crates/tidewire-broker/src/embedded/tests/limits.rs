//! Limits: what is full, what is old, what is never removed.

use std::sync::Arc;
use std::time::Duration;

use tidewire_core::broker::Subscribe;
use tidewire_core::bytes::Bytes;
use tidewire_core::chrono::{DateTime, TimeDelta};
use tidewire_core::{Broker, BrokerError, Delivery, Envelope, ManualClock};

use super::{EmbeddedBroker, EmbeddedOptions, open, options};
use crate::conformance::{consume, event, group, join, publish, receive, until_lag, within};

fn kilobyte(id: &str) -> Envelope {
    Envelope { data: Some(Bytes::from(format!("\"{}\"", "x".repeat(1_000)))), ..event(id, id) }
}

async fn scanned(broker: &dyn Broker) -> Vec<String> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let (page, next) = broker.scan(cursor, 100).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page.into_iter().map(|envelope| envelope.id));
        cursor = next;
    }
}

#[tokio::test]
async fn refuses_when_full_and_takes_again_when_consumers_catch_up() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(EmbeddedOptions { max_bytes: 400_000, ..options(dir.path()) }).await;
    let mut seat = join(&*broker, group("g")).await;
    let mut stored = Vec::new();
    let full = loop {
        let id = format!("e{}", stored.len());
        match broker.publish(vec![kilobyte(&id)]).await.remove(0) {
            Ok(_) => stored.push(id),
            Err(error) => break error,
        }
        assert!(stored.len() < 1_000, "it never fills up");
    };
    assert!(matches!(full, BrokerError::Full(_)), "{full:?}");
    assert!(stored.len() > 100);
    let duplicate = broker.publish(vec![kilobyte("e0")]).await.remove(0);
    assert!(duplicate.is_ok_and(|published| published.duplicate), "what is held needs no room");
    // Nothing was discarded to make room.
    assert_eq!(consume(&mut *seat, stored.len()).await, stored);
    until_lag(&*broker, "g", |lag| lag.pending == 0).await;
    let again = async {
        while broker.publish(vec![kilobyte("next")]).await.remove(0).is_err() {
            tokio::task::yield_now().await;
        }
    };
    within("room", again).await;
    assert_eq!(consume(&mut *seat, 1).await, ["next"]);
    for n in 0..1_000 {
        let id = format!("more{n}");
        publish(&*broker, vec![kilobyte(&id)]).await;
        assert_eq!(consume(&mut *seat, 1).await, [id]);
        until_lag(&*broker, "g", |lag| lag.in_flight == 0).await;
    }
    assert!(broker.info().bytes <= 400_000, "{:?}", broker.info());
}

#[tokio::test]
async fn removes_what_is_old_and_acknowledged_by_all_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(DateTime::UNIX_EPOCH + TimeDelta::days(1), 1));
    let options = EmbeddedOptions { max_age: Duration::from_secs(3_600), ..options(dir.path()) };
    let broker = EmbeddedBroker::open(options, clock.clone()).await.unwrap();
    let all: Vec<_> = (0..700).map(|n| format!("e{n}")).collect();
    publish(&*broker, all.iter().map(|id| event(id, id)).collect()).await;
    broker.trim().await;
    clock.advance(TimeDelta::hours(2));
    broker.trim().await;
    assert_eq!(scanned(&*broker).await, all, "nobody has seen it yet");

    let mut seat = join(&*broker, Subscribe { max_in_flight: 1_000, ..group("slow") }).await;
    let mut held = receive(&mut *seat, 600).await;
    let kept = held.remove(3);
    held.into_iter().for_each(Delivery::ack);
    let mut other = join(&*broker, group("other")).await;
    broker.trim().await;
    assert_eq!(scanned(&*broker).await, all, "the other group has not");
    consume(&mut *other, 650).await;
    broker.trim().await;
    let expected: Vec<_> =
        all.iter().enumerate().filter(|(n, _)| *n == 3 || *n >= 600).map(|(_, id)| id.clone()).collect();
    assert_eq!(scanned(&*broker).await, expected);
    kept.ack();
    consume(&mut *seat, 100).await;
    consume(&mut *other, 50).await;
    publish(&*broker, vec![event("new", "new")]).await;
    broker.trim().await;
    assert_eq!(scanned(&*broker).await, ["new"]);

    // A group that nobody needs any more does not hold anything up.
    assert_eq!(broker.remove_group("slow").await, Err(BrokerError::Invalid("the group `slow` has members".into())));
    drop(seat);
    assert_eq!(broker.remove_group("slow").await, Ok(true));
    assert_eq!(broker.remove_group("slow").await, Ok(false));
    broker.close().await;
}

#[tokio::test]
async fn a_key_that_always_fails_stops_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(options(dir.path())).await;
    let mut seat = join(&*broker, Subscribe { max_in_flight: 8, ..group("g") }).await;
    publish(&*broker, (0..500).map(|n| event("stuck", &format!("s{n}"))).collect()).await;
    publish(&*broker, (0..50).map(|n| event(&format!("k{n}"), &format!("e{n}"))).collect()).await;
    let mut passed = Vec::new();
    while passed.len() < 50 {
        for delivery in receive(&mut *seat, 1).await {
            match delivery.envelope.id.starts_with('s') {
                true => delivery.retry(Duration::from_secs(3_600)),
                false => {
                    passed.push(delivery.envelope.id.clone());
                    delivery.ack();
                }
            }
        }
    }
    assert_eq!(passed, (0..50).map(|n| format!("e{n}")).collect::<Vec<_>>());
    until_lag(&*broker, "g", |lag| lag.pending == 500 && lag.in_flight == 0).await;
}

#[tokio::test]
async fn a_member_that_sleeps_on_a_long_line_stops_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(options(dir.path())).await;
    let request = Subscribe { max_in_flight: 8, ..group("g") };
    let (mut slow, mut other) = (join(&*broker, request.clone()).await, join(&*broker, request).await);
    publish(&*broker, (0..100).map(|n| event("long", &format!("l{n}"))).collect()).await;
    let held = receive(&mut *slow, 1).await;
    publish(&*broker, (0..20).map(|n| event(&format!("k{n}"), &format!("e{n}"))).collect()).await;
    assert_eq!(consume(&mut *other, 20).await, (0..20).map(|n| format!("e{n}")).collect::<Vec<_>>());
    held.into_iter().for_each(Delivery::ack);
    drop(slow);
    assert_eq!(consume(&mut *other, 99).await, (1..100).map(|n| format!("l{n}")).collect::<Vec<_>>());
}

/// Has the writer's connection execute something, to make it fail.
async fn execute(broker: &EmbeddedBroker, sql: &'static str) {
    let (answer, done) = tokio::sync::oneshot::channel();
    broker.shared.inbox.control(crate::embedded::shared::Control::Execute(sql, answer));
    done.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_commit_that_fails_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(options(dir.path())).await;
    let mut seat = join(&*broker, group("g")).await;
    publish(&*broker, vec![event("k", "k-0"), event("k", "k-1")]).await;
    let held = receive(&mut *seat, 2).await;
    execute(&broker, "pragma max_page_count = 1").await; // As many as there are: the disk is full.
    let mut failed = kilobyte("big");
    failed.ty = tidewire_core::EventType::new("conformance.new", 1);
    failed.data = Some(Bytes::from(format!("\"{}\"", "x".repeat(100_000))));
    held.into_iter().for_each(Delivery::ack);
    let answers = broker.publish(vec![failed.clone(), event("j", "j-0")]).await;
    assert!(matches!(&answers[..], [Err(BrokerError::Full(_)), Err(BrokerError::Full(_))]), "{answers:?}");
    execute(&broker, "pragma max_page_count = 1000000").await;
    // Neither was taken for stored, and no acknowledgement was lost with them.
    publish(&*broker, vec![failed, event("j", "j-0")]).await;
    let mut received = consume(&mut *seat, 2).await;
    received.sort();
    assert_eq!(received, ["big", "j-0"]);
    until_lag(&*broker, "g", |lag| lag.pending == 0).await;
    drop(seat);
    broker.close().await;
    let broker = open(options(dir.path())).await;
    assert_eq!(scanned(&*broker).await, ["k-0", "k-1", "big", "j-0"]);
    let mut seat = join(&*broker, Subscribe { names: vec!["conformance.new".into()], ..group("named") }).await;
    assert_eq!(consume(&mut *seat, 1).await, ["big"]);
}
