//! The upkeep port.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row;
use tidewire_core::store::{Log, Retired, StoreHealth, StoreInfo, Upkeep};
use tidewire_core::{EventType, Position, StoreError};
use tokio::sync::oneshot;

use super::codec::{count, event_type, signed};
use super::error::classify;
use super::log::{EVENTS, from};
use super::migrate::SCHEMA;
use super::sequencer;
use super::store::{PostgresStore, Query};
use super::writer::Request;

/// How much of the log one statement counts, so that none holds an old snapshot for long.
const COUNT_POSITIONS: u64 = 100_000;

#[async_trait]
impl Upkeep for PostgresStore {
    async fn info(&self) -> Result<StoreInfo, StoreError> {
        let query = Query::new(
            "select coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint from pg_class c \
             where c.relnamespace = 'tidewire'::regnamespace and c.relkind = 'r'",
        );
        let bytes = self.rows(query).await?.first().map_or(Ok(0), |row| count(row, 0))?;
        Ok(StoreInfo {
            backend: "postgres".into(),
            log_id: self.log_id.clone(),
            schema: SCHEMA,
            first: self.first().await?,
            head: self.head().await?,
            bytes,
            durability: self.durability().into(),
        })
    }

    async fn health(&self) -> Result<StoreHealth, StoreError> {
        let query = Query::new(
            "select clock_timestamp(), (select coalesce(max(v.version), 0)::bigint from tidewire.schema_version v), \
             (select extract(epoch from max(clock_timestamp() - a.xact_start))::float8 from pg_stat_activity a \
              where a.datname = current_database() and a.pid <> pg_backend_pid())",
        );
        let rows = self.rows(query).await?;
        let Some(row) = rows.first() else { return Ok(StoreHealth { known: SCHEMA, ..StoreHealth::default() }) };
        let oldest: Option<f64> = row.try_get(2).map_err(classify)?;
        Ok(StoreHealth {
            schema: u32::try_from(count(row, 1)?).unwrap_or(u32::MAX),
            known: SCHEMA,
            time: Some(row.try_get(0).map_err(classify)?),
            // Other people's transactions are only shown to those who may see them (`pg_read_all_stats`).
            oldest_transaction: oldest.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            disk_free: None,
        })
    }

    async fn types(&self) -> Result<Vec<(EventType, u64)>, StoreError> {
        let head = self.head().await?.0;
        // Counted once: the next call goes on where this one ends.
        let mut known = self.types.lock().await;
        while known.0 < head {
            let end = head.min(known.0 + COUNT_POSITIONS);
            let query = from(Query::new(format!("select e.name, e.type_version, count(*) {EVENTS} where ")), known.0)
                .then(" and b.first_position <= ")
                .value(signed(end))
                .then(" and b.first_position + e.index <= ")
                .value(signed(end))
                .then(" group by e.name, e.type_version");
            for row in &self.rows(query).await? {
                let ty = event_type(row, 0).map_err(StoreError::Corrupt)?;
                *known.1.entry(ty).or_default() += count(row, 2)?;
            }
            known.0 = end;
        }
        Ok(known.1.iter().map(|(ty, count)| (ty.clone(), *count)).collect())
    }

    async fn retire(&self, until: Position, limit: usize) -> Result<Retired, StoreError> {
        // Taken first, so that nobody counts what is about to go.
        let mut known = self.types.lock().await;
        let retired = self.retire_oldest(until, limit).await;
        *known = Default::default();
        retired
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Ping(reply)).await?;
        answer.await.unwrap_or_else(|_| Err(super::error::closed()))
    }

    async fn close(&self) {
        let (reply, done) = oneshot::channel();
        if self.send(Request::Close(reply)).await.is_ok() {
            let _ = done.await;
        }
        while self.lanes.lock().await.join_next().await.is_some() {}
        let (reply, done) = oneshot::channel();
        if self.sequencer.send(sequencer::Request::Stop(reply)).await.is_ok() {
            let _ = done.await;
        }
        self.listening.close().await;
        self.work.close().await;
        self.readers.close().await;
    }
}
