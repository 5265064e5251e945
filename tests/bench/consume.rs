//! B5: consume with the inbox, a fifth of the deliveries handled before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use async_trait::async_trait;
use rusqlite::Connection;
use tidewire::consume::{ConsumeLoop, ConsumeOptions};
use tidewire_core::handler::Run;
use tidewire_core::{Commit, Consumer, Context, Envelope, Handler, HandlerError, Mark, Seen, SystemClock};
use tokio_util::sync::CancellationToken;

use crate::clocks::Watch;
use crate::harness::rounds::{Class, Shape, Sides, Slice};
use crate::house::House;
use crate::orders::{ORDER_PLACED, Orders, PAYLOAD_BYTES, SOURCE};
use crate::place::Place;
use crate::raw;

const CONSUMER: &str = "bench.consumer";
/// Every so manieth event is in the inbox already: handled, its acknowledgement lost.
const DUPLICATE_EVERY: usize = 5;
/// A slice that takes longer than this hangs.
const DEADLINE: Duration = Duration::from_secs(60);
/// Events per publish while the slice is prepared.
const LOAD: usize = 1_024;

/// Ours: the consume loop on a backlog. The limit: reading the same rows, inserting the marks, writing the
/// place, in as many transactions.
pub struct Consuming {
    pub place: Place,
    pub orders: Orders,
    pub backlog: usize,
    pub run: Run,
    /// The broker's transactions by the store's, as ours last had them.
    pub acks: f64,
}

struct Nothing {
    run: Run,
    ran: Arc<AtomicU64>,
}

#[async_trait]
impl Handler for Nothing {
    fn consumer(&self) -> Consumer {
        Consumer { run: self.run, ..Consumer::new(CONSUMER, vec![ORDER_PLACED]) }
    }

