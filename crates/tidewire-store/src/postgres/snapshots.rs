//! The snapshots port.

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::{Row, query};
use tidewire_core::store::Snapshots;
use tidewire_core::{Key, StoreError};

use super::codec::{count, signed};
use super::error::{classify, classify_write};
use super::store::{PostgresStore, Query};
use crate::group::MAX_COMMIT_BYTES;

#[async_trait]
impl Snapshots for PostgresStore {
    async fn snapshot(&self, aggregate: &str, key: &Key) -> Result<Option<(u64, Bytes)>, StoreError> {
        let query = Query::new("select version, state from tidewire.snapshot where aggregate = ")
            .value(aggregate)
            .then(" and key = ")
            .value(key.as_str());
        let rows = self.rows(query).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let state: Vec<u8> = row.try_get(1).map_err(classify)?;
        Ok(Some((count(row, 0)?, Bytes::from(state))))
    }

    async fn keep_snapshot(&self, aggregate: &str, key: &Key, version: u64, state: Bytes) -> Result<(), StoreError> {
        if state.len() > MAX_COMMIT_BYTES {
            return Err(StoreError::Invalid(format!(
                "a snapshot of {} bytes; at most {MAX_COMMIT_BYTES} are taken",
                state.len()
            )));
        }
        let (work, aggregate, key) = (self.work.clone(), aggregate.to_owned(), key.clone());
        self.unit(async move {
            let mut connection = work.acquire().await.map_err(classify)?;
            query(
                "insert into tidewire.snapshot as s (aggregate, key, version, state) values ($1, $2, $3, $4) \
                 on conflict (aggregate, key) do update set version = excluded.version, state = excluded.state \
                 where excluded.version >= s.version",
            )
            .bind(aggregate)
            .bind(key.as_str())
            .bind(signed(version))
            .bind(&state[..])
            .execute(&mut *connection)
            .await
            .map(drop)
            .map_err(classify_write)
        })
        .await
    }
}
