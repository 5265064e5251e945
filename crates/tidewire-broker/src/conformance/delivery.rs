//! What comes out: order, redelivery, retries.

use std::sync::Arc;
use std::time::Duration;

use tidewire_core::broker::Subscribe;
use tidewire_core::{Delivery, Envelope};
use tokio::time::Instant;

use super::{
    Bench, PATIENCE, consume, event, group, ids, join, only_these_arrive, publish, receive, until_lag, within,
};

/// A delay that is noticed, and long enough for everything else to happen within it.
const DELAY: Duration = Duration::from_millis(400);

fn numbered(key: &str, count: usize) -> Vec<Envelope> {
    (0..count).map(|n| event(key, &format!("{key}-{n}"))).collect()
}

pub(super) async fn a_key_is_delivered_in_order(bench: Arc<dyn Bench>) {
    let broker = bench.broker().await;
    publish(&*broker, numbered("a", 200)).await;
    let mut seat = join(&*broker, group("all")).await;
    let before = consume(&mut *seat, 150).await;
    publish(&*broker, (200..300).map(|n| event("a", &format!("a-{n}"))).collect()).await;
    let after = consume(&mut *seat, 150).await;
    let expected: Vec<_> = (0..300).map(|n| format!("a-{n}")).collect();
    assert_eq!([before, after].concat(), expected);
}

pub(super) async fn a_key_is_with_one_member_at_a_time(bench: Arc<dyn Bench>) {
    let broker = bench.broker().await;
    let mut first = join(&*broker, group("all")).await;
    let mut second = join(&*broker, group("all")).await;
    publish(&*broker, vec![event("a", "a-0")]).await;
    let held = receive(&mut *first, 1).await;
    publish(&*broker, vec![event("a", "a-1"), event("a", "a-2")]).await;
    only_these_arrive(&*broker, &mut *second, "probe").await;
    let more = receive(&mut *first, 1).await;
    assert_eq!((ids(&held), ids(&more)), (vec!["a-0".into()], vec!["a-1".into()]));
    held.into_iter().chain(more).for_each(Delivery::ack);
    // Now the key is in nobody's hands: whoever asks is next.
    assert_eq!(consume(&mut *second, 1).await, ["a-2"]);
}

pub(super) async fn what_a_dropped_member_had_comes_again(bench: Arc<dyn Bench>) {
    let broker = bench.broker().await;
    publish(&*broker, numbered("a", 5)).await;
    let mut first = join(&*broker, group("all")).await;
    let mut held = receive(&mut *first, 3).await;
    held.remove(0).ack();
    let mut second = join(&*broker, group("all")).await;
    drop(first);
    let again = receive(&mut *second, 4).await;
    assert_eq!(ids(&again), ["a-1", "a-2", "a-3", "a-4"]);
    let attempts: Vec<_> = again.iter().map(|delivery| delivery.attempt > 1).collect();
    assert_eq!(attempts[..2], [true, true]);
    again.into_iter().for_each(Delivery::ack);
    until_lag(&*broker, "all", |lag| lag.pending == 0).await;
}

pub(super) async fn what_is_not_acknowledged_in_time_comes_again(bench: Arc<dyn Bench>) {
    let broker = bench.broker().await;
    publish(&*broker, numbered("a", 3)).await;
    let request = Subscribe { ack_wait: DELAY, ..group("all") };
    let mut seat = join(&*broker, request.clone()).await;
    let lost = receive(&mut *seat, 2).await;
    assert_eq!(ids(&lost), ["a-0", "a-1"]);
    let mut other = join(&*broker, request).await;
    assert_eq!(consume(&mut *other, 1).await, ["a-0"]);
    assert_eq!(consume(&mut *other, 2).await, ["a-1", "a-2"]);
    // Too late: it must neither fail nor take anything along.
    lost.into_iter().for_each(Delivery::ack);
    only_these_arrive(&*broker, &mut *other, "probe").await;
}

pub(super) async fn progress_keeps_a_delivery(bench: Arc<dyn Bench>) {
    let broker = bench.broker().await;
    publish(&*broker, numbered("a", 1)).await;
    let mut seat = join(&*broker, Subscribe { ack_wait: DELAY * 2, ..group("all") }).await;
    let held = receive(&mut *seat, 1).await.remove(0);
    let started = Instant::now();
    while started.elapsed() < DELAY * 6 {
        assert!(tokio::time::timeout(DELAY, seat.next(1, 1)).await.is_err(), "it came again despite progress");
        held.pulse().progress();
    }
    held.ack();
    until_lag(&*broker, "all", |lag| lag.pending == 0).await;
}

