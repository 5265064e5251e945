//! B11: rebuilding a projection. B20: replaying to other subjects.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use async_trait::async_trait;
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;
use tidewire::operate::Actor;
use tidewire::replay::{
    Asked, Domains, Generations, Job, Phase, Plan, RebuildRequest, Replays, Request, State, Target, Wanted,
};
use tidewire::{Ports, Store};
use tidewire_broker::{EmbeddedBroker, EmbeddedOptions};
use tidewire_core::handler::{Consumer, Kind, Run};
use tidewire_core::store::DocumentQuery;
use tidewire_core::{
    Append, Broker, BrokerError, Commit, Context, Envelope, Expect, Handler, HandlerError, Mark, Seen, SystemClock,
};

use crate::clocks::Watch;
use crate::harness::rounds::{Class, Shape, Sides, Slice};
use crate::house::House;
use crate::orders::{ORDER_PLACED, Orders, SOURCE};
use crate::place::Place;
use crate::raw;

const CONSUMER: &str = "bench.histories";
const COLLECTION: &str = "histories";
/// Events per commit while the log is made.
const LOAD: usize = 2_000;
/// Marks per commit.
const MARKS: usize = 20_000;
/// A rebuild that takes longer than this hangs.
const DEADLINE: Duration = Duration::from_secs(900);
/// How often it is looked how far it is.
const POLL: Duration = Duration::from_millis(5);

/// A row per event: as many rows go in as events come out.
struct Histories;

#[async_trait]
impl Handler for Histories {
    fn consumer(&self) -> Consumer {
        let consumer = Consumer::new(CONSUMER, vec![ORDER_PLACED]).keeping([COLLECTION]);
        Consumer { kind: Kind::Projection, run: Run::Batch, ..consumer }
    }

    async fn prepare(&self, events: &[&Envelope], cx: &mut Context<'_>) -> Result<(), HandlerError> {
        let ids: Vec<String> = events.iter().map(|event| row_id(event)).collect();
        cx.prefetch(COLLECTION, &ids).await
    }

    async fn handle(&self, event: &Envelope, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        let data: Value = serde_json::from_slice(event.data.as_deref().unwrap_or_default())
            .map_err(|error| HandlerError::permanent("bench.data", error))?;
        let row = serde_json::json!({ "id": event.id, "time": event.time, "bytes": data.as_object().map(|d| d.len()) });
        cx.put(COLLECTION, &row_id(event), &row)
    }
}

fn row_id(event: &Envelope) -> String {
    format!("{}/{:012}", event.key, event.sequence.unwrap_or_default())
}

/// A log of so many orders, handled by the projection as far as its inbox is concerned.
pub struct Filled {
    house: House,
    ports: Ports,
    class: Class,
}

impl Filled {
    async fn new(place: &Place, orders: &Orders, events: usize, handled: bool) -> anyhow::Result<Self> {
        let house = House::open(place).await?;
        let class = house.store_class().await?;
        let store: Arc<dyn Store> = Arc::new(Generations::over(house.ports.store.clone()).await?);
        let ports = Ports { store, ..house.ports.clone() };
        let mut orders = orders.clone();
        let mut marks = Vec::new();
        for start in (0..events).step_by(LOAD) {
            let mut commit = Commit::default();
            for _ in start..events.min(start + LOAD) {
                let event = orders.envelope(&SystemClock);
                marks.push(Mark::of(&event));
                match commit.append.iter_mut().find(|append| append.key == event.key) {
                    Some(append) => append.events.push(event),
                    None => {
                        commit.append.push(Append { key: event.key.clone(), expect: Expect::Any, events: vec![event] });
                    }
                }
            }
            ports.store.commit(commit).await?;
        }
        for marks in marks.chunks(MARKS).filter(|_| handled) {
            let seen = marks.iter().map(|mark| Seen { consumer: CONSUMER.into(), mark: mark.clone() }).collect();
            ports.store.commit(Commit { seen, ..Commit::default() }).await?;
        }
        Ok(Self { house, ports, class })
    }
}

fn asked() -> Asked {
    Asked { actor: Actor::house(), reason: "a benchmark".into(), with_effects: false }
}

