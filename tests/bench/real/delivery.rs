//! B8: from the commit to the delivery, at a steady rate.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use futures::StreamExt;
use sqlx::Row;
use sqlx::postgres::{PgListener, PgPool};
use tidewire::relay::{Relay, RelayOptions};
use tidewire::{Broker, Ports, SystemClock};
use tidewire_core::broker::Subscribe;
use tidewire_core::{Append, Clock, Commit, Expect, Key, Store};
use tokio_util::sync::CancellationToken;

use crate::clocks::Timing;
use crate::harness::rounds::{Class, Shape, Sides, Slice};
use crate::orders::{ORDER_PLACED, Orders, SOURCE};
use crate::place::Place;
use crate::real::backlog::{ACK_WAIT, MAX_IN_FLIGHT, PREFETCH};
use crate::real::load::{Times, open_loop, within};
use crate::real::nats::{NatsServer, Wire};
use crate::real::postgres::{Cluster, Database};

/// The raw outbox: read forward, woken by its writers.
pub const OUTBOX: &str = "
    create table outbox (position bigint generated always as identity primary key, id text not null,
      source text not null, name text not null, key text not null, time timestamptz not null, data bytea not null)";
/// Bytes taken at once.
const BYTES: usize = 4 << 20;

/// Ours: commit, relay, broker, delivery. The limit: the same hops by hand, one after the other.
pub struct Delivering<'a> {
    pub cluster: &'a Cluster,
    pub nats: &'a NatsServer,
    pub place: &'a Place,
    pub wire: Wire,
    pub orders: Orders,
    pub timing: Timing,
    pub rate: u32,
}

impl Delivering<'_> {
    fn class(&self) -> Class {
        if self.cluster.class == Class::Disk { self.nats.class } else { self.cluster.class }
    }

    async fn ours_in(&self, database: &Database<'_>) -> anyhow::Result<Slice> {
        let store: Arc<dyn Store> = Arc::new(database.store().await?);
        let broker = self.nats.broker(&self.nats.domain()).await?;
        let ports = Ports { store: store.clone(), broker: broker.clone(), clock: Arc::new(SystemClock) };
        let (stop, times) = (CancellationToken::new(), Arc::new(Times::default()));
        let relay = tokio::spawn(Relay::new(&ports, RelayOptions::default()).run(stop.clone()));
        let (group, names) = ("bench.delivery".to_owned(), Vec::new());
        let request = Subscribe { group, names, max_in_flight: MAX_IN_FLIGHT, ack_wait: ACK_WAIT };
        let mut seat = broker.subscribe(request).await?;
        let over = times.clone();
        let reader = tokio::spawn(async move {
            while let Ok(deliveries) = seat.next(PREFETCH, BYTES).await {
                for delivery in deliveries {
                    over.over(&delivery.envelope.id);
                    delivery.ack();
                }
            }
        });
        let (meant, orders) = (times.clone(), std::sync::Mutex::new(self.orders.fork(1)));
        let begin = move |at: Instant| {
            let event = orders.lock().unwrap_or_else(std::sync::PoisonError::into_inner).envelope(&SystemClock);
            meant.meant(event.id.clone(), at);
            let store = store.clone();
            async move {
                let append = Append { key: event.key.clone(), expect: Expect::Any, events: vec![event] };
                store.commit(Commit { append: vec![append], ..Commit::default() }).await?;
                Ok(())
            }
        };
        let slice = open_loop(self.rate, self.timing, self.class(), times, begin).await;
        stop.cancel();
        reader.abort();
        within(relay).await??;
        ports.broker.close().await;
        ports.store.close().await;
        slice
    }

    async fn limit_in(&self, database: &Database<'_>) -> anyhow::Result<Slice> {
        database.run(OUTBOX).await?;
        let domain = self.nats.domain();
        let stream = self.nats.stream(&domain).await?;
        let times = Arc::new(Times::default());
        let mut listener = PgListener::connect(&database.url).await?;
        listener.listen("bench").await?;
        let relay =
            RawRelay { pool: database.pool.clone(), nats: self.nats.context.clone(), wire: self.wire.clone(), domain };
        let relay = tokio::spawn(relay.run(listener));
        let consumer = self.nats.context.get_stream_no_info(&stream).await?;
        let config = async_nats::jetstream::consumer::pull::Config {
            durable_name: Some("raw".into()),
            max_ack_pending: MAX_IN_FLIGHT as i64,
            ..Default::default()
        };
        let consumer = consumer.create_consumer(config).await?;
        let mut deliveries = consumer.stream().max_messages_per_batch(PREFETCH).messages().await?;
        let over = times.clone();
        let reader = tokio::spawn(async move {
            while let Some(delivery) = deliveries.next().await {
                let delivery = delivery?;
                let headers = delivery.headers.as_ref().context("an event without headers")?;
                over.over(headers.get("ce-id").context("an event without an id")?.as_str());
                delivery.ack().await.map_err(|error| anyhow::anyhow!(error))?;
            }
            anyhow::Ok(())
        });
        let (meant, orders) = (times.clone(), std::sync::Mutex::new(self.orders.fork(1)));
        let pool = database.pool.clone();
        let begin = move |at: Instant| {
            let (key, data) = orders.lock().unwrap_or_else(std::sync::PoisonError::into_inner).draw();
            let id = SystemClock.id().to_string();
            meant.meant(id.clone(), at);
            let pool = pool.clone();
            async move { write(&pool, &id, &key, &data).await }
        };
        let slice = open_loop(self.rate, self.timing, self.class(), times, begin).await;
        reader.abort();
        relay.abort();
        slice
    }
}

