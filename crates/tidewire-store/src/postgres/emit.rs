//! What `tidewire.emit` goes by: the function itself is in the migrations.

use sqlx::{Row, query};
use tidewire_core::{EventType, StoreError};

use super::codec::{event_type, signed};
use super::error::{classify, classify_write};
use super::store::PostgresStore;

#[cfg(test)]
mod schema_tests;
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

    /// Has `tidewire.emit` check data against these JSON Schemas, from now on and beside those it knows. To be called at
    /// every start with the whole catalogue. It judges what catalogues consist of: `type`, `properties`, `required`,
    /// `additionalProperties`, `items`, `enum`, `const`, lengths, bounds, counts, and patterns that mean the same in
    /// every dialect. Answers the types whose schemas say more, each with the first keyword that it cannot judge: the
    /// data of these is not checked.
    pub async fn teach_emit(&self, schemas: &[(EventType, String)]) -> Result<Vec<(EventType, String)>, StoreError> {
        let (names, versions): (Vec<String>, Vec<i32>) =
            schemas.iter().map(|(ty, _)| (ty.name().to_owned(), i32::from(ty.version()))).unzip();
        let texts: Vec<String> = schemas.iter().map(|(_, schema)| schema.clone()).collect();
        let work = self.work.clone();
        self.unit(async move {
            let mut connection = work.acquire().await.map_err(classify)?;
            let rows = query(
                "with given as materialized ( \
                   select g.name, g.version, g.schema::jsonb as schema, tidewire.unjudged(g.schema::jsonb) as unjudged \
                   from unnest($1::text[], $2::integer[], $3::text[]) g (name, version, schema) \
                 ), kept as ( \
                   insert into tidewire.schema as s (name, version, schema) \
                   select g.name, g.version, g.schema from given g where g.unjudged is null \
                   order by g.name collate \"C\", g.version \
                   on conflict (name, version) do update set schema = excluded.schema where s.schema <> excluded.schema \
                 ) \
                 select g.name, g.version, g.unjudged from given g where g.unjudged is not null",
            )
            .bind(names)
            .bind(versions)
            .bind(texts)
            .fetch_all(&mut *connection)
            .await
            .map_err(classify_write)?;
            let unjudged = |row: &sqlx::postgres::PgRow| {
                let ty = event_type(row, 0).map_err(StoreError::Corrupt)?;
                Ok((ty, row.try_get(2).map_err(classify)?))
            };
            rows.iter().map(unjudged).collect()
        })
        .await
    }
}
