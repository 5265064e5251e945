//! The rows of consumers: few, never removed, so they are remembered.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use sqlx::postgres::PgPool;
use sqlx::{Row, query};

/// What is known of the table `consumer`.
#[derive(Debug, Default)]
pub(super) struct Consumers(Mutex<HashMap<String, i64>>);

impl Consumers {
    /// The row of `name`, if it is known.
    pub(super) fn get(&self, name: &str) -> Option<i64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    /// Sees to it that every one of `names` has a row and is known. In transactions of their own: a consumer that is
    /// there and has handled nothing harms nobody, and a commit must not wait for another one's new consumer.
    pub(super) async fn ensure<'a>(
        &self,
        pool: &PgPool,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), sqlx::Error> {
        let unknown: BTreeSet<&str> = names.into_iter().filter(|name| self.get(name).is_none()).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let unknown: Vec<&str> = unknown.into_iter().collect();
        let mut connection = pool.acquire().await?;
        query(
            "insert into tidewire.consumer (name) select v.name from unnest($1::text[]) v (name) \
             where not exists (select from tidewire.consumer c where c.name = v.name) \
             order by v.name on conflict do nothing",
        )
        .bind(&unknown)
        .execute(&mut *connection)
        .await?;
        let rows = query("select id, name from tidewire.consumer where name = any($1)")
            .bind(&unknown)
            .fetch_all(&mut *connection)
            .await?;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            known.insert(row.try_get(1)?, i64::from(row.try_get::<i32, _>(0)?));
        }
        Ok(())
    }
}
