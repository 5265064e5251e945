//! B5: consume with the inbox on PostgreSQL, a fifth of the deliveries handled before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, ensure};
use async_nats::jetstream::Message as Raw;
use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use sqlx::Row;
use tidewire::consume::{ConsumeLoop, ConsumeOptions};
use tidewire::{Ports, SystemClock};
use tidewire_core::handler::Run;
use tidewire_core::{Commit, Consumer, Context, Envelope, Handler, HandlerError, Mark, Seen, Store};
use tokio_util::sync::CancellationToken;

use crate::clocks::Watch;
use crate::harness::rounds::{Class, Shape, Sides, Slice};
use crate::orders::{ORDER_PLACED, SOURCE};
use crate::place::Place;
use crate::real::backlog::{Backlog, until};
use crate::real::load::within;
use crate::real::postgres::{Cluster, Database};

/// Every so manieth event is in the inbox already: handled, its acknowledgement lost.
const DUPLICATE_EVERY: usize = 5;
/// Marks per commit while the slice is prepared.
const LOAD: usize = 2_000;
/// The most rows in one statement of the limit.
const MAX_ROWS: usize = 512;

/// Ours: the consume loop on a backlog. The limit: a raw pull consumer, an insert of many marks, and the
/// acknowledgements, in as many transactions.
pub struct Consuming<'a> {
    pub backlog: &'a Backlog<'a>,
    pub cluster: &'a Cluster,
    pub place: &'a Place,
    pub run: Run,
    /// Slices so far: groups and consumers are not used twice.
    pub slices: usize,
}

struct Nothing {
    consumer: String,
    run: Run,
    ran: Arc<AtomicU64>,
}

#[async_trait]
impl Handler for Nothing {
    fn consumer(&self) -> Consumer {
        Consumer { run: self.run, ..Consumer::new(self.consumer.clone(), vec![ORDER_PLACED]) }
    }