    async fn handle(&self, _: &Envelope, _: &mut Context<'_>) -> Result<(), HandlerError> {
        self.ran.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Sides for Consuming {
    async fn ours(&mut self) -> anyhow::Result<Slice> {
        let house = House::open(&self.place).await?;
        self.load(&house).await?;
        // Nobody keeps a backlog in memory: begin with what is on disk.
        let house = house.reopen().await?;
        let ran = Arc::new(AtomicU64::new(0));
        let handler = Arc::new(Nothing { run: self.run, ran: ran.clone() });
        let consumer = ConsumeLoop::new(&house.ports, handler, SOURCE, ConsumeOptions::default());
        let (stop, deadline) = (CancellationToken::new(), Instant::now() + DEADLINE);
        let before = (house.store_transactions()?, house.broker_transactions()?);
        let watch = Watch::start();
        let running = tokio::spawn(consumer.run(stop.clone()));
        let fresh = (self.backlog - self.backlog.div_ceil(DUPLICATE_EVERY)) as u64;
        while ran.load(Ordering::Relaxed) < fresh || self.pending(&house).await? > 0 {
            if Instant::now() > deadline {
                bail!("{} of {fresh} events were handled in {DEADLINE:?}", ran.load(Ordering::Relaxed));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (seconds, cpu_seconds) = watch.read();
        let transactions = house.store_transactions()? - before.0;
        self.acks = (house.broker_transactions()? - before.1) as f64 / transactions.max(1) as f64;
        stop.cancel();
        running.await?;
        let (ran, handled) = (ran.load(Ordering::Relaxed), house.ports.store.handled(CONSUMER).await?);
        ensure!(ran == fresh, "the handler ran {ran} times for {fresh} new events");
        ensure!(handled == self.backlog as u64, "{handled} of {} events are in the inbox", self.backlog);
        let (store, broker) = (house.store_class().await?, house.broker_class()?);
        ensure!(store == broker, "the store is `{store}`, the broker `{broker}`");
        house.close().await;
        Ok(Slice { events: self.backlog as u64, seconds, cpu_seconds, transactions, class: store, latency: None })
    }

    async fn limit(&mut self, shape: Shape) -> anyhow::Result<Slice> {
        let dir = self.place.fresh()?;
        let (broker, class) = raw::open(&dir.path().join("broker.sqlite"))?;
        let (store, _) = raw::open(&dir.path().join("store.sqlite"))?;
        let slice = self.compose(&broker, &store, shape.rows(), self.place.class(class))?;
        let handled: i64 = store.query_row("select count(*) from inbox", [], |row| row.get(0))?;
        ensure!(handled as usize == self.backlog, "{handled} marks of {}", self.backlog);
        Ok(slice)
    }

    fn probe(&mut self) -> anyhow::Result<Option<f64>> {
        self.place.probe()
    }
}

impl Consuming {
    async fn pending(&self, house: &House) -> anyhow::Result<u64> {
        let lags = house.ports.broker.lag().await?;
        Ok(lags.iter().find(|lag| lag.group == CONSUMER).map_or(0, |lag| lag.pending))
    }

    async fn load(&self, house: &House) -> anyhow::Result<()> {
        let mut orders = self.orders.clone();
        let events: Vec<Envelope> = (0..self.backlog).map(|_| orders.envelope(&SystemClock)).collect();
        let handled = events.iter().step_by(DUPLICATE_EVERY);
        let seen = handled.map(|event| Seen { consumer: CONSUMER.into(), mark: Mark::of(event) }).collect();
        house.ports.store.commit(Commit { seen, ..Commit::default() }).await?;
        for batch in events.chunks(LOAD) {
            for answer in house.ports.broker.publish(batch.to_vec()).await {
                answer?;
            }
        }
        Ok(())
    }

    fn compose(&self, broker: &Connection, store: &Connection, rows: usize, class: Class) -> anyhow::Result<Slice> {
        self.load_raw(broker, store)?;
        let (mut cursor, mut transactions, mut owed) = (0, 0, 0.0);
        let watch = Watch::start();
        while cursor < self.backlog as i64 {
            let mut read = broker.prepare_cached(
                "select position, id, source, name, key, time, data from event where position > ? order by position limit ?",
            )?;
            let mut found = read.query([cursor, rows as i64])?;
            let (mut ids, mut bytes): (Vec<Vec<u8>>, usize) = (Vec::with_capacity(rows), 0);
            while let Some(row) = found.next()? {
                cursor = row.get(0)?;
                ids.push(row.get(1)?);
                let (_key, data): (String, Vec<u8>) = (row.get(4)?, row.get(6)?);
                bytes += data.len();
            }
            ensure!(bytes == ids.len() * PAYLOAD_BYTES, "{bytes} bytes in {} rows", ids.len());
            let sql = raw::insert_rows("insert into inbox", 3, ids.len(), "on conflict do nothing returning id");
            let mut insert = store.prepare_cached(&sql)?;
            for (row, id) in ids.iter().enumerate() {
                insert.raw_bind_parameter(row * 3 + 1, 1)?;
                insert.raw_bind_parameter(row * 3 + 2, &id[..])?;
                insert.raw_bind_parameter(row * 3 + 3, SOURCE)?;
            }
            let mut fresh = insert.raw_query();
            while fresh.next()?.is_some() {}
            transactions += 1;
            owed += self.acks;
            while owed >= 1.0 || cursor == self.backlog as i64 && owed > 0.0 {
                broker.prepare_cached("update place set cursor = ?")?.execute([cursor])?;
                owed -= 1.0;
            }
        }
        let (seconds, cpu_seconds) = watch.read();
        Ok(Slice { events: self.backlog as u64, seconds, cpu_seconds, transactions, class, latency: None })
    }

    fn load_raw(&self, broker: &Connection, store: &Connection) -> anyhow::Result<()> {
        raw::create_bare(broker)?;
        broker.execute_batch("create table place (cursor integer not null) strict; insert into place values (0)")?;
        store.execute_batch(
            "create table inbox (consumer integer not null, id blob not null, source text not null,
             primary key (consumer, id, source)) strict, without rowid",
        )?;
        let mut orders = self.orders.clone();
        raw::in_transaction(broker, || {
            for _ in 0..self.backlog {
                raw::insert_one(broker, &mut orders)?;
            }
            Ok(())
        })?;
        let mut ids = broker.prepare("select id, source from event where (position - 1) % ? = 0")?;
        let mut ids = ids.query([DUPLICATE_EVERY as i64])?;
        raw::in_transaction(store, || {
            while let Some(row) = ids.next()? {
                let (id, source): (Vec<u8>, String) = (row.get(0)?, row.get(1)?);
                store.prepare_cached("insert into inbox values (1, ?, ?)")?.execute((id, source))?;
            }
            Ok(())
        })
    }
}
