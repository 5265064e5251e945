//! The snapshots port.

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::Row;
use tidewire_core::store::Snapshots;
use tidewire_core::{Key, StoreError};

use super::codec::count;
use super::error::classify;
use super::op::Op;
use super::sql::Args;
use super::store::SqliteStore;
use crate::group::MAX_COMMIT_BYTES;

#[async_trait]
impl Snapshots for SqliteStore {
    async fn snapshot(&self, aggregate: &str, key: &Key) -> Result<Option<(u64, Bytes)>, StoreError> {
        let mut args = Args::default();
        args.add(aggregate).add(key.as_str());
        let rows =
            self.rows("select version, state from snapshot where aggregate = ? and key = ?".into(), args).await?;
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
        let op = Op::Snapshot { aggregate: aggregate.to_owned(), key: key.clone(), version, state };
        self.ask(op).await.map(drop)
    }
}
