//! What the writer knows without asking, read back from the database.

use sqlx::sqlite::SqliteConnection;
use sqlx::{Row, query};
use tidewire_core::StoreError;

use super::codec::count;
use super::error::classify;
use crate::group::{Lease, State, Streams};

/// Reads it back.
pub(super) async fn load(connection: &mut SqliteConnection) -> Result<State, StoreError> {
    let numbers = query(
        "select (select coalesce(max(position), 0) from event), (select coalesce(max(id), 0) from stream), \
         (select count(*) from parked), (select count(*) from inbox_attempt)",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(classify)?;
    let consumers = query("select id, name from consumer").fetch_all(&mut *connection).await.map_err(classify)?;
    let leases =
        query("select name, owner, epoch, expires from lease").fetch_all(connection).await.map_err(classify)?;
    let consumer = |row: &sqlx::sqlite::SqliteRow| Ok((row.try_get(1)?, row.try_get(0)?));
    let lease = |row: &sqlx::sqlite::SqliteRow| -> Result<_, StoreError> {
        let name = row.try_get(0).map_err(classify)?;
        let (owner, expires) = (row.try_get(1).map_err(classify)?, row.try_get(3).map_err(classify)?);
        Ok((name, Lease { owner, epoch: count(row, 2)?, expires }))
    };
    Ok(State {
        head: count(&numbers, 0)?,
        last_stream: numbers.try_get(1).map_err(classify)?,
        parked: count(&numbers, 2)?,
        attempts: count(&numbers, 3)?,
        streams: Streams::default(),
        consumers: consumers.iter().map(consumer).collect::<Result<_, sqlx::Error>>().map_err(classify)?,
        leases: leases.iter().map(lease).collect::<Result<_, _>>()?,
    })
}
