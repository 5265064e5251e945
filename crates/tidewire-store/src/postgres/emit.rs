//! What `tidewire.emit` goes by: the function itself is in the migrations.

use sqlx::query;
use tidewire_core::StoreError;

use super::codec::signed;
use super::error::{classify, classify_write};
use super::store::PostgresStore;

#[cfg(test)]
pub(super) mod tests;

impl PostgresStore {
    /// Has `tidewire.emit` refuse events of more bytes than this, as the edge does: the broker's limit, for what the
    /// relay cannot publish must not get into the log. To be called at every start; until it is for the first time, the
    /// limit is 256 KiB.
    pub async fn limit_emit(&self, max_event_bytes: u64) -> Result<(), StoreError> {
        let work = self.work.clone();
        self.unit(async move {
            let mut connection = work.acquire().await.map_err(classify)?;
            query(
                "insert into tidewire.meta (name, value) values ('max_event_bytes', $1::bigint::text) \
                 on conflict (name) do update set value = excluded.value where meta.value <> excluded.value",
            )
            .bind(signed(max_event_bytes))
            .execute(&mut *connection)
            .await
            .map(drop)
            .map_err(classify_write)
        })
        .await
    }
}
