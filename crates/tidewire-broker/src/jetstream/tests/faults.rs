//! Servers that are killed, lose their store, or elect another leader.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use servers::{Close, Direction, Nats, NatsCluster, NatsOptions, Proxy};
use tidewire_core::Broker;
use tokio::time::Instant;

use super::{Audit, JetStreamBroker, JetStreamOptions, PATIENCE, fresh, open, publish_surely, rows, server};
use crate::conformance::{consume, group, join, publish};

/// Handles whatever comes, for ever.
async fn work(broker: Arc<JetStreamBroker>, audit: Arc<Mutex<Audit>>) {
    loop {
        let Ok(mut seat) = broker.subscribe(group("all")).await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        while let Ok(deliveries) = seat.next(32, usize::MAX).await {
            for delivery in deliveries {
                audit.lock().unwrap().see(&delivery.envelope);
                delivery.ack();
            }
        }
    }
}

/// Publishes and handles while `hurt` is done to the server; everything must arrive, in order, and the backlog end.
async fn survives(options: &JetStreamOptions, keys: usize, each: usize, hurt: impl Future<Output = ()>) {
    let (publisher, consumer) = (open(options).await, open(options).await);
    let audit = Arc::new(Mutex::new(Audit::default()));
    let working = tokio::spawn(work(consumer.clone(), audit.clone()));
    let publishing = tokio::spawn({
        let publisher = publisher.clone();
        async move {
            for n in 0..each {
                publish_surely(&publisher, rows(keys, n, 1)).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    hurt.await;
    tokio::time::timeout(PATIENCE * 2, publishing).await.expect("publishing ends").expect("publishing succeeds");
    let began = Instant::now();
    while audit.lock().unwrap().handled.len() < keys * each {
        assert!(began.elapsed() < PATIENCE, "{} of {}", audit.lock().unwrap().handled.len(), keys * each);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let drained = began.elapsed();
    // Servers that have just come back may not know yet.
    while !matches!(&consumer.lag().await.as_deref(), Ok([lag]) if lag.pending == 0) {
        assert!(began.elapsed() < PATIENCE, "the backlog does not end: {:?}", consumer.lag().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    working.abort();
    let (mut stored, mut cursor) = (0, None);
    loop {
        let (page, next) = match publisher.scan(cursor.clone(), 1_000).await {
            Ok(page) => page,
            Err(error) if error.is_transient() && began.elapsed() < PATIENCE => continue,
            Err(error) => panic!("{error}"),
        };
        if page.is_empty() {
            break;
        }
        (stored, cursor) = (stored + page.len(), next);
    }
    consumer.close().await;
    publisher.close().await;
    let audit = audit.lock().unwrap();
    println!("{} events, {} handled twice; drained after {drained:?}", audit.handled.len(), audit.duplicates());
    assert_eq!(audit.inversions, [""; 0]);
    assert_eq!(stored, keys * each, "each is stored once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_again_and_again_loses_nothing() {
    if server().await.is_none() {
        return;
    }
    let server = Nats::start(NatsOptions::default()).await.expect("a server");
    survives(&fresh(server.url()), 30, 200, async {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(700)).await;
            server.kill().await;
            tokio::time::sleep(Duration::from_millis(200)).await;
            server.start_again().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_or_go_silent_lose_nothing() {
    let Some(server) = server().await else { return };
    let proxy = Proxy::start(server.addr()).await.expect("a proxy");
    survives(&fresh(&format!("nats://{}", proxy.addr())), 30, 150, async {
        for round in 0..6_u64 {
            tokio::time::sleep(Duration::from_millis(400)).await;
            match round % 3 {
                0 => proxy.cut(Close::Reset),
                1 => proxy.cut_after(10_000 + 777 * round, Direction::Down),
                _ => proxy.cut_after(10_000 + 777 * round, Direction::Up),
            }
        }
        proxy.blackhole(Direction::Down);
        tokio::time::sleep(Duration::from_secs(2)).await;
        proxy.heal();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_whose_leader_is_killed_loses_nothing() {
    if server().await.is_none() {
        return;
    }
    let cluster = NatsCluster::start(3).await.expect("a cluster");
    let options = JetStreamOptions { replicas: 3, ..fresh(&cluster.url()) };
    survives(&options, 20, 150, async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let client = async_nats::connect(cluster.nodes()[0].url()).await.expect("a raw connection");
        let subject = format!("$JS.API.STREAM.INFO.TW_{}", options.domain);
        let answer = client.request(subject, "".into()).await.expect("an answer");
        let info: serde_json::Value = serde_json::from_slice(&answer.payload).expect("JSON");
        let leader = info["cluster"]["leader"].as_str().expect("a leader").to_owned();
        cluster.node(&leader).kill().await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        cluster.node(&leader).start_again().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_wiped_is_another_incarnation_and_goes_on() {
    if server().await.is_none() {
        return;
    }
    let server = Nats::start(NatsOptions::default()).await.expect("a server");
    let broker = open(&fresh(server.url())).await;
    let mut seat = join(&*broker, group("all")).await;
    publish(&*broker, rows(4, 0, 5)).await;
    consume(&mut *seat, 20).await;
    let before = broker.extent().await.expect("an extent");
    assert_eq!(before.last, 20);
    server.wipe().await;
    publish_surely(&broker, rows(4, 5, 5)).await;
    let after = broker.extent().await.expect("an extent");
    assert_ne!(after.incarnation, before.incarnation);
    assert_eq!(after.last, 20);
    let mut audit = Audit::default();
    rows(4, 0, 5).iter().for_each(|envelope| audit.see(envelope));
    while audit.handled.len() < 40 {
        let delivery = crate::conformance::receive(&mut *seat, 1).await.remove(0);
        audit.see(&delivery.envelope);
        delivery.ack();
    }
    assert_eq!(audit.inversions, [""; 0]);
    broker.close().await;
}
