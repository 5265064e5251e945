//! Kafka: publishing and consuming, against the raw client.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use servers::{Kafka, KafkaOptions};
use tempfile::TempDir;
use tidewire::{Broker, SystemClock};
use tidewire_broker::{KafkaBroker, KafkaOptions as BrokerOptions};
use tidewire_core::broker::Subscribe;
use tidewire_core::{Clock, Envelope, Key};
use tokio::task::JoinSet;

use super::Bench;
use crate::clocks::{Timing, Watch};
use crate::harness::rounds::{Class, Shape, Sides, Slice};
use crate::orders::{Orders, PAYLOAD_BYTES};
use crate::place::Place;
use crate::real::backlog::{ACK_WAIT, MAX_IN_FLIGHT, PREFETCH};
use crate::real::load::{DEADLINE, Load, no_transactions, timed, within};

/// Callers of the product, and how many events each hands over at once.
const CALLERS: u64 = 8;
const BATCH: usize = 256;
/// Events under way at once on the raw side: as many.
const WINDOW: usize = CALLERS as usize * BATCH;
/// The product's partitions.
const PARTITIONS: i32 = 64;
const BYTES: usize = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);

/// A node of our own, and what is sent to it.
struct Node {
    kafka: Kafka,
    _dir: TempDir,
    class: Class,
    /// The product's headers of one order, in their order.
    headers: Vec<(String, String)>,
    orders: Orders,
    timing: Timing,
}

impl Bench<'_> {
    /// Publishing and consuming.
    pub(super) async fn on_kafka(&mut self) -> anyhow::Result<()> {
        let node = Node::start(self.place, self.orders.clone(), self.patient()).await?;
        self.took_part("Apache Kafka 4.4".into());
        if self.options.wants("kafka-publish") {
            let what =
                format!("publish to Kafka, {CALLERS} callers of {BATCH} events; limit: rdkafka, as many under way");
            self.rate("Kafka-publish", what, self.target(0.7), Publishing(&node)).await;
        }
        if self.options.wants("kafka-consume") {
            let events = node.backlog(self.backlog()).await?;
            let what = format!("consume and acknowledge, backlog of {}, Kafka; limit: rdkafka", events.len());
            let sides = Consuming { node: &node, events: &events, slices: 0 };
            self.rate("Kafka-consume", what, self.target(0.7), sides).await;
        }
        Ok(())
    }
}

impl Node {
    async fn start(place: &Place, orders: Orders, timing: Timing) -> anyhow::Result<Self> {
        let dir = place.fresh()?;
        let logs = ("log.dirs".to_owned(), dir.path().join("logs").display().to_string());
        let kafka = Kafka::start(KafkaOptions { settings: vec![logs], ..KafkaOptions::default() }).await?;
        let mut node = Self { kafka, _dir: dir, class: Class::Os, headers: Vec::new(), orders, timing };
        let broker = node.broker("learn").await?;
        for answer in broker.publish(vec![node.orders.clone().envelope(&SystemClock)]).await {
            answer?;
        }
        broker.close().await;
        node.headers = node.learn("tidewire.learn")?;
        node.class = place.class(node.durability("tidewire.learn").await?);
        Ok(node)
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.kafka.brokers());
        config
    }

    /// As the product has it.
    async fn broker(&self, domain: &str) -> anyhow::Result<Arc<KafkaBroker>> {
        let options = BrokerOptions {
            brokers: self.kafka.brokers().to_owned(),
            domain: domain.into(),
            ..BrokerOptions::default()
        };
        Ok(KafkaBroker::open(options, Arc::new(SystemClock)).await?)
    }

    /// A raw consumer of everything in a topic, told what the product's is told.
    fn consumer(&self, topic: &str, group: &str) -> anyhow::Result<BaseConsumer> {
        let mut config = self.config();
        config.set("group.id", group).set("auto.offset.reset", "earliest").set("enable.auto.offset.store", "false");
        config.set("partition.assignment.strategy", "cooperative-sticky").set("isolation.level", "read_committed");
        config.set("check.crcs", "true").set("queued.min.messages", "10000").set("fetch.queue.backoff.ms", "10");
        let consumer: BaseConsumer = config.create()?;
        consumer.subscribe(&[topic])?;
        Ok(consumer)
    }

    fn learn(&self, topic: &str) -> anyhow::Result<Vec<(String, String)>> {
        let record = next(&self.consumer(topic, "learn")?)?.detach();
        ensure!(record.payload().map_or(0, <[u8]>::len) == PAYLOAD_BYTES, "the payload is not carried as it is");
        let headers = record.headers().context("an event without headers")?;
        let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
        Ok(headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect())
    }

    /// Whether the topic's writes are flushed before they are answered.
    async fn durability(&self, topic: &str) -> anyhow::Result<Class> {
        let admin: AdminClient<DefaultClientContext> = self.config().create()?;
        let asked = AdminOptions::new().request_timeout(Some(PATIENCE));
        let described = admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &asked).await?;
        let config = described.into_iter().next().context("the topic is not described")??;
        let every = config.get("flush.messages").and_then(|entry| entry.value.clone());
        Ok(if every.as_deref() == Some("1") { Class::Disk } else { Class::Os })
    }

    /// How many records a topic holds.
    async fn count(&self, topic: &str) -> anyhow::Result<u64> {
        let (config, topic) = (self.config(), topic.to_owned());
        let counted = tokio::task::spawn_blocking(move || {
            let reader: BaseConsumer = config.create()?;
            let mut count = 0;
            for partition in 0..PARTITIONS {
                let (low, high) = watermarks(&reader, &topic, partition)?;
                count += (high - low).unsigned_abs();
            }
            anyhow::Ok(count)
        });
        counted.await?
    }

    fn put(&self, id: &str, key: &Key) -> OwnedHeaders {
        let mut headers = OwnedHeaders::new_with_capacity(self.headers.len());
        for (name, value) in &self.headers {
            let value = match name.as_str() {
                "ce_id" | "ce_correlationid" => id,
                "ce_partitionkey" => key.as_str(),
                _ => value.as_str(),
            };
            headers = headers.insert(Header { key: name, value: Some(value) });
        }
        headers
    }

    /// Publishes a backlog, by the product.
    async fn backlog(&self, count: usize) -> anyhow::Result<Vec<Envelope>> {
        let (broker, mut orders) = (self.broker("backlog").await?, self.orders.clone());
        let events: Vec<Envelope> = (0..count).map(|_| orders.envelope(&SystemClock)).collect();
        for batch in events.chunks(WINDOW) {
            for answer in broker.publish(batch.to_vec()).await {
                answer?;
            }
        }
        broker.close().await;
        Ok(events)
    }
}

