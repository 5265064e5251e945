//! B9: appending to the log on PostgreSQL.

use std::fmt::Write as _;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use tidewire::SystemClock;
use tidewire_core::store::{Log, Selection, Upkeep};
use tidewire_core::{Append, Clock, Commit, Committed, Envelope, Expect, Position};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::clocks::{Timing, Watch};
use crate::harness::rounds::{Class, Shape, Sides, Slice};
use crate::orders::{KEYS, ORDER_PLACED, Orders, SOURCE};
use crate::place::Place;
use crate::producers::produce;
use crate::real::load::{Load, timed, within};
use crate::real::postgres::{Cluster, Database};

/// Events of one commit of a batch.
pub const BATCH: usize = 100;
/// Commits of batches at once.
pub const WRITERS: u64 = 8;
/// Connections of the limit for batches: a third is slower on two cores.
const CONNECTIONS: u64 = 2;
/// The most rows in one statement of the limit.
const MAX_ROWS: usize = 4_000;
/// The exponent that pgbench knows nearest to that of the orders.
const ZIPF: f64 = 1.01;

/// B9a. Ours: the log, a commit per event. The limit: pgbench, making the same rows in one statement each.
pub struct Single<'a> {
    pub cluster: &'a Cluster,
    pub place: &'a Place,
    pub orders: Orders,
    pub timing: Timing,
    pub clients: usize,
    /// Whether the limit draws all keys alike: its clients then hardly ever wait for each other's streams.
    pub alike: bool,
}

impl Single<'_> {
    async fn ours_in(&self, database: &Database<'_>) -> anyhow::Result<Slice> {
        let store = Arc::new(database.store().await?);
        let put = {
            let store = store.clone();
            move |envelope: Envelope| {
                let store = store.clone();
                async move {
                    let append = Append { key: envelope.key.clone(), expect: Expect::Any, events: vec![envelope] };
                    let committed = store.commit(Commit { append: vec![append], ..Commit::default() }).await?;
                    ensure!(matches!(committed, Committed::Applied { .. }), "a fresh event was taken for a duplicate");
                    Ok(())
                }
            }
        };
        let batches = || batches(database);
        let before = batches().await?;
        let class = self.cluster.class;
        let mut produced = produce(self.clients, &self.orders, self.timing, class, || Ok(0), put).await?;
        let all: usize = produced.told.iter().map(Vec::len).sum();
        // Of the whole run, and so of any part of it.
        let transactions = (batches().await? - before) as f64 * produced.slice.events as f64 / all.max(1) as f64;
        produced.slice.transactions = transactions.ceil() as u64;
        produced.check(&stored(&*store).await?)?;
        store.close().await;
        Ok(produced.slice)
    }

    async fn limit_in(&self, database: &Database<'_>) -> anyhow::Result<Slice> {
        // The product's own tables.
        database.store().await?.close().await;
        let dir = self.place.fresh()?;
        let script = dir.path().join("append.sql");
        std::fs::write(&script, self.script())?;
        // Whole seconds are all it knows.
        let seconds = self.timing.slice.as_secs_f64().ceil().max(1.0);
        let (login, address) = parted(&database.url)?;
        let mut command = Command::new(self.cluster.program("pgbench"));
        command.args(["-n", "-M", "prepared", "-c", &self.clients.to_string(), "-j", &self.clients.min(2).to_string()]);
        command.args(["-T", &format!("{seconds:.0}"), "-s", "1", "-f"]).arg(&script).arg(address);
        command.env("PGPASSWORD", login).stdin(Stdio::null()).kill_on_drop(true);
        let watch = Watch::start();
        let said = within(command.output()).await??;
        let (_, cpu_seconds) = watch.read();
        let (told, why) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        ensure!(said.status.success(), "pgbench failed: {}", why.trim());
        let events = number(&told, "number of transactions actually processed: ")? as u64;
        let rate = number(&told, "tps = ")?;
        let rows = database.number("select count(*) from tidewire.event").await?;
        let batches = database.number("select count(*) from tidewire.batch").await?;
        ensure!(rows as u64 == events && batches == rows, "{rows} events and {batches} batches of {events}");
        let (seconds, class) = (events as f64 / rate, self.cluster.class);
        Ok(Slice { events, seconds, cpu_seconds, transactions: events, class, latency: None })
    }

    /// Locks the stream, inserts the event and its batch: what the log cannot do without.
    fn script(&self) -> String {
        let (_, data) = self.orders.clone().draw();
        let mut hex = String::with_capacity(data.len() * 2);
        data.iter().for_each(|byte| {
            let _ = write!(hex, "{byte:02x}");
        });
        let ty = ORDER_PLACED;
        let (name, version) = (ty.name(), ty.version());
        let draw = if self.alike { format!("random(1, {KEYS})") } else { format!("random_zipfian(1, {KEYS}, {ZIPF})") };
        format!(
            "\\set k {draw}
with locked as (
  insert into tidewire.stream as s (key, version) values ('order/' || :k::text, 1)
  on conflict (key) do update set version = s.version + 1 returning key, version
), drawn as materialized (
  select nextval('tidewire.batch_id') as id, gen_random_uuid()::text as event, key, version from locked
), written as (
  insert into tidewire.event (batch, index, recorded, key, version, bucket, id, source, name, type_version, time,
    correlation, data)
  select id, 0, now(), key, version, 0, event, '{SOURCE}', '{name}', {version}, now(), event, '\\x{hex}'::bytea from drawn
)
insert into tidewire.batch (id, count) select id, 1 from drawn;
"
        )
    }
}