impl Sides for Delivering<'_> {
    async fn ours(&mut self) -> anyhow::Result<Slice> {
        let database = self.cluster.database().await?;
        let slice = self.ours_in(&database).await;
        database.close().await?;
        self.nats.clear().await?;
        slice
    }

    async fn limit(&mut self, _: Shape) -> anyhow::Result<Slice> {
        let database = self.cluster.database().await?;
        let slice = self.limit_in(&database).await;
        database.close().await?;
        self.nats.clear().await?;
        slice
    }

    fn probe(&mut self) -> anyhow::Result<Option<f64>> {
        if self.cluster.class == Class::Disk { self.place.probe() } else { Ok(None) }
    }
}

/// A row in the outbox, and the call that wakes its reader.
pub async fn write(pool: &PgPool, id: &str, key: &Key, data: &[u8]) -> anyhow::Result<()> {
    sqlx::query(
        "with placed as (insert into outbox (id, source, name, key, time, data) values ($1, $2, $3, $4, $5, $6)) \
         select pg_notify('bench', '')",
    )
    .bind(id)
    .bind(SOURCE)
    .bind(ORDER_PLACED.name())
    .bind(key.as_str())
    .bind(SystemClock.now())
    .bind(data)
    .execute(pool)
    .await?;
    Ok(())
}

/// Reads an outbox forward whenever it is woken, and publishes.
pub struct RawRelay {
    pub pool: PgPool,
    pub nats: async_nats::jetstream::Context,
    pub wire: Wire,
    pub domain: String,
}

impl RawRelay {
    pub async fn run(self, mut listener: PgListener) -> anyhow::Result<()> {
        // Up to here there is no gap; above it, what was published already.
        let (mut cursor, mut beyond) = (0_i64, BTreeSet::new());
        loop {
            let text = "select position, id, source, name, key, time, data from outbox \
                        where position > $1 order by position limit 512";
            let rows = sqlx::query(text).bind(cursor).fetch_all(&self.pool).await?;
            let mut acks = Vec::new();
            for row in rows {
                let position: i64 = row.try_get(0)?;
                if !beyond.insert(position) {
                    continue;
                }
                let (id, key, data): (String, String, Vec<u8>) = (row.try_get(1)?, row.try_get(4)?, row.try_get(6)?);
                let (subject, headers) = self.wire.put(&self.domain, &id, &Key::new(key)?)?;
                acks.push(self.nats.publish_with_headers(subject, headers, data.into()).await?);
            }
            let is_idle = acks.is_empty();
            for ack in acks {
                ack.await?;
            }
            while beyond.remove(&(cursor + 1)) {
                cursor += 1;
            }
            if is_idle {
                listener.recv().await?;
            }
        }
    }
}
