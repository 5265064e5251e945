//! Migrations: each in a transaction of its own, counted by `user_version`.

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Row, query, raw_sql};
use tidewire_core::StoreError;

use super::error::classify;

/// `TWLG`: what tells our files from other applications'.
const APPLICATION_ID: i64 = 0x5457_4c47;

/// Every migration ever released, in order. Never edited, only added to.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/sqlite/0001_log.sql"),
    include_str!("../../migrations/sqlite/0002_retired.sql"),
    include_str!("../../migrations/sqlite/0003_effects.sql"),
];

/// The schema version of this build.
pub(super) const SCHEMA: u32 = MIGRATIONS.len() as u32;

/// Brings the database to this build's schema, if it is ours and not newer.
pub(super) async fn migrate(connection: &mut SqliteConnection, file: &str) -> Result<(), StoreError> {
    let application = pragma(connection, "pragma application_id").await?;
    let found = pragma(connection, "pragma user_version").await?;
    let tables = pragma(connection, "select count(*) from sqlite_schema").await?;
    let is_new = application == 0 && found == 0 && tables == 0;
    if !is_new && application != APPLICATION_ID {
        return Err(StoreError::Corrupt(format!(
            "{file} is a database, but not a Tidewire log; choose another directory"
        )));
    }
    let found = u32::try_from(found).unwrap_or(u32::MAX);
    if found > SCHEMA {
        return Err(StoreError::Newer { found, known: SCHEMA });
    }
    for (at, migration) in (1..).zip(MIGRATIONS).skip(found as usize) {
        let text = format!(
            "begin immediate;\n{migration}\npragma application_id = {APPLICATION_ID};\npragma user_version = {at};\ncommit;"
        );
        if let Err(error) = raw_sql(AssertSqlSafe(text)).execute(&mut *connection).await {
            let _ = query("rollback").execute(&mut *connection).await;
            return Err(classify(error));
        }
    }
    Ok(())
}

/// The number a pragma answers.
pub(super) async fn pragma(connection: &mut SqliteConnection, text: &'static str) -> Result<i64, StoreError> {
    let row = query(text).fetch_one(connection).await.map_err(classify)?;
    row.try_get(0).map_err(classify)
}
