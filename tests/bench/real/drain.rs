//! B6: the log, drained to JetStream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use sqlx::Row;
use tidewire::relay::{Relay, RelayOptions};
use tidewire::{Ports, SystemClock};
use tidewire_core::store::{Log, Upkeep};
use tidewire_core::{Append, Commit, Envelope, Expect, Key, Store};
use tokio_util::sync::CancellationToken;

use crate::clocks::Watch;
use crate::harness::rounds::{Class, Shape, Sides, Slice};
use crate::orders::Orders;
use crate::real::backlog::until;
use crate::real::load::within;
use crate::real::nats::{NatsServer, Wire, stream_of};
use crate::real::postgres::Database;
use crate::real::publish::WINDOW;

/// Events per commit while the log is filled.
const LOAD: usize = 2_000;
/// Rows read at once, as the relay does.
const PAGE: i64 = 512;
/// How often the place is saved, as the relay does.
const SAVE_EVERY: Duration = Duration::from_millis(50);
/// The same rows as the log's, in the plainest table that can be read forward.
const OUTBOX: &str = "
    create table outbox (position bigint primary key, id text not null, source text not null, name text not null,
      version integer not null, key text not null, time timestamptz not null, correlation text, data bytea not null);
    insert into outbox select b.first_position + e.index, e.id, e.source, e.name, e.type_version, e.key, e.time,
      e.correlation, e.data from tidewire.event e join tidewire.batch b on b.id = e.batch;
    create table place (cursor bigint not null);
    insert into place values (0)";

/// Ours: the relay, on a log that was filled once. The limit: reading forward, and publishing with a window.
pub struct Draining<'a> {
    pub nats: &'a NatsServer,
    pub database: &'a Database<'a>,
    pub class: Class,
    pub wire: Wire,
    pub count: usize,
}

/// Fills the log, and a table for the limit.
pub async fn fill(database: &Database<'_>, orders: &Orders, count: usize) -> anyhow::Result<()> {
    let store = database.store().await?;
    let mut orders = orders.clone();
    let mut left = count;
    while left > 0 {
        let mut appends: std::collections::BTreeMap<Key, Vec<Envelope>> = Default::default();
        for _ in 0..left.min(LOAD) {
            let event = orders.envelope(&SystemClock);
            appends.entry(event.key.clone()).or_default().push(event);
        }
        left -= left.min(LOAD);
        let append = appends.into_iter().map(|(key, events)| Append { key, expect: Expect::Any, events }).collect();
        store.commit(Commit { append, ..Commit::default() }).await?;
    }
    let head = store.head().await?.0;
    ensure!(head == count as u64, "the log has {head} of {count} events");
    store.close().await;
    database.run(OUTBOX).await?;
    database.run("vacuum analyze").await
}

impl Sides for Draining<'_> {
    async fn ours(&mut self) -> anyhow::Result<Slice> {
        // The cursor, and whatever else a relay remembers.
        database_forgets(self.database).await?;
        let domain = self.nats.domain();
        let store: Arc<dyn Store> = Arc::new(self.database.store().await?);
        let broker = self.nats.broker(&domain).await?;
        let ports = Ports { store, broker, clock: Arc::new(SystemClock) };
        let (stop, stream) = (CancellationToken::new(), stream_of(&domain));
        let before = self.database.transactions().await?;
        let watch = Watch::start();
        let relay = tokio::spawn(Relay::new(&ports, RelayOptions::default()).run(stop.clone()));
        let all = self.count as u64;
        until("the log was not drained", || async { Ok(self.nats.count(&stream).await? >= all) }).await?;
        let (seconds, cpu_seconds) = watch.read();
        let transactions = self.database.transactions().await? - before;
        stop.cancel();
        within(relay).await??;
        ports.broker.close().await;
        ports.store.close().await;
        self.end(&stream, seconds, cpu_seconds, transactions).await
    }

    async fn limit(&mut self, _: Shape) -> anyhow::Result<Slice> {
        let domain = self.nats.domain();
        let stream = self.nats.stream(&domain).await?;
        self.database.run("update place set cursor = 0").await?;
        let watch = Watch::start();
        let transactions = self.forward(&domain).await?;
        let (seconds, cpu_seconds) = watch.read();
        self.end(&stream, seconds, cpu_seconds, transactions).await
    }

    fn probe(&mut self) -> anyhow::Result<Option<f64>> {
        Ok(None)
    }
}

async fn database_forgets(database: &Database<'_>) -> anyhow::Result<()> {
    database.run("truncate tidewire.document").await
}

impl Draining<'_> {
    /// The minimal loop; answers how often it saved its place.
    async fn forward(&self, domain: &str) -> anyhow::Result<u64> {
        let text = "select position, id, source, name, version, key, time, correlation, data from outbox \
                    where position > $1 order by position limit $2";
        let (mut cursor, mut acknowledged, mut saves) = (0_i64, 0_i64, 0);
        let (mut window, mut saved) = (VecDeque::with_capacity(WINDOW), Instant::now());
        let mut saving: Option<tokio::task::JoinHandle<sqlx::Result<_>>> = None;
        loop {
            let rows = sqlx::query(text).bind(cursor).bind(PAGE).fetch_all(&self.database.pool).await?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                cursor = row.try_get(0)?;
                let (id, key, data): (String, String, Vec<u8>) = (row.try_get(1)?, row.try_get(5)?, row.try_get(8)?);
                let (subject, headers) = self.wire.put(domain, &id, &Key::new(key)?)?;
                if window.len() == WINDOW
                    && let Some((position, ack)) = window.pop_front()
                {
                    let ack: async_nats::jetstream::context::PublishAckFuture = ack;
                    ack.await?;
                    acknowledged = position;
                }
                let ack = self.nats.context.publish_with_headers(subject, headers, data.into()).await?;
                window.push_back((cursor, ack));
            }
            if saved.elapsed() >= SAVE_EVERY && saving.as_ref().is_none_or(|saving| saving.is_finished()) {
                let pool = self.database.pool.clone();
                let save = sqlx::query("update place set cursor = $1").bind(acknowledged);
                saving = Some(tokio::spawn(async move { save.execute(&pool).await }));
                (saved, saves) = (Instant::now(), saves + 1);
            }
        }
        for (_, ack) in window {
            ack.await?;
        }
        Ok(saves)
    }

    async fn end(&self, stream: &str, seconds: f64, cpu_seconds: f64, transactions: u64) -> anyhow::Result<Slice> {
        let stored = self.nats.count(stream).await?;
        ensure!(stored == self.count as u64, "{stored} of {} events are on the stream", self.count);
        self.nats.clear().await?;
        Ok(Slice { events: stored, seconds, cpu_seconds, transactions, class: self.class, latency: None })
    }
}