impl Sides for Single<'_> {
    async fn ours(&mut self) -> anyhow::Result<Slice> {
        let database = self.cluster.database().await?;
        let slice = self.ours_in(&database).await;
        database.close().await?;
        slice
    }

    async fn limit(&mut self, _: Shape) -> anyhow::Result<Slice> {
        let database = self.cluster.database().await?;
        let slice = self.limit_in(&database).await;
        database.close().await?;
        slice
    }

    fn probe(&mut self) -> anyhow::Result<Option<f64>> {
        if self.cluster.class == Class::Disk { self.place.probe() } else { Ok(None) }
    }
}

/// Transactions that appended, so far.
async fn batches(database: &Database<'_>) -> anyhow::Result<u64> {
    Ok(database.number("select last_value from tidewire.batch_id").await?.unsigned_abs())
}

/// The password of a URL, and the URL without it.
fn parted(url: &str) -> anyhow::Result<(String, String)> {
    let (before, after) = url.rsplit_once('@').context("a URL without a login")?;
    let (user, password) = before.rsplit_once(':').context("a URL without a password")?;
    Ok((password.to_owned(), format!("{user}@{after}")))
}

fn number(told: &str, before: &str) -> anyhow::Result<f64> {
    let line = told.lines().find_map(|line| line.strip_prefix(before));
    let word = line.and_then(|line| line.split([' ', '/']).next());
    word.and_then(|word| word.parse().ok()).with_context(|| format!("pgbench did not say `{before}`"))
}

/// Everything in the log, in its order.
async fn stored(store: &impl Log) -> anyhow::Result<Vec<Envelope>> {
    let mut stored = Vec::new();
    loop {
        let after = Position(stored.len() as u64);
        let page = store.read(&Selection { after, limit: 4_096, ..Selection::default() }).await?;
        if page.is_empty() {
            return Ok(stored);
        }
        for recorded in page {
            ensure!(recorded.position.0 == stored.len() as u64 + 1, "a gap before {}", recorded.position);
            stored.push(recorded.envelope);
        }
    }
}

/// B9b. Ours: the log, a hundred events a commit. The limit: the plainest table, in transactions as large as ours
/// really were.
pub struct Batches<'a> {
    pub cluster: &'a Cluster,
    pub place: &'a Place,
    pub orders: Orders,
    pub timing: Timing,
    /// Whether the limit has the indexes that a log needs.
    pub indexed: bool,
}

