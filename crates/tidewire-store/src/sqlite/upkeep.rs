//! The upkeep port.

use async_trait::async_trait;
use tidewire_core::store::{Retired, StoreHealth, StoreInfo, Upkeep};
use tidewire_core::{EventType, Position, StoreError};

use super::codec::{count, event_type};
use super::migrate::SCHEMA;
use super::open::files;
use super::sql::Args;
use super::store::SqliteStore;

/// How much of the log one statement counts, so that no reader holds an old state for long.
const COUNT_POSITIONS: u64 = 200_000;

#[async_trait]
impl Upkeep for SqliteStore {
    async fn info(&self) -> Result<StoreInfo, StoreError> {
        let bytes =
            files(&self.path).iter().filter_map(|path| std::fs::metadata(path).ok()).map(|file| file.len()).sum();
        Ok(StoreInfo {
            backend: "sqlite".into(),
            log_id: self.log_id.clone(),
            schema: SCHEMA,
            first: self.first().await?,
            head: *self.head.borrow(),
            bytes,
            durability: self.durability().into(),
        })
    }

    async fn health(&self) -> Result<StoreHealth, StoreError> {
        let rows = self.rows("pragma user_version".to_owned(), Args::default()).await?;
        let schema = rows.first().map_or(Ok(0), |row| count(row, 0))?;
        let disk = rustix::fs::statvfs(&self.path).ok();
        Ok(StoreHealth {
            schema: u32::try_from(schema).unwrap_or(u32::MAX),
            known: SCHEMA,
            // The clock is the process' own, and nobody else has the file open.
            time: None,
            oldest_transaction: None,
            disk_free: disk.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
        })
    }

    async fn types(&self) -> Result<Vec<(EventType, u64)>, StoreError> {
        let head = self.head.borrow().0;
        // Counted once: the next call goes on where this one ends.
        let mut known = self.types.lock().await;
        while known.0 < head {
            let end = head.min(known.0 + COUNT_POSITIONS);
            let mut args = Args::default();
            args.count(known.0).count(end);
            let text = "select name, type_version, count(*) from event where position > ? and position <= ? \
                        group by name, type_version";
            for row in &self.rows(text.to_owned(), args).await? {
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
        self.ping_writer().await
    }

    async fn close(&self) {
        // Readers first: the last connection then finds the write-ahead log unused and can empty it.
        self.readers.close().await;
        self.close_writer().await;
    }
}
