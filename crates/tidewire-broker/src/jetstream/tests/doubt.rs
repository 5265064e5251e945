//! Nothing is published behind a lost connection before somebody has looked at the record, and nothing late.

use std::sync::Arc;
use std::time::Duration;

use servers::{Close, Direction, Nats, NatsOptions, Proxy};
use tidewire_core::{Broker, BrokerError, SystemClock};
use tokio::time::Instant;

use super::{JetStreamOptions, PATIENCE, fresh, open, publish_surely, rows, server};
use crate::conformance::publish;
use crate::jetstream::link::Link;

/// How soon a call must be answered whose connection is cut: far sooner than its answer would be missed.
const SOON: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_made_anew_by_others_takes_nothing_from_who_has_not_looked() {
    if server().await.is_none() {
        return;
    }
    let server = Nats::start(NatsOptions::default()).await.expect("a server");
    let options = fresh(server.url());
    let idle = open(&options).await;
    publish(&*idle, rows(4, 0, 5)).await;
    server.wipe().await;
    let other = open(&options).await;
    // Another relay of the process may look first: that is not the one that publishes.
    let began = Instant::now();
    while idle.extent().await.is_err() {
        assert!(began.elapsed() < PATIENCE, "the connection is not restored");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answers = idle.publish(rows(4, 5, 2)).await;
    assert!(matches!(answers[0], Err(BrokerError::Unavailable(_))), "{answers:?}");
    assert!(answers[4..].iter().all(|answer| *answer == Err(BrokerError::Behind)), "{answers:?}");
    assert_eq!(other.extent().await.expect("an extent").last, 0);
    publish_surely(&idle, rows(4, 0, 7)).await;
    assert_eq!(other.extent().await.expect("an extent").last, 28);
    idle.close().await;
    other.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_cut_in_the_middle_of_a_publish_is_answered_at_once() {
    let Some(server) = server().await else { return };
    let proxy = Proxy::start(server.addr()).await.expect("a proxy");
    let options = JetStreamOptions { ack_timeout: PATIENCE, ..fresh(&format!("nats://{}", proxy.addr())) };
    let direct = open(&JetStreamOptions { url: server.url().into(), ..options.clone() }).await;
    let broker = open(&options).await;
    publish(&*broker, rows(2, 0, 1)).await;
    proxy.blackhole(Direction::Down);
    let publishing = tokio::spawn({
        let broker = broker.clone();
        async move { broker.publish(rows(2, 1, 2)).await }
    });
    let began = Instant::now();
    while direct.extent().await.expect("an extent").last < 4 {
        assert!(began.elapsed() < PATIENCE, "nothing was stored");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let cut = Instant::now();
    proxy.cut(Close::Reset);
    let answers = publishing.await.expect("an answer");
    assert!(cut.elapsed() < SOON, "{:?}", cut.elapsed());
    assert!(answers[..2].iter().all(|answer| matches!(answer, Err(BrokerError::Unavailable(_)))), "{answers:?}");
    assert_eq!(answers[2..], [Err(BrokerError::Behind), Err(BrokerError::Behind)]);
    proxy.heal();
    // What was stored after all is recognised.
    publish_surely(&broker, rows(2, 1, 2)).await;
    assert_eq!(direct.extent().await.expect("an extent").last, 6);
    broker.close().await;
    direct.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_is_lost_never_comes_back() {
    let Some(server) = server().await else { return };
    let proxy = Proxy::start(server.addr()).await.expect("a proxy");
    let options = fresh(&format!("nats://{}", proxy.addr()));
    let clock: Arc<dyn tidewire_core::Clock> = Arc::new(SystemClock);
    let link = Link::connect(&options, &clock).await.expect("a connection");
    let lane = link.lane().await.expect("a lane");
    let mut connections = link.connections();
    assert_eq!(proxy.connections(), 2);
    proxy.cut(Close::Reset);
    let began = Instant::now();
    // Until its end it takes what it will never send.
    while lane.publish("nowhere", "late".into()).await.is_ok() {
        assert!(began.elapsed() < PATIENCE, "it still takes something");
        tokio::task::yield_now().await;
    }
    let restored = connections.wait_for(|times| *times == 2);
    tokio::time::timeout(PATIENCE, restored).await.expect("in time").expect("the other is restored");
    assert_eq!(proxy.connections(), 3, "the other one connected again, and nobody else");
}
