//! The store that a configuration names.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gateway::Foreign;
use tidewire::config::Config;
use tidewire::telemetry::metrics;
use tidewire::{Clock, EventType, Store};
use tidewire_store::{PostgresOptions, PostgresStore, SqliteOptions, SqliteStore};

use super::unsupported;
use crate::failure::Failure;

/// The store that a configuration names.
pub enum Choice {
    /// In this folder.
    Sqlite(PathBuf),
    /// On a server.
    Postgres,
}

impl Choice {
    /// By the scheme of `store.url`.
    pub fn of(config: &Config) -> Result<Self, Failure> {
        match (config.sqlite_dir(), config.store.url.scheme()) {
            (Some(dir), _) => Ok(Self::Sqlite(dir)),
            (None, "postgres" | "postgresql") => Ok(Self::Postgres),
            (None, other) => {
                Err(unsupported("store.url", &config.store.url, other, "store.url = \"sqlite:\" needs no server"))
            }
        }
    }

    /// Opens it.
    pub async fn open(
        self,
        config: &Config,
        foreign: &Foreign,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn Store>, Failure> {
        let store = &config.store;
        let readers = u32::try_from(store.readers).unwrap_or(u32::MAX);
        match self {
            Self::Sqlite(dir) => {
                let options = SqliteOptions {
                    readers,
                    group_commits: store.group_commits_max,
                    queue: store.queue,
                    on_flush: Some(flushed),
                    ..SqliteOptions::new(dir)
                };
                Ok(Arc::new(SqliteStore::open(options, clock).await?))
            }
            Self::Postgres => {
                let options = PostgresOptions {
                    readers,
                    writers: u32::try_from(store.writers).unwrap_or(u32::MAX),
                    lanes: u32::try_from(store.lanes).unwrap_or(u32::MAX),
                    group_commits: store.group_commits_max,
                    queue: store.queue,
                    on_flush: Some(flushed),
                    ..PostgresOptions::new(store.url.expose())
                };
                let opened = PostgresStore::open(options, clock).await?;
                opened.limit_emit(config.broker.max_event_bytes).await?;
                for (ty, keyword) in opened.teach_emit(&catalogue(foreign)).await? {
                    tracing::warn!(%ty, keyword, "tidewire.emit cannot check data against this schema");
                }
                Ok(Arc::new(opened))
            }
        }
    }
}

fn flushed(commits: usize, took: Duration) {
    metrics::commit_group(commits);
    metrics::commit_seconds(took);
}

/// Every version of every schema: of this build, and of services in other languages.
fn catalogue(foreign: &Foreign) -> Vec<(EventType, String)> {
    let versions = events::catalogue().iter().flat_map(|entry| (1..=entry.ty.version()).map(|v| entry.ty.at(v)));
    let own = versions.filter_map(|ty| events::schema(&ty).map(|schema| (ty, schema.to_string())));
    own.chain(foreign.schemas().map(|(ty, schema)| (ty, schema.to_string()))).collect()
}
