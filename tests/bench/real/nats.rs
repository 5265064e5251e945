//! A NATS server, and streams on it: the product's, and others like them made by hand.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_nats::HeaderMap;
use async_nats::jetstream::{self, Context, stream};
use futures::TryStreamExt;
use serde_json::Value;
use servers::{Nats, NatsOptions};
use tempfile::TempDir;
use tidewire::{Broker, SystemClock};
use tidewire_broker::{JetStreamBroker, JetStreamOptions};
use tidewire_core::{Clock, Key};

use crate::harness::rounds::Class;
use crate::orders::{ORDER_PLACED, Orders};
use crate::place::Place;

/// The most a stream may hold: more than any slice makes, and little enough for a directory in memory.
const MAX_BYTES: u64 = 2 << 30;
/// The same of a stream made by hand, of which there may be eight at once.
const MAX_RAW_BYTES: i64 = 512 << 20;
/// Room for a few of them.
const MAX_STORE: u64 = 3 * MAX_BYTES + (1 << 30);
/// How long an id is remembered, as in the product.
const DEDUPE: Duration = Duration::from_secs(600);

/// A server of our own.
pub struct NatsServer {
    server: Nats,
    _dir: TempDir,
    /// What an acknowledged publish survives, by the server's own word.
    pub class: Class,
    /// Raw.
    pub context: Context,
    next: AtomicUsize,
}

impl NatsServer {
    /// Starts one in `place`: with `sync_always` it syncs every write, otherwise as it does by default.
    pub async fn start(place: &Place, sync_always: bool) -> anyhow::Result<Self> {
        let dir = place.fresh()?;
        let options = NatsOptions {
            sync_always,
            store_dir: Some(dir.path().to_owned()),
            max_store: Some(MAX_STORE),
            ..NatsOptions::default()
        };
        let server = Nats::start(options).await?;
        let varz: Value = reqwest::get(format!("{}/varz", server.monitor())).await?.json().await?;
        let syncs = varz["jetstream"]["config"]["sync_always"] == true;
        ensure!(syncs == sync_always, "the server's sync_always is {syncs}");
        let class = place.class(if syncs { Class::Disk } else { Class::Os });
        let context = jetstream::new(async_nats::connect(server.url()).await?);
        Ok(Self { server, _dir: dir, class, context, next: AtomicUsize::new(0) })
    }

    /// Name and version.
    pub fn version(&self) -> String {
        format!("NATS {}", self.context.client().server_info().version)
    }

    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// A domain that nobody used yet, always of the same length.
    pub fn domain(&self) -> String {
        format!("b{:05}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// The product's broker on a domain.
    pub async fn broker(&self, domain: &str) -> anyhow::Result<Arc<JetStreamBroker>> {
        let options = JetStreamOptions {
            url: self.url().to_owned(),
            domain: domain.to_owned(),
            max_bytes: MAX_BYTES,
            ..JetStreamOptions::default()
        };
        Ok(JetStreamBroker::open(options, Arc::new(SystemClock)).await?)
    }

    /// A stream as the product's, made by hand.
    pub async fn stream(&self, domain: &str) -> anyhow::Result<String> {
        let name = stream_of(domain);
        let config = stream::Config {
            name: name.clone(),
            subjects: vec![format!("tw.{domain}.*.>")],
            storage: stream::StorageType::File,
            discard: stream::DiscardPolicy::New,
            max_bytes: MAX_RAW_BYTES,
            duplicate_window: DEDUPE,
            deny_delete: true,
            deny_purge: true,
            ..stream::Config::default()
        };
        self.context.create_stream(config).await?;
        Ok(name)
    }

    /// How many events a stream holds; that it is on disk is looked at, too.
    pub async fn count(&self, name: &str) -> anyhow::Result<u64> {
        let info = self.context.get_stream(name).await?.get_info().await?;
        ensure!(info.config.storage == stream::StorageType::File, "the stream {name} is not kept in files");
        Ok(info.state.messages)
    }

    /// Deliveries of a stream that nobody acknowledged, and events not delivered yet, of all its consumers.
    pub async fn open(&self, name: &str) -> anyhow::Result<u64> {
        let stream = self.context.get_stream_no_info(name).await?;
        let consumers: Vec<_> = stream.consumers().try_collect().await?;
        Ok(consumers.iter().map(|consumer| consumer.num_pending + consumer.num_ack_pending as u64).sum())
    }

    /// Removes everything.
    pub async fn clear(&self) -> anyhow::Result<()> {
        let names: Vec<String> = self.context.stream_names().try_collect().await?;
        for name in names {
            self.context.delete_stream(&name).await?;
        }
        Ok(())
    }
}

/// The stream of a domain.
pub fn stream_of(domain: &str) -> String {
    format!("TW_{domain}")
}

/// What the product puts on the wire for an order, made by hand: the same headers, of the same length.
#[derive(Clone)]
pub struct Wire {
    /// What is the same for all.
    fixed: HeaderMap,
    subjects: HashMap<Key, String>,
}

impl Wire {
    /// Looks at what the product publishes.
    pub async fn learn(nats: &NatsServer, orders: &Orders) -> anyhow::Result<Self> {
        let domain = nats.domain();
        let broker = nats.broker(&domain).await?;
        let event = orders.clone().envelope(&SystemClock);
        for answer in broker.publish(vec![event.clone()]).await {
            answer?;
        }
        let stored = nats.context.get_stream(stream_of(&domain)).await?.get_raw_message(1).await?;
        ensure!(Some(&stored.payload) == event.data.as_ref(), "the product does not carry the payload as it is");
        broker.close().await;
        nats.clear().await?;
        let wire = Self {
            fixed: stored.headers,
            subjects: orders.keys().iter().map(|key| (key.clone(), tail(key))).collect(),
        };
        let (subject, headers) = wire.put(&domain, &event.id, &event.key)?;
        ensure!(subject == stored.subject.as_str(), "the product publishes to {}, not to {subject}", stored.subject);
        let size = |headers: &HeaderMap| -> usize {
            headers.iter().flat_map(|(_, values)| values).map(|value| value.as_str().len()).sum()
        };
        let (by_hand, product) = (size(&headers), size(&wire.fixed));
        ensure!(by_hand == product, "headers of {by_hand} bytes by hand, of {product} by the product");
        Ok(wire)
    }

    /// Subject and headers of an event; `id` is a UUID.
    pub fn put(&self, domain: &str, id: &str, key: &Key) -> anyhow::Result<(String, HeaderMap)> {
        let tail = self.subjects.get(key).with_context(|| format!("there are no orders of {key}"))?;
        let mut headers = self.fixed.clone();
        headers.insert("Nats-Msg-Id", id.replace('-', ""));
        headers.insert("Nats-Expected-Stream", stream_of(domain));
        headers.insert("ce-id", id);
        headers.insert("ce-correlationid", id);
        headers.insert("ce-partitionkey", key.as_str());
        Ok((format!("tw.{domain}.{tail}"), headers))
    }

    /// The next order, ready to be sent.
    pub fn next(&self, domain: &str, orders: &mut Orders) -> anyhow::Result<(String, HeaderMap, bytes::Bytes)> {
        let (key, data) = orders.draw();
        let (subject, headers) = self.put(domain, &SystemClock.id().to_string(), &key)?;
        Ok((subject, headers, data))
    }
}

fn tail(key: &Key) -> String {
    format!("{:02}.{}.v{}", key.bucket(), ORDER_PLACED.name(), ORDER_PLACED.version())
}