pub(super) async fn a_retry_waits_and_its_key_waits_with_it(bench: Arc<dyn Bench>) {
    let broker = bench.broker().await;
    publish(&*broker, numbered("a", 2)).await;
    let mut seat = join(&*broker, group("all")).await;
    let failed = receive(&mut *seat, 1).await.remove(0);
    let started = Instant::now();
    failed.retry(DELAY);
    // Other keys go on meanwhile; more of this key does not overtake.
    publish(&*broker, vec![event("a", "a-2"), event("b", "b-0"), event("b", "b-1")]).await;
    assert_eq!(consume(&mut *seat, 2).await, ["b-0", "b-1"]);
    assert!(started.elapsed() < DELAY, "the other key waited");
    let again = receive(&mut *seat, 3).await;
    assert!(started.elapsed() >= DELAY, "the retry came early");
    assert_eq!(ids(&again), ["a-0", "a-1", "a-2"]);
    assert_eq!(again[0].attempt, 2);
}

pub(super) async fn followers_handed_back_come_again_in_order(bench: Arc<dyn Bench>) {
    let broker = bench.broker().await;
    publish(&*broker, numbered("a", 4)).await;
    let mut seat = join(&*broker, group("all")).await;
    let mut held = receive(&mut *seat, 4).await;
    // In any order.
    for index in [2, 0, 1, 0] {
        held.remove(index).retry(if index == 0 { DELAY } else { Duration::ZERO });
    }
    assert_eq!(consume(&mut *seat, 4).await, ["a-0", "a-1", "a-2", "a-3"]);
}

pub(super) async fn followers_acknowledged_do_not_come_again(bench: Arc<dyn Bench>) {
    let broker = bench.broker().await;
    publish(&*broker, numbered("a", 4)).await;
    let mut seat = join(&*broker, group("all")).await;
    let mut held = receive(&mut *seat, 3).await.into_iter();
    held.next().expect("a-0").retry(DELAY);
    held.for_each(Delivery::ack);
    assert_eq!(consume(&mut *seat, 2).await, ["a-0", "a-3"]);
    until_lag(&*broker, "all", |lag| lag.pending == 0).await;
}

pub(super) async fn attempts_are_counted(bench: Arc<dyn Bench>) {
    let broker = bench.broker().await;
    publish(&*broker, vec![event("a", "a-0")]).await;
    let mut seat = join(&*broker, group("all")).await;
    for attempt in 1..=5 {
        let delivery = receive(&mut *seat, 1).await.remove(0);
        assert_eq!(delivery.attempt, attempt);
        delivery.retry(Duration::ZERO);
    }
    drop(seat);
    let broker = bench.reopen(broker).await;
    let mut seat = join(&*broker, group("all")).await;
    let attempt = receive(&mut *seat, 1).await.remove(0).attempt;
    if broker.features().durable_attempts {
        assert!(attempt >= 6, "{attempt}");
    }
}

pub(super) async fn next_can_be_cancelled(bench: Arc<dyn Bench>) {
    let broker = bench.broker().await;
    let mut seat = join(&*broker, group("all")).await;
    let publishing = tokio::spawn({
        let broker = broker.clone();
        async move {
            for n in 0..100 {
                publish(&*broker, vec![event("a", &format!("a-{n}"))]).await;
            }
        }
    });
    let mut seen = Vec::new();
    let started = Instant::now();
    while seen.len() < 100 {
        assert!(started.elapsed() < PATIENCE, "{} of 100 arrived", seen.len());
        // Polled once or twice, then dropped.
        tokio::select! {
            biased;
            next = seat.next(3, usize::MAX) => {
                let deliveries = next.expect("next succeeds");
                seen.extend(ids(&deliveries));
                deliveries.into_iter().for_each(Delivery::ack);
            }
            () = tokio::task::yield_now() => {}
        }
    }
    publishing.await.expect("publishing succeeds");
    let expected: Vec<_> = (0..100).map(|n| format!("a-{n}")).collect();
    assert_eq!(seen, expected);
}

pub(super) async fn in_flight_is_bounded(bench: Arc<dyn Bench>) {
    let broker = bench.broker().await;
    publish(&*broker, (0..20).map(|n| event(&format!("k{n}"), &format!("e{n}"))).collect()).await;
    let request = Subscribe { max_in_flight: 4, ..group("all") };
    let (mut first, mut second) = (join(&*broker, request.clone()).await, join(&*broker, request).await);
    let mut held = receive(&mut *first, 4).await;
    until_lag(&*broker, "all", |lag| lag.in_flight == 4).await;
    {
        let waiting = second.next(10, usize::MAX);
        tokio::pin!(waiting);
        assert!(tokio::time::timeout(DELAY, &mut waiting).await.is_err(), "a fifth was handed out");
        held.remove(0).ack();
        let next = within("the next delivery", waiting).await.expect("next succeeds");
        assert_eq!(next.len(), 1);
        next.into_iter().for_each(Delivery::ack);
    }
    held.into_iter().for_each(Delivery::ack);
    consume(&mut *second, 15).await;
    until_lag(&*broker, "all", |lag| lag.pending == 0).await;
}
