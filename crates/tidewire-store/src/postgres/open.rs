//! Opening: the server, its settings, the schema, and the tasks.

use std::sync::Arc;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row, query};
use tidewire_core::{Clock, Position, StoreError};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::committer::{Committer, Shared};
use super::connect::{Link, Role, connect, connect_options, pool};
use super::error::classify;
use super::lanes;
use super::migrate::migrate;
use super::options::PostgresOptions;
use super::outcome;
use super::sequencer::{self, Horizon, Sequencer};
use super::store::PostgresStore;
use super::writer::Writer;

/// The oldest server whose behaviour the log was proven on.
const OLDEST: i32 = 150_000;

impl PostgresStore {
    /// Opens the log in the database of `options.url`, creating it if there is none. To be called within a Tokio
    /// runtime.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: the server cannot be reached; try again later. [`StoreError::Denied`]: it refuses
    /// the credentials, or what they want to do. [`StoreError::Misconfigured`]: it is too old, a read replica, not in
    /// UTF-8, or has no such database. [`StoreError::Newer`]: the log was written by a newer build.
    pub async fn open(options: PostgresOptions, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let connecting = connect_options(&options)?;
        let mut connection = connect(&connecting, Role::Migrate).await.map_err(classify)?;
        check_server(&mut connection).await?;
        let durability = durability(&mut connection).await?;
        migrate(&mut connection).await?;
        let (log_id, head) = identity(&mut connection).await?;
        // Receipts are asked for within a minute or never.
        let old = "delete from tidewire.receipt where at < clock_timestamp() - interval '1 day'";
        query(old).execute(&mut connection).await.map_err(classify)?;
        let server = outcome::started(&mut connection).await.map_err(classify)?;
        let _ = connection.close().await;

        let horizon = Arc::new(Horizon::new(head));
        let consumers = Arc::new(super::consumers::Consumers::default());
        let work = pool(&connecting, Role::Work, options.writers.clamp(1, 64));
        let readers = pool(&connecting, Role::Read, options.readers.clamp(1, 256));
        let listening = pool(&connecting, Role::Work, 1);
        let (sequencer, sequenced) = mpsc::channel(sequencer::QUEUE);
        let (lane, blocked) = mpsc::channel(lanes::QUEUE);
        let (requests, requested) = mpsc::channel(options.queue.max(1));
        let shared = Arc::new(Shared {
            options: connecting.clone(),
            work: work.clone(),
            clock,
            consumers: consumers.clone(),
            horizon: horizon.clone(),
            sequencer: sequencer.clone(),
            lanes: lane.downgrade(),
            on_flush: options.on_flush,
            server,
        });
        let committer = |role, wait| {
            let link = Link::new(connecting.clone(), role);
            Committer { link, shared: shared.clone(), wait }
        };
        let writer = Writer {
            committer: committer(Role::Group, false),
            lanes: lane,
            group_commits: options.group_commits.max(1),
            group_bytes: options.group_bytes,
        };
        let mut lanes = JoinSet::new();
        let blocked = Arc::new(Mutex::new(blocked));
        for _ in 0..options.lanes.clamp(1, 64) {
            lanes.spawn(lanes::run(committer(Role::Work, true), blocked.clone()));
        }
        let listener = tokio::spawn(sequencer::listen(listening.clone(), horizon.clone()));
        let numbering = Sequencer::new(connecting, horizon.clone());
        tokio::spawn(async move {
            numbering.run(sequenced).await;
            listener.abort();
        });
        tokio::spawn(writer.run(requested));
        Ok(Self {
            requests,
            sequencer,
            readers,
            work,
            listening,
            horizon,
            consumers,
            lanes: Mutex::new(lanes),
            log_id,
            durability,
            types: Mutex::default(),
            caught_up: Default::default(),
        })
    }
}

async fn setting(connection: &mut PgConnection, name: &str) -> Result<String, StoreError> {
    let row = query("select current_setting($1)").bind(name).fetch_one(connection).await.map_err(classify)?;
    row.try_get(0).map_err(classify)
}

async fn check_server(connection: &mut PgConnection) -> Result<(), StoreError> {
    let number = setting(connection, "server_version_num").await?;
    if number.parse::<i32>().unwrap_or(0) < OLDEST {
        let version = setting(connection, "server_version").await?;
        let wanted = OLDEST / 10_000;
        return Err(StoreError::Misconfigured(format!("PostgreSQL {version} is too old: {wanted} or later is needed")));
    }
    let encoding = setting(connection, "server_encoding").await?;
    if encoding != "UTF8" {
        return Err(StoreError::Misconfigured(format!("the database is encoded in {encoding}; it must be in UTF8")));
    }
    if setting(connection, "transaction_read_only").await? == "on" {
        return Err(StoreError::ReadOnly("the server takes no writes".into()));
    }
    Ok(())
}

/// What the server does before it says that a commit is durable, as read back from it.
async fn durability(connection: &mut PgConnection) -> Result<&'static str, StoreError> {
    for name in ["fsync", "full_page_writes", "synchronous_commit"] {
        if setting(connection, name).await? == "off" {
            return Ok("os");
        }
    }
    Ok("disk")
}

/// Which log this is, and how far it reaches.
async fn identity(connection: &mut PgConnection) -> Result<(String, Position), StoreError> {
    let text = "select (select value from tidewire.meta where name = 'log_id'), last_position from tidewire.head";
    let row = query(text).fetch_one(connection).await.map_err(classify)?;
    let head: i64 = row.try_get(1).map_err(classify)?;
    let log_id: Option<String> = row.try_get(0).map_err(classify)?;
    let log_id = log_id.ok_or_else(|| StoreError::Corrupt("the log has lost its identity".into()))?;
    Ok((log_id, Position(head.unsigned_abs())))
}