/// The ends of a partition: a topic that was just made may have no leaders yet.
fn watermarks(reader: &BaseConsumer, topic: &str, partition: i32) -> anyhow::Result<(i64, i64)> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match reader.fetch_watermarks(topic, partition, PATIENCE) {
            Ok(found) => return Ok(found),
            Err(error) if Instant::now() >= deadline => return Err(error.into()),
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

/// The next record. One poll may also end because partitions were assigned.
fn next(consumer: &BaseConsumer) -> anyhow::Result<BorrowedMessage<'_>> {
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        if let Some(record) = consumer.poll(POLL) {
            return Ok(record?);
        }
    }
    anyhow::bail!("nothing came within {DEADLINE:?}")
}

/// Ours: the broker. The limit: the same records by the raw client, with the same settings.
struct Publishing<'a>(&'a Node);

impl Sides for Publishing<'_> {
    async fn ours(&mut self) -> anyhow::Result<Slice> {
        let node = self.0;
        let broker = node.broker("ours").await?;
        let before = node.count("tidewire.ours").await?;
        let (load, mut callers) = (Arc::new(Load::default()), JoinSet::new());
        for caller in 0..CALLERS {
            let (load, broker, mut orders) = (load.clone(), broker.clone(), node.orders.fork(caller + 1));
            callers.spawn(async move {
                while load.goes_on() {
                    let batch = (0..BATCH).map(|_| orders.envelope(&SystemClock)).collect();
                    for answer in broker.publish(batch).await {
                        answer?;
                        load.add(1);
                    }
                }
                Ok(())
            });
        }
        let slice = timed(&load, node.timing, node.class, callers, no_transactions).await?;
        broker.close().await;
        let stored = node.count("tidewire.ours").await? - before;
        ensure!(stored == load.done(), "{} events were acknowledged, {stored} are stored", load.done());
        Ok(slice)
    }

    async fn limit(&mut self, _: Shape) -> anyhow::Result<Slice> {
        let node = self.0;
        // Made by the product, so that it is the same.
        node.broker("raw").await?.close().await;
        let before = node.count("tidewire.raw").await?;
        let mut config = node.config();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "2")
            .set("compression.codec", "zstd");
        let producer: FutureProducer = config.create()?;
        let load = Arc::new(Load::default());
        let mut orders = node.orders.fork(1);
        let buckets: HashMap<Key, i32> =
            orders.keys().iter().map(|key| (key.clone(), i32::from(key.bucket()) % PARTITIONS)).collect();
        let work = async {
            let mut window = VecDeque::with_capacity(WINDOW);
            while load.goes_on() {
                if window.len() == WINDOW
                    && let Some(report) = window.pop_front()
                {
                    let report: rdkafka::producer::future_producer::DeliveryFuture = report;
                    report.await?.map_err(|(error, _)| error)?;
                    load.add(1);
                }
                let (key, data) = orders.draw();
                let record = FutureRecord::to("tidewire.raw")
                    .partition(buckets[&key])
                    .key(key.as_str())
                    .payload(&data[..])
                    .headers(node.put(&SystemClock.id().to_string(), &key));
                window.push_back(producer.send_result(record).map_err(|(error, _)| error)?);
            }
            for report in window {
                report.await?.map_err(|(error, _)| error)?;
                load.add(1);
            }
            anyhow::Ok(())
        };
        let (slice, worked) =
            tokio::join!(timed(&load, node.timing, node.class, JoinSet::new(), no_transactions), work);
        worked?;
        let stored = node.count("tidewire.raw").await? - before;
        ensure!(stored == load.done(), "{} events were acknowledged, {stored} are stored", load.done());
        slice
    }

    fn probe(&mut self) -> anyhow::Result<Option<f64>> {
        Ok(None)
    }
}

