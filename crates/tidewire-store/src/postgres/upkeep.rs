//! The upkeep port.

use async_trait::async_trait;
use tidewire_core::store::{Log, Retired, StoreInfo, Upkeep};
use tidewire_core::{EventType, Position, StoreError};
use tokio::sync::oneshot;

use super::codec::{count, event_type, signed};
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
