//! Groups: their place, their names, their lag.

use std::sync::Arc;
use std::time::Duration;

use tidewire_core::broker::Subscribe;
use tidewire_core::{Envelope, EventType};

use super::{Bench, consume, event, group, join, only_these_arrive, publish, receive, until_lag};

fn named(name: &'static str, id: &str) -> Envelope {
    Envelope { ty: EventType::new(name, 1), ..event(id, id) }
}

fn names(group_name: &str, names: &[&str]) -> Subscribe {
    Subscribe { names: names.iter().map(|name| (*name).into()).collect(), ..group(group_name) }
}

pub(super) async fn every_group_is_delivered_everything(bench: Arc<dyn Bench>) {
    let broker = bench.broker().await;
    let mut early = join(&*broker, group("early")).await;
    let sent: Vec<_> = (0..50).map(|n| event("k", &format!("k-{n}"))).collect();
    publish(&*broker, sent).await;
    let mut late = join(&*broker, group("late")).await;
    let expected: Vec<_> = (0..50).map(|n| format!("k-{n}")).collect();
    assert_eq!(consume(&mut *early, 50).await, expected);
    assert_eq!(consume(&mut *late, 50).await, expected, "a group that never ran begins at the beginning");
}

pub(super) async fn a_group_gets_the_names_it_asks_for(bench: Arc<dyn Bench>) {
    let broker = bench.broker().await;
    let mut seat = join(&*broker, names("some", &["conformance.a", "conformance.b"])).await;
    let mut newer = named("conformance.a", "a1");
    newer.ty = newer.ty.at(7);
    publish(&*broker, vec![named("conformance.a", "a0"), named("conformance.c", "c0"), newer]).await;
    let mut received = consume(&mut *seat, 2).await;
    received.sort();
    assert_eq!(received, ["a0", "a1"], "any version");
    until_lag(&*broker, "some", |lag| lag.pending == 0).await;
    drop(seat);
    // One name added, one taken away: from the group's place on.
    let mut seat = join(&*broker, names("some", &["conformance.b", "conformance.c"])).await;
    publish(&*broker, vec![named("conformance.a", "a2"), named("conformance.b", "b0"), named("conformance.c", "c1")])
        .await;
    let mut received = consume(&mut *seat, 2).await;
    received.sort();
    assert_eq!(received, ["b0", "c1"]);
    until_lag(&*broker, "some", |lag| lag.pending == 0).await;
}

pub(super) async fn a_group_keeps_its_place(bench: Arc<dyn Bench>) {
    let broker = bench.broker().await;
    publish(&*broker, (0..10).map(|n| event(&format!("k{}", n % 2), &format!("e{n}"))).collect()).await;
    let mut seat = join(&*broker, group("all")).await;
    let held = receive(&mut *seat, 6).await;
    // The odd ones are done, the even ones are not.
    let mut open: Vec<String> = Vec::new();
    for delivery in held {
        match delivery.envelope.key.as_str().ends_with('1') {
            true => delivery.ack(),
            false => open.push(delivery.envelope.id.clone()),
        }
    }
    assert!(!open.is_empty());
    until_lag(&*broker, "all", |lag| lag.pending == 10 - (6 - open.len() as u64)).await;
    drop(seat);
    let broker = bench.reopen(broker).await;
    let mut seat = join(&*broker, group("all")).await;
    let mut received = consume(&mut *seat, 4 + open.len()).await;
    received.retain(|id| open.contains(id));
    assert_eq!(received, open, "in order");
    only_these_arrive(&*broker, &mut *seat, "probe").await;
}

pub(super) async fn lag_goes_to_zero(bench: Arc<dyn Bench>) {
    let broker = bench.broker().await;
    let mut seat = join(&*broker, names("some", &["conformance.a"])).await;
    let sent = (0..30).map(|n| named(["conformance.a", "conformance.b"][n % 2], &format!("e{n}"))).collect();
    publish(&*broker, sent).await;
    until_lag(&*broker, "some", |lag| lag.pending == 15 && lag.in_flight == 0 && lag.members == 1).await;
    let mut held = receive(&mut *seat, 5).await;
    until_lag(&*broker, "some", |lag| lag.pending == 15 && lag.in_flight == 5).await;
    held.remove(0).retry(Duration::from_secs(600));
    until_lag(&*broker, "some", |lag| lag.in_flight == 4 && lag.retrying == 1).await;
    held.into_iter().for_each(tidewire_core::Delivery::ack);
    consume(&mut *seat, 10).await;
    until_lag(&*broker, "some", |lag| lag.pending == 1 && lag.in_flight == 0).await;
    drop(seat);
    until_lag(&*broker, "some", |lag| lag.members == 0).await;
}

pub(super) async fn a_request_that_makes_no_sense_is_refused(bench: Arc<dyn Bench>) {
    let broker = bench.broker().await;
    let bad = [
        group(""),
        group("a\nb"),
        group(&"g".repeat(300)),
        names("g", &["conformance.>"]),
        names("g", &[""]),
        Subscribe { max_in_flight: 0, ..group("g") },
        Subscribe { ack_wait: Duration::ZERO, ..group("g") },
    ];
    for request in bad {
        assert!(super::is_invalid(broker.subscribe(request.clone()).await), "{request:?}");
    }
    assert_eq!(broker.lag().await.expect("lag"), []);
}