/// Ours: a member of a group. The limit: a raw consumer that stores the offset of each record. What is committed once a
/// second is on neither side waited for.
struct Consuming<'a> {
    node: &'a Node,
    events: &'a [Envelope],
    /// Slices so far: groups are not used twice.
    slices: usize,
}

impl Sides for Consuming<'_> {
    async fn ours(&mut self) -> anyhow::Result<Slice> {
        self.slices += 1;
        let broker = self.node.broker("backlog").await?;
        let (group, names) = (format!("bench.group{}", self.slices), Vec::new());
        let request = Subscribe { group, names, max_in_flight: MAX_IN_FLIGHT, ack_wait: ACK_WAIT };
        let mut seat = broker.subscribe(request).await?;
        let (mut came, mut begun) = (Vec::with_capacity(self.events.len()), None);
        while came.len() < self.events.len() {
            for delivery in within(seat.next(PREFETCH, BYTES)).await?? {
                came.push(delivery.envelope.id.clone());
                delivery.ack();
            }
            begun.get_or_insert_with(|| (came.len(), Watch::start()));
        }
        let slice = self.end(begun, &came)?;
        drop(seat);
        broker.close().await;
        Ok(slice)
    }

    async fn limit(&mut self, _: Shape) -> anyhow::Result<Slice> {
        self.slices += 1;
        let consumer = self.node.consumer("tidewire.backlog", &format!("raw{}", self.slices))?;
        let count = self.events.len();
        let read = tokio::task::spawn_blocking(move || {
            let (mut came, mut begun) = (Vec::with_capacity(count), None);
            while came.len() < count {
                let record = next(&consumer)?;
                let headers = record.headers().context("an event without headers")?;
                let id = headers.iter().find(|header| header.key == "ce_id").and_then(|header| header.value);
                came.push(String::from_utf8(id.context("an event without an id")?.to_vec())?);
                consumer.store_offset_from_message(&record)?;
                if came.len() == PREFETCH {
                    begun = Some((came.len(), Watch::start()));
                }
            }
            anyhow::Ok((begun, came))
        });
        let (begun, came) = read.await??;
        self.end(begun, &came)
    }

    fn probe(&mut self) -> anyhow::Result<Option<f64>> {
        Ok(None)
    }
}

impl Consuming<'_> {
    /// All of it came, each once and each key in its order.
    fn end(&self, begun: Option<(usize, Watch)>, came: &[String]) -> anyhow::Result<Slice> {
        let (before, watch) = begun.context("nothing came")?;
        let (seconds, cpu_seconds) = watch.read();
        let places: HashMap<&str, (usize, &Key)> =
            self.events.iter().enumerate().map(|(place, event)| (event.id.as_str(), (place, &event.key))).collect();
        let mut last: HashMap<&Key, usize> = HashMap::new();
        for id in came {
            let (place, key) = places.get(id.as_str()).with_context(|| format!("event {id} is none of ours"))?;
            ensure!(last.insert(key, *place) < Some(*place), "event {id} came twice or out of order");
        }
        let (events, class) = ((came.len() - before) as u64, self.node.class);
        Ok(Slice { events, seconds, cpu_seconds, transactions: 0, class, latency: None })
    }
}
