//! The parking port.

use std::collections::BTreeSet;

use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::PgRow;
use tidewire_core::store::{Parked, ParkedQuery, Parking};
use tidewire_core::{Key, StoreError};

use super::codec::{count, parked_envelope, signed};
use super::error::classify;
use super::store::{MAX_READ, PostgresStore, Query};
use crate::group::from_nanos;

#[async_trait]
impl Parking for PostgresStore {
    async fn parked_keys(&self, consumer: &str, keys: &[Key]) -> Result<BTreeSet<Key>, StoreError> {
        if keys.is_empty() {
            return Ok(BTreeSet::new());
        }
        let texts: Vec<&str> = keys.iter().map(Key::as_str).collect();
        let query = Query::new("select v.n from unnest(")
            .value(texts)
            .then(
                "::text[]) with ordinality v (key, n) where exists (select from tidewire.parked p \
                 where p.key = v.key and p.consumer = (select c.id from tidewire.consumer c where c.name = ",
            )
            .value(consumer)
            .then("))");
        let mut parked = BTreeSet::new();
        for row in self.rows(query).await? {
            let n = usize::try_from(count(&row, 0)?).unwrap_or(usize::MAX);
            parked.extend(keys.get(n.wrapping_sub(1)).cloned());
        }
        Ok(parked)
    }

    async fn parked(&self, query: &ParkedQuery) -> Result<Vec<Parked>, StoreError> {
        let mut text = Query::new(
            "select p.ordinal, c.name, p.envelope, p.data, p.code, p.reason, p.attempts, p.since \
             from tidewire.parked p join tidewire.consumer c on c.id = p.consumer where p.ordinal > ",
        )
        .value(signed(query.after));
        if let Some(consumer) = &query.consumer {
            text = text
                .then(" and p.consumer = (select id from tidewire.consumer where name = ")
                .value(consumer.as_str())
                .then(")");
        }
        if let Some(key) = &query.key {
            text = text.then(" and p.key = ").value(key.as_str());
        }
        let text = text.then(" order by p.ordinal limit ").value(query.limit.min(MAX_READ) as i64);
        self.rows(text).await?.iter().map(parked).collect()
    }

    async fn parked_counts(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let query = Query::new(
            "select c.name, count(*) from tidewire.parked p join tidewire.consumer c on c.id = p.consumer \
             group by c.id order by c.name",
        );
        let rows = self.rows(query).await?;
        rows.iter().map(|row| Ok((row.try_get(0).map_err(classify)?, count(row, 1)?))).collect()
    }
}

fn parked(row: &PgRow) -> Result<Parked, StoreError> {
    let ordinal = count(row, 0)?;
    let data: Option<Vec<u8>> = row.try_get(3).map_err(classify)?;
    Ok(Parked {
        ordinal,
        consumer: row.try_get(1).map_err(classify)?,
        envelope: parked_envelope(ordinal, row.try_get(2).map_err(classify)?, data)?,
        code: row.try_get(4).map_err(classify)?,
        reason: row.try_get(5).map_err(classify)?,
        attempts: u32::try_from(row.try_get::<i32, _>(6).map_err(classify)?).unwrap_or_default(),
        since: from_nanos(row.try_get(7).map_err(classify)?),
    })
}