    async fn handle(&self, _: &Envelope, _: &mut Context<'_>) -> Result<(), HandlerError> {
        self.ran.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Consuming<'_> {
    /// Both sides must wait for the same, whatever each is able to.
    fn class(&self) -> Class {
        match (self.cluster.class, self.backlog.nats.class) {
            (Class::Disk, class) => class,
            (class, _) => class,
        }
    }

    fn handled(&self) -> impl Iterator<Item = &Envelope> {
        self.backlog.events.iter().step_by(DUPLICATE_EVERY)
    }

    async fn ours_in(&self, database: &Database<'_>) -> anyhow::Result<Slice> {
        let backlog = self.backlog;
        let consumer = format!("bench.{}{}", if self.run == Run::Batch { "batch" } else { "key" }, self.slices);
        let store = Arc::new(database.store().await?);
        let marks: Vec<_> = self.handled().map(Mark::of).collect();
        for marks in marks.chunks(LOAD) {
            let seen = marks.iter().map(|mark| Seen { consumer: consumer.clone(), mark: mark.clone() }).collect();
            tidewire_core::store::Log::commit(store.as_ref(), Commit { seen, ..Commit::default() }).await?;
        }
        let (store, broker): (Arc<dyn Store>, _) = (store.clone(), backlog.broker.clone());
        let ports = Ports { store, broker, clock: Arc::new(SystemClock) };
        let ran = Arc::new(AtomicU64::new(0));
        let handler = Arc::new(Nothing { consumer: consumer.clone(), run: self.run, ran: ran.clone() });
        let consume = ConsumeLoop::new(&ports, handler, SOURCE, ConsumeOptions::default());
        let (stop, fresh) = (CancellationToken::new(), (backlog.events.len() - marks.len()) as u64);
        let before = database.transactions().await?;
        let running = tokio::spawn(consume.run(stop.clone()));
        // Joining the group is no part of it.
        until("nothing was handled", || async { Ok(ran.load(Ordering::Relaxed) > 0) }).await?;
        let (watch, begun) = (Watch::start(), ran.load(Ordering::Relaxed));
        until("not everything was handled", || async { Ok(ran.load(Ordering::Relaxed) >= fresh) }).await?;
        backlog.acknowledged().await?;
        let (seconds, cpu_seconds) = watch.read();
        let transactions = database.transactions().await? - before;
        stop.cancel();
        within(running).await??;
        let (ran, handled) = (ran.load(Ordering::Relaxed), ports.store.handled(&consumer).await?);
        ensure!(ran == fresh, "the handler ran {ran} times for {fresh} new events");
        ensure!(
            handled == backlog.events.len() as u64,
            "{handled} of {} events are in the inbox",
            backlog.events.len()
        );
        ports.store.close().await;
        // What was handled before the watch began, and its share of duplicates, does not count.
        let counted = (fresh - begun) as f64 / fresh as f64;
        let (events, class) = ((backlog.events.len() as f64 * counted) as u64, self.class());
        let transactions = (transactions as f64 * counted) as u64;
        Ok(Slice { events, seconds, cpu_seconds, transactions, class, latency: None })
    }

    async fn limit_in(&self, database: &Database<'_>, rows: usize) -> anyhow::Result<Slice> {
        let (backlog, name) = (self.backlog, format!("inbox{}", self.slices));
        database.run(TABLE).await?;
        for marks in self.handled().collect::<Vec<_>>().chunks(LOAD) {
            let ids = marks.iter().map(|event| event.id.clone()).collect::<Vec<_>>();
            insert(database, &ids).await?;
        }
        let mut deliveries = backlog.consumer(&name).await?;
        let (mut came, mut transactions) = (Vec::with_capacity(backlog.events.len()), 0);
        let mut fresh = backlog.events.len().div_ceil(DUPLICATE_EVERY) as u64;
        let (mut watch, mut before) = (None, 0);
        while came.len() < backlog.events.len() {
            let batch = pull(&mut deliveries, rows).await?;
            let mut ids = Vec::with_capacity(batch.len());
            for delivery in &batch {
                let headers = delivery.headers.as_ref().context("an event without headers")?;
                ids.push(headers.get("ce-id").context("an event without an id")?.as_str().to_owned());
            }
            fresh += insert(database, &ids).await?;
            for delivery in batch {
                delivery.ack().await.map_err(|error| anyhow::anyhow!(error))?;
            }
            came.extend(ids);
            transactions += 1;
            watch.get_or_insert_with(|| {
                (before, transactions) = (came.len(), 0);
                Watch::start()
            });
        }
        backlog.acknowledged().await?;
        let (seconds, cpu_seconds) = watch.context("nothing came")?.read();
        drop(deliveries);
        backlog.forget(&name).await?;
        backlog.check(&came)?;
        ensure!(fresh as usize == came.len(), "{fresh} marks for {} events", came.len());
        let (events, class) = ((came.len() - before) as u64, self.class());
        Ok(Slice { events, seconds, cpu_seconds, transactions, class, latency: None })
    }
}

impl Sides for Consuming<'_> {
    async fn ours(&mut self) -> anyhow::Result<Slice> {
        self.slices += 1;
        let database = self.cluster.database().await?;
        let slice = self.ours_in(&database).await;
        database.close().await?;
        slice
    }

    async fn limit(&mut self, shape: Shape) -> anyhow::Result<Slice> {
        self.slices += 1;
        let database = self.cluster.database().await?;
        let slice = self.limit_in(&database, shape.rows().min(MAX_ROWS)).await;
        database.close().await?;
        slice
    }

    fn probe(&mut self) -> anyhow::Result<Option<f64>> {
        if self.cluster.class == Class::Disk { self.place.probe() } else { Ok(None) }
    }
}

const TABLE: &str = "create table inbox (consumer integer not null, id text collate \"C\" not null, \
                     source text collate \"C\" not null, primary key (consumer, id, source))";

/// Inserts marks in one transaction; answers how many were new.
async fn insert(database: &Database<'_>, ids: &[String]) -> anyhow::Result<u64> {
    let rows = sqlx::query(
        "insert into inbox (consumer, id, source) select 1, id, $2 from unnest($1::text[]) id \
         on conflict do nothing returning id",
    )
    .bind(ids)
    .bind(SOURCE)
    .fetch_all(&database.pool)
    .await?;
    for row in &rows {
        let _: &str = row.try_get(0)?;
    }
    Ok(rows.len() as u64)
}

/// The next deliveries: one at least, and at most `rows` of those that are there.
async fn pull(deliveries: &mut async_nats::jetstream::consumer::pull::Stream, rows: usize) -> anyhow::Result<Vec<Raw>> {
    let mut batch = vec![within(deliveries.next()).await?.context("the deliveries ended")??];
    while batch.len() < rows {
        let Some(Some(delivery)) = deliveries.next().now_or_never() else { break };
        batch.push(delivery?);
    }
    Ok(batch)
}
