//! Migrations: each in a transaction of its own, counted in `tidewire.schema_version`.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row, query, raw_sql};
use tidewire_core::StoreError;

use super::error::classify;

/// `TWLG`: the advisory lock under which one process at a time migrates a database.
const LOCK: i64 = 0x5457_4c47;

/// Every migration ever released, in order. Never edited, only added to.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/postgres/0001_log.sql"),
    include_str!("../../migrations/postgres/0002_emit.sql"),
    include_str!("../../migrations/postgres/0003_retire.sql"),
    include_str!("../../migrations/postgres/0004_effects.sql"),
    include_str!("../../migrations/postgres/0005_emit_rights.sql"),
    include_str!("../../migrations/postgres/0006_plain.sql"),
];

/// The schema version of this build.
pub(super) const SCHEMA: u32 = MIGRATIONS.len() as u32;

/// Brings the database to this build's schema, if it is not newer. Others may do the same at the same time.
pub(super) async fn migrate(connection: &mut PgConnection) -> Result<(), StoreError> {
    loop {
        let found = version(connection).await?;
        if found > SCHEMA {
            return Err(StoreError::Newer { found, known: SCHEMA });
        }
        if found == SCHEMA {
            return Ok(());
        }
        if let Err(error) = step(connection).await {
            let _ = raw_sql("rollback").execute(&mut *connection).await;
            return Err(error);
        }
    }
}

/// Applies the next migration, unless somebody else just did.
async fn step(connection: &mut PgConnection) -> Result<(), StoreError> {
    let text = format!(
        "begin isolation level read committed; select pg_advisory_xact_lock({LOCK}); \
         create schema if not exists tidewire; \
         create table if not exists tidewire.schema_version \
         (version integer primary key, applied timestamptz not null default clock_timestamp());"
    );
    raw_sql(AssertSqlSafe(text)).execute(&mut *connection).await.map_err(classify)?;
    let found = version(connection).await?;
    let Some(migration) = MIGRATIONS.get(found as usize) else {
        return raw_sql("rollback").execute(connection).await.map(drop).map_err(classify);
    };
    let text = format!("{migration}\n;insert into tidewire.schema_version (version) values ({}); commit;", found + 1);
    raw_sql(AssertSqlSafe(text)).execute(connection).await.map(drop).map_err(classify)
}

/// The version the database is at; 0 before the first migration.
async fn version(connection: &mut PgConnection) -> Result<u32, StoreError> {
    let there = query("select to_regclass('tidewire.schema_version') is not null").fetch_one(&mut *connection).await;
    if !there.and_then(|row| row.try_get::<bool, _>(0)).map_err(classify)? {
        return Ok(0);
    }
    let text = "select coalesce(max(version), 0) from tidewire.schema_version";
    let row = query(text).fetch_one(connection).await.map_err(classify)?;
    let found: i32 = row.try_get(0).map_err(classify)?;
    Ok(u32::try_from(found).unwrap_or(u32::MAX))
}
