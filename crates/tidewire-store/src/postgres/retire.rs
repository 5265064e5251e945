//! Retiring the oldest events.

use sqlx::query;
use tidewire_core::store::Retired;
use tidewire_core::{Key, Position, StoreError};

use super::codec::{count, signed};
use super::error::{classify, classify_write};
use super::store::{PostgresStore, Query};

/// The most events one transaction removes, whatever limit it is given: what it writes to the server's log, others wait
/// for.
const MAX_RETIRED: usize = 10_000;

impl PostgresStore {
    pub(super) async fn retire_oldest(&self, until: Position, limit: usize) -> Result<Retired, StoreError> {
        let work = self.work.clone();
        let limit = i32::try_from(limit.min(MAX_RETIRED)).unwrap_or(i32::MAX);
        let retiring = async move {
            let mut connection = work.acquire().await.map_err(classify)?;
            let text = "select events, first from tidewire.retire($1, $2)";
            let row = query(text).bind(signed(until.0)).bind(limit).fetch_one(&mut *connection).await;
            let row = row.map_err(classify_write)?;
            Ok(Retired { events: count(&row, 0)?, first: Position(count(&row, 1)?) })
        };
        self.unit(retiring).await
    }

    /// The oldest position there is; 1 in an empty log.
    pub(super) async fn first(&self) -> Result<Position, StoreError> {
        let rows = self.rows(Query::new("select tidewire.first_position()")).await?;
        rows.first().map_or(Ok(Position(1)), |row| count(row, 0).map(Position))
    }

    /// Up to which version the stream of `key` was retired; 0 if it was not. Events without a position are there too.
    pub(super) async fn retired_version(&self, key: &Key) -> Result<u64, StoreError> {
        let text = "select coalesce((select min(e.version) - 1 from tidewire.event e where e.key = s.key), s.version) \
                    from tidewire.stream s where s.key = ";
        let rows = self.rows(Query::new(text).value(key.as_str())).await?;
        rows.first().map_or(Ok(0), |row| count(row, 0))
    }
}
