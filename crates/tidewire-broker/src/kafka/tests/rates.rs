//! How fast it is beside librdkafka with the same records and settings. Prints; run it alone and in release:
//! `cargo test --release -p tidewire-broker --features kafka -- --ignored --nocapture kafka::tests::rates`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use tidewire_core::broker::Subscribe;
use tidewire_core::bytes::Bytes;
use tidewire_core::{Broker, Delivery, Envelope};
use tokio::time::Instant;

use super::{fresh, open};
use crate::conformance::{event, group, join, publish};
use crate::kafka::{KafkaOptions, binding};

const EVENTS: usize = 200_000;
const BATCH: usize = 2_000;

fn events() -> Vec<Envelope> {
    let data = Bytes::from(format!("{{\"text\":\"{}\"}}", "x".repeat(400)));
    let one = |n: usize| Envelope { data: Some(data.clone()), ..event(&format!("k{}", n % 1_000), &format!("e{n}")) };
    (0..EVENTS).map(one).collect()
}

struct Count(AtomicUsize);

impl ClientContext for Count {}

impl ProducerContext for Count {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        assert!(result.is_ok());
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The same records in the same windows, each window answered before the next.
fn raw_publish(options: &KafkaOptions) -> Duration {
    let producer = ThreadedProducer::from_config_and_context(&options.producer(), Count(AtomicUsize::new(0)));
    let producer: ThreadedProducer<Count> = producer.expect("a producer");
    let (events, topic) = (events(), options.topic());
    let started = Instant::now();
    for (index, batch) in events.chunks(BATCH).enumerate() {
        for envelope in batch {
            let record = BaseRecord::to(&topic)
                .key(envelope.key.as_str())
                .partition((u32::from(envelope.key.bucket()) % options.partitions) as i32)
                .headers(binding::encode(envelope).headers)
                .payload(envelope.data.as_deref().unwrap_or_default());
            producer.send(record).map_err(|(error, _)| error).expect("it is taken");
        }
        while producer.client().context().0.load(Ordering::Relaxed) < (index + 1) * BATCH {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    started.elapsed()
}

/// Reads and understands the same records, and commits once a second.
fn raw_consume(options: &KafkaOptions) -> Duration {
    let mut config = options.consumer("raw");
    let consumer: BaseConsumer = config.set("auto.offset.reset", "earliest").create().expect("a consumer");
    consumer.subscribe(&[&options.topic()]).expect("subscribed");
    let (mut seen, mut started, mut committed) = (0, Instant::now(), Instant::now());
    while seen < EVENTS {
        let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) else { continue };
        if seen == 0 {
            started = Instant::now();
        }
        seen += usize::from(binding::decode(&record).is_ok());
        consumer.store_offset_from_message(&record).expect("stored");
        if committed.elapsed() > Duration::from_secs(1) {
            committed = Instant::now();
            consumer.commit_consumer_state(CommitMode::Async).expect("committed");
        }
    }
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes the machine for itself"]
async fn beside_librdkafka() {
    let rate = |took: Duration| EVENTS as f64 / took.as_secs_f64();
    for round in 0..3 {
        let Some(options) = fresh(64).await else { return };
        let broker = open(&options).await;
        let mut all = events().into_iter();
        let started = Instant::now();
        while all.len() > 0 {
            publish(&*broker, all.by_ref().take(BATCH).collect()).await;
        }
        let published = started.elapsed();
        let mut seat = join(&*broker, Subscribe { max_in_flight: 4_096, ..group("all") }).await;
        let (mut seen, mut started) = (0, Instant::now());
        while seen < EVENTS {
            let deliveries = seat.next(512, 4 << 20).await.expect("next succeeds");
            if seen == 0 {
                started = Instant::now();
            }
            seen += deliveries.len();
            deliveries.into_iter().for_each(Delivery::ack);
        }
        let consumed = started.elapsed();
        drop(seat);
        broker.close().await;
        let Some(other) = fresh(64).await else { return };
        open(&other).await.close().await;
        let other = Arc::new(other);
        let (publishing, consuming) = (other.clone(), other.clone());
        let raw_published = tokio::task::spawn_blocking(move || raw_publish(&publishing)).await.expect("no panic");
        let raw_consumed = tokio::task::spawn_blocking(move || raw_consume(&consuming)).await.expect("no panic");
        eprintln!(
            "round {round}: publish {:.0}/s, raw {:.0}/s, {:.2}; consume {:.0}/s, raw {:.0}/s, {:.2}",
            rate(published),
            rate(raw_published),
            rate(published) / rate(raw_published),
            rate(consumed),
            rate(raw_consumed),
            rate(consumed) / rate(raw_consumed),
        );
    }
}
