//! How fast it is beside the plain client, in one run, on the same server. Not part of the tests: run it by name, in
//! a release build, with `--ignored --nocapture`.

use std::collections::VecDeque;
use std::time::Duration;

use futures::StreamExt;
use tidewire_core::bytes::Bytes;
use tidewire_core::{Broker, Delivery, Envelope};
use tokio::time::Instant;

use super::{JetStreamOptions, fresh, open, server};
use crate::conformance::{event, join};
use crate::jetstream::{binding, subject};

const EVENTS: usize = 60_000;
const WINDOW: usize = 512;
const BATCH: usize = 4_096;

/// Processor time this process has used, in seconds: what a busy machine cannot distort as much as time.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// Events per second, and processor microseconds of this process per event.
#[derive(Clone, Copy)]
struct Speed {
    rate: f64,
    cpu: f64,
}

struct Watch(Instant, f64);

impl Watch {
    fn start() -> Self {
        Self(Instant::now(), cpu())
    }

    fn stop(self) -> Speed {
        Speed { rate: EVENTS as f64 / self.0.elapsed().as_secs_f64(), cpu: (cpu() - self.1) * 1e6 / EVENTS as f64 }
    }
}

fn events(round: usize) -> Vec<Envelope> {
    let one = |n: usize| {
        let mut envelope = event(&format!("key-{}", n % 5_000), &format!("{round}-{n}"));
        envelope.data = Some(Bytes::from(format!("\"{}\"", "x".repeat(1_022))));
        envelope
    };
    (0..EVENTS).map(one).collect()
}

async fn ours(options: &JetStreamOptions, round: usize) -> (Speed, Speed) {
    let broker = open(options).await;
    let all = events(round);
    let watch = Watch::start();
    let mut under_way = VecDeque::new();
    for batch in all.chunks(BATCH) {
        // Two calls at once keep the window full across their ends.
        let (broker, batch) = (broker.clone(), batch.to_vec());
        under_way.push_back(tokio::spawn(async move { broker.publish(batch).await }));
        if under_way.len() == 2
            && let Some(call) = under_way.pop_front()
        {
            assert!(call.await.unwrap().iter().all(Result::is_ok));
        }
    }
    for call in under_way {
        assert!(call.await.unwrap().iter().all(Result::is_ok));
    }
    let published = watch.stop();
    let request = crate::conformance::group("all");
    let mut seat = join(&*broker, tidewire_core::broker::Subscribe { max_in_flight: 1_000, ..request }).await;
    let watch = Watch::start();
    let mut left = EVENTS;
    while left > 0 {
        let deliveries = seat.next(500, usize::MAX).await.unwrap();
        left -= deliveries.len();
        deliveries.into_iter().for_each(Delivery::ack);
    }
    let consumed = watch.stop();
    drop(seat);
    broker.close().await;
    (published, consumed)
}

async fn raw(options: &JetStreamOptions, round: usize) -> (Speed, Speed) {
    let broker = open(options).await;
    let client = async_nats::connect(&options.url).await.unwrap();
    let mut context = async_nats::jetstream::new(client);
    context.set_timeout(Duration::from_secs(10));
    let stream = format!("TW_{}", options.domain);
    let all: Vec<_> = events(round)
        .into_iter()
        .map(|envelope| {
            let subject = subject::of(&options.domain, &envelope.key, &envelope.ty);
            (subject, binding::encode(&envelope, &stream).headers, envelope.data.unwrap())
        })
        .collect();
    let watch = Watch::start();
    let mut acks = VecDeque::new();
    for (subject, headers, data) in all {
        if acks.len() == WINDOW
            && let Some(ack) = acks.pop_front()
        {
            let ack: async_nats::jetstream::context::PublishAckFuture = ack;
            ack.await.unwrap();
        }
        acks.push_back(context.publish_with_headers(subject, headers, data).await.unwrap());
    }
    for ack in acks {
        ack.await.unwrap();
    }
    let published = watch.stop();
    let config = async_nats::jetstream::consumer::pull::Config {
        durable_name: Some("raw".into()),
        max_ack_pending: 2_000,
        ..Default::default()
    };
    let consumer = context.get_stream(&stream).await.unwrap().create_consumer(config).await.unwrap();
    let watch = Watch::start();
    let mut messages = consumer.stream().max_messages_per_batch(500).messages().await.unwrap();
    for _ in 0..EVENTS {
        messages.next().await.unwrap().unwrap().ack().await.unwrap();
    }
    let consumed = watch.stop();
    broker.close().await;
    (published, consumed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn beside_the_plain_client() {
    let relaxed = servers::NatsOptions { sync_always: false, ..Default::default() };
    let own = servers::Nats::start(relaxed).await.expect("a server");
    let strict = server().await.expect("a server");
    for (name, url, rounds) in [("fsync every 2 min", own.url(), 5), ("sync_interval always", strict.url(), 1)] {
        for round in 0..rounds {
            let options = || JetStreamOptions { max_bytes: 256 << 20, ..fresh(url) };
            let (raw_publish, raw_consume) = raw(&options(), round).await;
            let (our_publish, our_consume) = ours(&options(), round).await;
            for (what, ours, raw) in [("publish", our_publish, raw_publish), ("consume", our_consume, raw_consume)] {
                println!(
                    "{name}: {what} {:.0}/s of {:.0}/s = {:.2}; {:.1} of {:.1} processor us",
                    ours.rate,
                    raw.rate,
                    ours.rate / raw.rate,
                    ours.cpu,
                    raw.cpu
                );
            }
        }
    }
}
