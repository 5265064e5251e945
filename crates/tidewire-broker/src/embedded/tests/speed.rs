//! How fast, for people: `cargo test --release -p tidewire-broker speed -- --ignored --nocapture`.

use std::time::Instant;

use tidewire_core::bytes::Bytes;
use tidewire_core::{Broker, Delivery};

use super::{open, options};
use crate::conformance::{event, group, join, publish};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a check"]
async fn publishes_and_consumes() {
    const PRODUCERS: usize = 64;
    const EACH: usize = 3_000;
    let dir = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let broker = open(options(dir.path())).await;
    eprintln!("open: {:?}", started.elapsed());
    let data = Bytes::from(format!("{{\"text\":\"{}\"}}", "x".repeat(1_012)));
    let started = Instant::now();
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let (broker, data) = (broker.clone(), data.clone());
            tokio::spawn(async move {
                for number in 0..EACH {
                    let mut event = event(&format!("p{producer}"), &format!("p{producer}-{number}"));
                    event.data = Some(data.clone());
                    publish(&*broker, vec![event]).await;
                }
            })
        })
        .collect();
    for producer in producers {
        producer.await.unwrap();
    }
    let total = PRODUCERS * EACH;
    eprintln!("publish, {PRODUCERS} producers: {:.0}/s", total as f64 / started.elapsed().as_secs_f64());
    let mut seat = join(&*broker, tidewire_core::broker::Subscribe { max_in_flight: 1_024, ..group("all") }).await;
    let started = Instant::now();
    let mut seen = 0;
    while seen < total {
        let deliveries = seat.next(256, 1 << 20).await.unwrap();
        seen += deliveries.len();
        deliveries.into_iter().for_each(Delivery::ack);
    }
    eprintln!("consume from the file: {:.0}/s", total as f64 / started.elapsed().as_secs_f64());
    let started = Instant::now();
    for number in 0..500 {
        publish(&*broker, vec![event("l", &format!("l-{number}"))]).await;
        for delivery in seat.next(1, 1).await.unwrap() {
            delivery.ack();
        }
    }
    eprintln!("publish to delivery, alone: {:?}", started.elapsed() / 500);
    drop(seat);
    broker.close().await;
}