/// Carries a replay out until `is_far_enough`, and answers how long that took; then to its end.
async fn timed(desk: &Replays, id: &str, far_enough: impl Fn(&Job) -> bool) -> anyhow::Result<(f64, f64, Job)> {
    let (working, watch) = (desk.clone(), Watch::start());
    let work = tokio::spawn(async move { working.work(DEADLINE).await });
    let deadline = Instant::now() + DEADLINE;
    let mut read = None;
    loop {
        let job = desk.job(id).await?;
        if read.is_none() && far_enough(&job) {
            read = Some(watch.read());
        }
        if !job.state.is_open() {
            work.await??;
            ensure!(job.state == State::Done, "it ended as {job:?}");
            let (seconds, cpu_seconds) = read.unwrap_or_else(|| watch.read());
            return Ok((seconds, cpu_seconds, job));
        }
        if Instant::now() > deadline {
            bail!("no end: {job:?}");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Ours: a rebuild up to the last event, before it is compared and swapped. The limit: reading the same events and
/// inserting as many rows, in as many transactions.
pub struct Rebuilding {
    pub place: Place,
    pub orders: Orders,
    pub events: usize,
    pub filled: Option<Filled>,
    /// How long comparing, swapping and clearing took beside, in seconds, and how long live events were held.
    pub rest: (f64, f64),
}

impl Sides for Rebuilding {
    async fn ours(&mut self) -> anyhow::Result<Slice> {
        if self.filled.is_none() {
            self.filled = Some(Filled::new(&self.place, &self.orders, self.events, true).await?);
        }
        let Some(filled) = &self.filled else { bail!("no log") };
        let desk = Replays::new(&filled.ports, vec![(Arc::new(Histories), SOURCE.into())], Default::default());
        let job = desk.rebuild(CONSUMER, &RebuildRequest::default(), &asked()).await?;
        let built = |job: &Job| matches!(job.phase, Some(Phase::Comparing | Phase::Swapping | Phase::Clearing));
        let before = filled.house.store_transactions()?;
        let whole = Instant::now();
        let (seconds, cpu_seconds, job) = timed(&desk, &job.id, built).await?;
        let _ = before;
        self.rest = (whole.elapsed().as_secs_f64() - seconds, job.compared.map_or(0.0, |compared| compared.held));
        let rows = filled.ports.store.count(COLLECTION, "").await?;
        ensure!(rows == self.events as u64, "{rows} rows of {} events", self.events);
        let one = DocumentQuery { collection: COLLECTION.into(), limit: 1, ..DocumentQuery::default() };
        ensure!(!filled.ports.store.list(&one).await?.is_empty(), "readers do not see it");
        Ok(Slice {
            events: self.events as u64,
            seconds,
            cpu_seconds,
            transactions: job.counts.batches,
            class: filled.class,
            latency: None,
        })
    }

    async fn limit(&mut self, shape: Shape) -> anyhow::Result<Slice> {
        let dir = self.place.fresh()?;
        let (db, class) = raw::open(&dir.path().join("log.sqlite"))?;
        fill(&db, &self.orders, self.events)?;
        db.execute_batch(
            "create table document (collection text not null, id text not null, revision integer not null,
             value blob not null, primary key (collection, id)) strict, without rowid",
        )?;
        let class = self.place.class(class);
        copy(&db, self.events, shape.rows(), class, |rows| {
            let sql = raw::insert_rows("insert into document", 4, rows.len(), "");
            let mut insert = db.prepare_cached(&sql)?;
            for (n, (position, id, key, _)) in rows.iter().enumerate() {
                let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
                let value = format!("{{\"id\":\"{hex}\",\"time\":\"2026-11-20T13:14:15.123456Z\",\"bytes\":9}}");
                insert.raw_bind_parameter(n * 4 + 1, COLLECTION)?;
                insert.raw_bind_parameter(n * 4 + 2, format!("{key}/{position:012}"))?;
                insert.raw_bind_parameter(n * 4 + 3, 1)?;
                insert.raw_bind_parameter(n * 4 + 4, value.as_bytes())?;
            }
            Ok(insert.raw_execute().map(drop)?)
        })
    }

    fn probe(&mut self) -> anyhow::Result<Option<f64>> {
        self.place.probe()
    }
}

/// The place, the id, the key and the data of an event.
type Raw = (i64, Vec<u8>, String, Vec<u8>);

fn fill(db: &Connection, orders: &Orders, events: usize) -> anyhow::Result<()> {
    raw::create_bare(db)?;
    let mut orders = orders.clone();
    raw::in_transaction(db, || (0..events).try_for_each(|_| raw::insert_one(db, &mut orders)))
}

/// Reads events, so many at once, and hands them to `write`, a transaction each.
fn copy(
    db: &Connection,
    events: usize,
    rows: usize,
    class: Class,
    mut write: impl FnMut(&[Raw]) -> anyhow::Result<()>,
) -> anyhow::Result<Slice> {
    let (mut cursor, mut transactions, mut copied) = (0, 0, 0);
    // As many values as a statement may have.
    let rows = rows.min(4_000);
    let watch = Watch::start();
    loop {
        let mut read = db
            .prepare_cached("select position, id, key, data from event where position > ? order by position limit ?")?;
        let found =
            read.query_map([cursor, rows as i64], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        let page: Vec<Raw> = found.collect::<Result<_, _>>()?;
        drop(read);
        let Some(last) = page.last() else { break };
        cursor = last.0;
        copied += page.len();
        write(&page)?;
        transactions += 1;
    }
    let (seconds, cpu_seconds) = watch.read();
    ensure!(copied == events, "{copied} of {events}");
    Ok(Slice { events: events as u64, seconds, cpu_seconds, transactions, class, latency: None })
}

/// Opens an embedded broker in a folder of its own.
struct Beside(TempDir);

#[async_trait]
impl Domains for Beside {
    async fn open(&self, name: &str) -> Result<Arc<dyn Broker>, BrokerError> {
        let options =
            EmbeddedOptions { dir: self.0.path().join(name), max_bytes: 16 << 30, ..EmbeddedOptions::default() };
        let broker: Arc<dyn Broker> = EmbeddedBroker::open(options, Arc::new(SystemClock)).await?;
        Ok(broker)
    }
}

/// Ours: a replay of the log to another domain of the embedded broker. The limit: reading the same events and inserting
/// them into another database, in as many transactions.
pub struct Republishing {
    pub place: Place,
    pub orders: Orders,
    pub events: usize,
    pub filled: Option<Filled>,
    pub round: u32,
}

impl Sides for Republishing {
    async fn ours(&mut self) -> anyhow::Result<Slice> {
        if self.filled.is_none() {
            self.filled = Some(Filled::new(&self.place, &self.orders, self.events, false).await?);
        }
        let Some(filled) = &self.filled else { bail!("no log") };
        self.round += 1;
        let desk = Replays::new(&filled.ports, Vec::new(), Default::default());
        let desk = desk.with_domains(Arc::new(Beside(self.place.fresh()?)));
        let target = Target::Domain { name: format!("copy-{}", self.round) };
        let events = Wanted { to: Some(self.events.to_string()), ..Wanted::default() };
        let request = Request { events, target, with_effects: false, rate: None };
        let Plan { hash, report, .. } = desk.plan(&request).await?;
        ensure!(report.events == self.events as u64, "{} events are planned", report.events);
        desk.apply(&hash, &asked()).await?;
        let (seconds, cpu_seconds, job) = timed(&desk, &hash, |job| job.state == State::Done).await?;
        ensure!(job.counts.handled == self.events as u64, "{job:?}");
        Ok(Slice {
            events: self.events as u64,
            seconds,
            cpu_seconds,
            transactions: job.counts.batches,
            class: filled.class,
            latency: None,
        })
    }

    async fn limit(&mut self, shape: Shape) -> anyhow::Result<Slice> {
        let dir = self.place.fresh()?;
        let (db, class) = raw::open(&dir.path().join("log.sqlite"))?;
        let (broker, _) = raw::open(&dir.path().join("broker.sqlite"))?;
        fill(&db, &self.orders, self.events)?;
        raw::create_bare(&broker)?;
        let class = self.place.class(class);
        copy(&db, self.events, shape.rows(), class, |rows| {
            let sql = raw::insert_rows("insert into event (id, source, name, key, time, data)", 6, rows.len(), "");
            let mut insert = broker.prepare_cached(&sql)?;
            for (n, (position, id, key, data)) in rows.iter().enumerate() {
                insert.raw_bind_parameter(n * 6 + 1, &id[..])?;
                insert.raw_bind_parameter(n * 6 + 2, SOURCE)?;
                insert.raw_bind_parameter(n * 6 + 3, "order.placed.v1")?;
                insert.raw_bind_parameter(n * 6 + 4, key.as_str())?;
                insert.raw_bind_parameter(n * 6 + 5, position)?;
                insert.raw_bind_parameter(n * 6 + 6, &data[..])?;
            }
            Ok(insert.raw_execute().map(drop)?)
        })
    }

    fn probe(&mut self) -> anyhow::Result<Option<f64>> {
        self.place.probe()
    }
}
