//! The parking port.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use tidewire_core::store::{Parked, ParkedQuery, Parking};
use tidewire_core::{Key, StoreError};

use super::codec::{count, parked_envelope};
use super::error::classify;
use super::sql::{Args, Rows};
use super::store::{MAX_READ, SqliteStore};
use crate::group::from_nanos;

/// How many events are parked, for those who would otherwise ask the database. Never too low: what is being
/// parked counts already.
#[derive(Debug)]
pub(super) struct Tally {
    parked: AtomicU64,
    removals: AtomicU64,
}

impl Tally {
    pub(super) fn new(parked: u64) -> Self {
        Self { parked: AtomicU64::new(parked), removals: AtomicU64::new(0) }
    }

    /// So many are about to be parked.
    pub(super) fn add(&self, events: usize) {
        self.parked.fetch_add(events as u64, Ordering::AcqRel);
    }

    /// So many were taken out.
    pub(super) fn remove(&self, events: usize) {
        if events > 0 {
            self.parked.fetch_sub(events as u64, Ordering::AcqRel);
            self.removals.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// After a failure: what the database holds.
    pub(super) fn recount(&self, parked: u64) {
        self.parked.store(parked, Ordering::Release);
    }

    /// How often something was taken out.
    pub(super) fn removals(&self) -> u64 {
        self.removals.load(Ordering::Acquire)
    }

    fn is_empty(&self) -> bool {
        self.parked.load(Ordering::Acquire) == 0
    }
}

const KEYS: Rows = Rows {
    head: "select v.column1 from (values ",
    columns: 3,
    tail: ") as v cross join consumer c on c.name = v.column2 \
           where exists (select 1 from parked p where p.consumer = c.id and p.key = v.column3)",
};

#[async_trait]
impl Parking for SqliteStore {
    async fn parked_keys(&self, consumer: &str, keys: &[Key]) -> Result<BTreeSet<Key>, StoreError> {
        if self.parking.is_empty() {
            return Ok(BTreeSet::new());
        }
        let asked: Vec<(i64, &Key)> = (0..).zip(keys).collect();
        let bind = |(n, key): &(i64, &Key), args: &mut Args| {
            args.add(*n).add(consumer).add(key.as_str());
        };
        let mut reader = self.reader().await?;
        let rows = KEYS.fetch(&mut reader, &asked, bind).await.map_err(classify)?;
        let mut parked = BTreeSet::new();
        for row in rows {
            parked.extend(keys.get(usize::try_from(count(&row, 0)?).unwrap_or(usize::MAX)).cloned());
        }
        Ok(parked)
    }

    async fn parked(&self, query: &ParkedQuery) -> Result<Vec<Parked>, StoreError> {
        let mut args = Args::default();
        let mut text = "select p.ordinal, c.name, p.envelope, p.data, p.crc, p.code, p.reason, p.attempts, p.since \
                        from parked p join consumer c on c.id = p.consumer where p.ordinal > ?"
            .to_owned();
        args.count(query.after);
        if let Some(consumer) = &query.consumer {
            args.add(consumer.as_str());
            text += " and p.consumer = (select id from consumer where name = ?)";
        }
        if let Some(key) = &query.key {
            args.add(key.as_str());
            text += " and p.key = ?";
        }
        args.count(query.limit.min(MAX_READ) as u64);
        text += " order by p.ordinal limit +?";
        self.rows(text, args).await?.iter().map(parked).collect()
    }

    async fn parked_counts(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let text =
            "select c.name, count(*) from parked p join consumer c on c.id = p.consumer group by c.id order by c.name";
        let rows = self.rows(text.to_owned(), Args::default()).await?;
        rows.iter().map(|row| Ok((row.try_get(0).map_err(classify)?, count(row, 1)?))).collect()
    }
}

fn parked(row: &SqliteRow) -> Result<Parked, StoreError> {
    let ordinal = count(row, 0)?;
    let envelope: String = row.try_get(2).map_err(classify)?;
    let data: Option<Vec<u8>> = row.try_get(3).map_err(classify)?;
    let crc: i64 = row.try_get(4).map_err(classify)?;
    Ok(Parked {
        ordinal,
        consumer: row.try_get(1).map_err(classify)?,
        envelope: parked_envelope(ordinal, &envelope, data, crc)?,
        code: row.try_get(5).map_err(classify)?,
        reason: row.try_get(6).map_err(classify)?,
        attempts: u32::try_from(count(row, 7)?).unwrap_or(u32::MAX),
        since: from_nanos(row.try_get(8).map_err(classify)?),
    })
}
