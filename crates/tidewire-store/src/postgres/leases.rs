//! The leases port. Time is the server's: it is the only clock that all processes share.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{Row, query};
use tidewire_core::StoreError;
use tidewire_core::store::Leases;

use super::codec::signed;
use super::error::{classify, classify_write};
use super::store::PostgresStore;

/// The longest lease, about 31 years: beyond it the server's moments would end.
const MAX_TTL_MICROS: i64 = 1_000_000_000_000_000;

#[async_trait]
impl Leases for PostgresStore {
    async fn lease(&self, name: &str, owner: &str, ttl: Duration) -> Result<Option<u64>, StoreError> {
        let (work, name, owner) = (self.work.clone(), name.to_owned(), owner.to_owned());
        let micros = i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX).min(MAX_TTL_MICROS);
        self.unit(async move {
            let mut connection = work.acquire().await.map_err(classify)?;
            let row = query(
                "insert into tidewire.lease as l (name, owner, epoch, expires) \
                 values ($1, $2, 1, clock_timestamp() + $3 * interval '1 microsecond') \
                 on conflict (name) do update set \
                   epoch = case when l.owner is null or l.expires <= clock_timestamp() then l.epoch + 1 else l.epoch end, \
                   owner = excluded.owner, expires = clock_timestamp() + $3 * interval '1 microsecond' \
                 where l.owner is null or l.expires <= clock_timestamp() or l.owner = excluded.owner \
                 returning epoch",
            )
            .bind(name)
            .bind(owner)
            .bind(micros)
            .fetch_optional(&mut *connection)
            .await
            .map_err(classify_write)?;
            let epoch = row.map(|row| row.try_get::<i64, _>(0)).transpose().map_err(classify)?;
            Ok(epoch.map(i64::unsigned_abs))
        })
        .await
    }

    async fn release(&self, name: &str, owner: &str, epoch: u64) -> Result<(), StoreError> {
        let (work, name, owner) = (self.work.clone(), name.to_owned(), owner.to_owned());
        self.unit(async move {
            let mut connection = work.acquire().await.map_err(classify)?;
            query("update tidewire.lease set owner = null where name = $1 and owner = $2 and epoch = $3")
                .bind(name)
                .bind(owner)
                .bind(signed(epoch))
                .execute(&mut *connection)
                .await
                .map(drop)
                .map_err(classify_write)
        })
        .await
    }
}
