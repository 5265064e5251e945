//! A PostgreSQL server that waits for the disk, and fresh databases in it.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, ensure};
use servers::{Postgres, PostgresOptions};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Row};
use tempfile::TempDir;
use tidewire::SystemClock;
use tidewire_store::{PostgresOptions as StoreOptions, PostgresStore};

use crate::harness::rounds::Class;
use crate::place::Place;

/// Connections of the raw sides.
const CONNECTIONS: u32 = 40;

/// A server of our own.
pub struct Cluster {
    server: Postgres,
    /// Where its data was moved to, if it was.
    _moved: Option<TempDir>,
    /// What a commit survives, as read back.
    pub class: Class,
    version: String,
}

impl Cluster {
    /// Starts one whose data is in `place`.
    pub async fn start(place: &Place) -> anyhow::Result<Self> {
        let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        // No checkpoint in the middle of a slice, on either side.
        let settings = vec![setting("max_wal_size", "8GB"), setting("checkpoint_timeout", "30min")];
        let server = Postgres::start(PostgresOptions { settings, ..PostgresOptions::default() }).await?;
        let moved = move_data(&server, place).await?;
        let mut class = Class::Disk;
        for name in ["fsync", "full_page_writes", "synchronous_commit"] {
            if server.execute(&format!("show {name}")).await.trim() != "on" {
                class = Class::Os;
            }
        }
        let version = server.execute("show server_version").await;
        let version = version.split_whitespace().next().unwrap_or_default().to_owned();
        Ok(Self { server, _moved: moved, class: place.class(class), version })
    }

    /// Name and version.
    pub fn version(&self) -> String {
        format!("PostgreSQL {}", self.version)
    }

    /// An empty database.
    pub async fn database(&self) -> anyhow::Result<Database<'_>> {
        let url = self.server.database().await;
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect(&url).await?;
        Ok(Database { cluster: self, url, pool })
    }

    /// A program that belongs to it.
    pub fn program(&self, name: &str) -> PathBuf {
        self.server.programs().join(name)
    }
}

/// Moves a cluster's data to the file system of `place`, if it is elsewhere.
async fn move_data(server: &Postgres, place: &Place) -> anyhow::Result<Option<TempDir>> {
    let data = PathBuf::from(server.execute("show data_directory").await.trim());
    let dir = place.fresh()?;
    if std::fs::metadata(&data)?.dev() == std::fs::metadata(dir.path())?.dev() {
        return Ok(None);
    }
    server.stop().await;
    // The server runs as somebody else, who must get there.
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711))?;
    let there = dir.path().canonicalize()?.join("data");
    let copied = Command::new("cp").arg("-a").args([data.as_path(), there.as_path()]).status()?;
    ensure!(copied.success(), "the cluster's data cannot be copied to {}", there.display());
    remove_all(&data)?;
    symlink(&there, &data)?;
    server.start_again().await;
    Ok(Some(dir))
}

fn remove_all(data: &Path) -> anyhow::Result<()> {
    std::fs::remove_dir_all(data).with_context(|| format!("cannot remove {}", data.display()))
}

/// A database, to be [dropped](Database::close) in the end.
pub struct Database<'a> {
    cluster: &'a Cluster,
    pub url: String,
    pub pool: PgPool,
}

impl Database<'_> {
    /// The product's store in it.
    pub async fn store(&self) -> anyhow::Result<PostgresStore> {
        let store = PostgresStore::open(StoreOptions::new(&self.url), Arc::new(SystemClock)).await?;
        Ok(store)
    }

    /// Runs statements.
    pub async fn run(&self, sql: &str) -> anyhow::Result<()> {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&self.pool).await?;
        Ok(())
    }

    /// One number.
    pub async fn number(&self, sql: &str) -> anyhow::Result<i64> {
        let row = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_one(&self.pool).await?;
        Ok(row.try_get(0)?)
    }

    /// How many transactions have written so far, in the whole cluster.
    pub async fn transactions(&self) -> anyhow::Result<u64> {
        let next = self.number("select pg_snapshot_xmax(pg_current_snapshot())::text::bigint").await?;
        Ok(next.unsigned_abs())
    }

    /// Removes it, with whoever is connected to it.
    pub async fn close(self) -> anyhow::Result<()> {
        self.pool.close().await;
        let name = self.url.rsplit('/').next().unwrap_or_default();
        self.cluster.server.execute(&format!("drop database {name} with (force)")).await;
        Ok(())
    }
}
