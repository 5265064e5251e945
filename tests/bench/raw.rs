//! The limits: SQLite by hand, one thread, prepared statements of many rows, and nothing in between.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use rusqlite::{Connection, Statement};
use tidewire_core::{Clock, Key, SystemClock};

use crate::clocks::{Timing, Watch};
use crate::harness::rounds::{Class, Shape, Slice};
use crate::orders::{Orders, PAYLOAD_BYTES, SOURCE};
use crate::place::Place;

/// What its events are called.
const NAME: &str = "order.placed.v1";
/// The plainest table that holds an event: no index but its place.
const BARE: &str = "create table event (
    position integer primary key, id blob not null, source text not null, name text not null,
    key text not null, time integer not null, data blob not null) strict";
/// With what an event log needs to keep its promises: no version twice, no event twice.
const INDEXED: &str = "create table event (
    position integer primary key, id blob not null, source text not null, name text not null,
    key text not null, time integer not null, data blob not null, stream integer not null,
    version integer not null) strict;
    create unique index event_version on event (stream, version);
    create unique index event_id on event (id, source)";

/// What the raw table promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    Bare,
    Indexed,
}

/// Opens a database that is as durable as SQLite can be, and says what it really is.
pub fn open(path: &Path) -> anyhow::Result<(Connection, Class)> {
    let db = Connection::open(path)?;
    let mode: String = db.query_row("pragma journal_mode = wal", [], |row| row.get(0))?;
    ensure!(mode == "wal", "the journal mode is `{mode}`");
    db.execute_batch("pragma synchronous = full")?;
    let class = match db.query_row("pragma synchronous", [], |row| row.get::<_, i64>(0))? {
        2 | 3 => Class::Disk,
        1 => Class::Os,
        other => bail!("synchronous is {other}"),
    };
    db.set_prepared_statement_cache_capacity(64);
    Ok((db, class))
}

/// How many write transactions a database in WAL mode has seen since it was created or recovered: the change
/// counter in the header of its shared-memory index, which every commit raises by one.
pub fn transactions(database: &Path) -> anyhow::Result<u64> {
    let mut name = database.as_os_str().to_owned();
    name.push("-shm");
    let file = File::open(&name).with_context(|| format!("{} is not open in WAL mode", database.display()))?;
    let mut counter = [0; 4];
    file.read_exact_at(&mut counter, 8)?;
    Ok(u64::from(u32::from_ne_bytes(counter)))
}

/// `insert` of so many rows of so many columns.
pub fn insert_rows(head: &str, columns: usize, rows: usize, tail: &str) -> String {
    let row = format!("({})", vec!["?"; columns].join(","));
    format!("{head} values {} {tail}", vec![row; rows].join(","))
}

/// Creates the plainest table.
pub fn create_bare(db: &Connection) -> anyhow::Result<()> {
    Ok(db.execute_batch(BARE)?)
}

/// Inserts one order into it.
pub fn insert_one(db: &Connection, orders: &mut Orders) -> anyhow::Result<()> {
    let mut insert = db.prepare_cached("insert into event (id, source, name, key, time, data) values (?,?,?,?,?,?)")?;
    bind_order(&mut insert, 0, &orders.draw())?;
    insert.raw_execute()?;
    Ok(())
}

/// Runs `work` in one transaction.
pub fn in_transaction(db: &Connection, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    db.execute_batch("begin immediate")?;
    work()?;
    Ok(db.execute_batch("commit")?)
}

/// Binds a row of [`BARE`] without its position, after so many values.
fn bind_order(insert: &mut Statement<'_>, after: usize, (key, data): &(Key, Bytes)) -> rusqlite::Result<()> {
    let clock = SystemClock;
    insert.raw_bind_parameter(after + 1, &clock.id().as_bytes()[..])?;
    insert.raw_bind_parameter(after + 2, SOURCE)?;
    insert.raw_bind_parameter(after + 3, NAME)?;
    insert.raw_bind_parameter(after + 4, key.as_str())?;
    insert.raw_bind_parameter(after + 5, clock.now().timestamp_micros())?;
    insert.raw_bind_parameter(after + 6, &data[..])
}

/// Inserts orders for one slice, in transactions of `shape`.
pub fn append(place: &Place, timing: Timing, table: Table, shape: Shape, mut orders: Orders) -> anyhow::Result<Slice> {
    let dir = place.fresh()?;
    let (db, class) = open(&dir.path().join("raw.sqlite"))?;
    let (schema, names, width) = match table {
        Table::Bare => (BARE, "id, source, name, key, time, data", 6),
        Table::Indexed => (INDEXED, "id, source, name, key, time, data, stream, version", 8),
    };
    db.execute_batch(schema)?;
    let rows = shape.rows();
    let sql = insert_rows(&format!("insert into event ({names})"), width, rows, "");
    let mut streams: HashMap<Key, (i64, i64)> = HashMap::new();
    let mut insert = |db: &Connection| -> anyhow::Result<()> {
        let mut insert = db.prepare_cached(&sql)?;
        for row in 0..rows {
            let order = orders.draw();
            bind_order(&mut insert, row * width, &order)?;
            if table == Table::Indexed {
                let next = streams.len() as i64;
                let (stream, version) = streams.entry(order.0).or_insert((next, 0));
                *version += 1;
                insert.raw_bind_parameter(row * width + 7, *stream)?;
                insert.raw_bind_parameter(row * width + 8, *version)?;
            }
        }
        // One statement is one transaction.
        insert.raw_execute()?;
        Ok(())
    };
    let settled = Instant::now();
    let mut before = 0;
    while settled.elapsed() < timing.settle {
        insert(&db)?;
        before += rows;
    }
    let (watch, mut events, mut transactions) = (Watch::start(), 0, 0);
    while watch.seconds() < timing.slice.as_secs_f64() {
        insert(&db)?;
        events += rows as u64;
        transactions += 1;
    }
    let (seconds, cpu_seconds) = watch.read();
    let (count, bytes): (i64, i64) =
        db.query_row("select count(*), sum(length(data)) from event", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    ensure!(count as u64 == events + before as u64, "{count} rows of {}", events + before as u64);
    ensure!(bytes as usize == count as usize * PAYLOAD_BYTES, "{bytes} bytes in {count} rows");
    Ok(Slice { events, seconds, cpu_seconds, transactions, class: place.class(class), latency: None })
}

/// Durable transactions of one small row each, one after the other, for one slice.
pub fn commits(place: &Place, timing: Timing) -> anyhow::Result<Slice> {
    let dir = place.fresh()?;
    let (db, class) = open(&dir.path().join("raw.sqlite"))?;
    db.execute_batch("create table step (id integer primary key, data blob not null) strict")?;
    let data = Bytes::from_static(&[0x5a; 256]);
    let insert = || db.prepare_cached("insert into step (data) values (?)")?.execute([data.as_ref()]);
    let settled = Instant::now();
    while settled.elapsed() < timing.settle {
        insert()?;
    }
    let (watch, mut events) = (Watch::start(), 0);
    while watch.seconds() < timing.slice.as_secs_f64() {
        insert()?;
        events += 1;
    }
    let (seconds, cpu_seconds) = watch.read();
    Ok(Slice { events, seconds, cpu_seconds, transactions: events, class: place.class(class), latency: None })
}
