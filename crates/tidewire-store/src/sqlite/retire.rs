//! Retiring the oldest events.

use sqlx::sqlite::SqliteConnection;
use sqlx::{Row, query};
use tidewire_core::store::Retired;
use tidewire_core::{Key, Position, StoreError};

use super::codec::count;
use super::sql::Args;
use super::store::SqliteStore;

/// The most events one transaction removes, whatever limit it is given: commits wait for it.
const MAX_RETIRED: usize = 5_000;
/// The most pages given back to the file system at once, for the same reason (8 MiB).
const PAGES: &str = "pragma incremental_vacuum(2048)";

/// Removes events up to `until`, at most `limit`, but never the one at `head`.
pub(super) async fn retire(
    connection: &mut SqliteConnection,
    until: Position,
    limit: usize,
    head: Position,
) -> Result<Retired, sqlx::Error> {
    let row = query(FIRST).fetch_one(&mut *connection).await?;
    let first = Position(row.try_get::<i64, _>(0)?.max(1).unsigned_abs());
    let limit = limit.min(MAX_RETIRED) as u64;
    let end = until.0.min(head.0.saturating_sub(1)).min((first.0 - 1).saturating_add(limit));
    if end < first.0 {
        return Ok(Retired { events: 0, first });
    }
    let events = match remove(connection, end).await {
        Ok(events) => events,
        Err(error) => {
            // Without an open transaction this is refused, which is as well.
            let _ = query("rollback").execute(connection).await;
            return Err(error);
        }
    };
    // What is not given back now is used again, or given back with the next call.
    if let Err(error) = query(PAGES).execute(connection).await {
        tracing::debug!(%error, "the room of retired events was not given back");
    }
    Ok(Retired { events, first: Position(end + 1) })
}

async fn remove(connection: &mut SqliteConnection, end: u64) -> Result<u64, sqlx::Error> {
    let end = i64::try_from(end).unwrap_or(i64::MAX);
    query("begin immediate").execute(&mut *connection).await?;
    query(
        "insert into retired (stream, version) select stream, max(version) from event where position <= ? \
         group by stream on conflict (stream) do update set version = excluded.version",
    )
    .bind(end)
    .execute(&mut *connection)
    .await?;
    let gone = query("delete from event where position <= ?").bind(end).execute(&mut *connection).await?;
    query("commit").execute(connection).await?;
    Ok(gone.rows_affected())
}

/// The oldest position there is; 1 in an empty log.
const FIRST: &str = "select coalesce(min(position), 1) from event";

impl SqliteStore {
    /// The oldest position there is; 1 in an empty log.
    pub(super) async fn first(&self) -> Result<Position, StoreError> {
        let rows = self.rows(FIRST.to_owned(), Args::default()).await?;
        rows.first().map_or(Ok(Position(1)), |row| count(row, 0).map(Position))
    }

    /// Up to which version the stream of `key` was retired; 0 if it was not.
    pub(super) async fn retired_version(&self, key: &Key) -> Result<u64, StoreError> {
        let mut args = Args::default();
        args.add(key.as_str());
        let text = "select version from retired where stream = (select id from stream where key = ?)";
        let rows = self.rows(text.to_owned(), args).await?;
        rows.first().map_or(Ok(0), |row| count(row, 0))
    }
}