const BARE: &str = "
    create table event (position bigint generated always as identity primary key, id text collate \"C\" not null,
      source text collate \"C\" not null, name text not null, key text collate \"C\" not null,
      version bigint not null, time timestamptz not null, data bytea not null)";
const INDEXES: &str = "
    create unique index event_version on event (key, version);
    create unique index event_id on event (id, source)";

impl Batches<'_> {
    async fn ours_in(&self, database: &Database<'_>) -> anyhow::Result<Slice> {
        let store = Arc::new(database.store().await?);
        let (load, mut writers) = (Arc::new(Load::default()), JoinSet::new());
        for writer in 0..WRITERS {
            let (load, store, mut orders) = (load.clone(), store.clone(), self.orders.fork(writer + 1));
            writers.spawn(async move {
                while load.goes_on() {
                    let (key, _) = orders.draw();
                    let events = (0..BATCH).map(|_| Envelope { key: key.clone(), ..orders.envelope(&SystemClock) });
                    let append = Append { key: key.clone(), expect: Expect::Any, events: events.collect() };
                    store.commit(Commit { append: vec![append], ..Commit::default() }).await?;
                    load.add(BATCH as u64);
                }
                Ok(())
            });
        }
        let batches = || batches(database);
        let slice = timed(&load, self.timing, self.cluster.class, writers, batches).await?;
        let head = store.head().await?.0;
        ensure!(head == load.done(), "{head} events of {} are in the log", load.done());
        store.close().await;
        Ok(slice)
    }

    async fn limit_in(&self, database: &Database<'_>, rows: usize) -> anyhow::Result<Slice> {
        database.run(BARE).await?;
        if self.indexed {
            database.run(INDEXES).await?;
        }
        let (load, mut writers) = (Arc::new(Load::default()), JoinSet::new());
        for writer in 0..CONNECTIONS {
            let (load, pool, mut orders) = (load.clone(), database.pool.clone(), self.orders.fork(writer + 1));
            writers.spawn(async move {
                // Versions that the other connection does not give.
                let mut version = writer as i64;
                while load.goes_on() {
                    let drawn: Vec<_> = (0..rows).map(|_| orders.draw()).collect();
                    let versions: Vec<i64> = (1..=rows as i64).map(|n| version + n * CONNECTIONS as i64).collect();
                    version += rows as i64 * CONNECTIONS as i64;
                    sqlx::query(
                        "insert into event (id, source, name, key, version, time, data) \
                         select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], \
                         $6::timestamptz[], $7::bytea[])",
                    )
                    .bind((0..rows).map(|_| SystemClock.id().to_string()).collect::<Vec<_>>())
                    .bind(vec![SOURCE; rows])
                    .bind(vec![ORDER_PLACED.name(); rows])
                    .bind(drawn.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>())
                    .bind(versions)
                    .bind(vec![SystemClock.now(); rows])
                    .bind(drawn.iter().map(|(_, data)| &data[..]).collect::<Vec<_>>())
                    .execute(&pool)
                    .await?;
                    load.add(rows as u64);
                }
                Ok(())
            });
        }
        let slice = timed(&load, self.timing, self.cluster.class, writers, || database.transactions()).await?;
        let stored = database.number("select count(*) from event").await?;
        ensure!(stored as u64 == load.done(), "{stored} rows of {}", load.done());
        Ok(slice)
    }
}

impl Sides for Batches<'_> {
    async fn ours(&mut self) -> anyhow::Result<Slice> {
        let database = self.cluster.database().await?;
        let slice = self.ours_in(&database).await;
        database.close().await?;
        slice
    }

    async fn limit(&mut self, shape: Shape) -> anyhow::Result<Slice> {
        let database = self.cluster.database().await?;
        let slice = self.limit_in(&database, shape.rows().min(MAX_ROWS)).await;
        database.close().await?;
        slice
    }

    fn probe(&mut self) -> anyhow::Result<Option<f64>> {
        if self.cluster.class == Class::Disk { self.place.probe() } else { Ok(None) }
    }
}
