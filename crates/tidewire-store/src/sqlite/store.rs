//! The store as its users hold it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Sqlite};
use tidewire_core::store::Retired;
use tidewire_core::{EventType, Position, StoreError};
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use super::error::classify;
use super::inbox::CaughtUp;
use super::op::{Answer, Op, Pending};
use super::parking::Tally;
use super::sql::Args;
use super::writer::Request;

/// The most rows one read returns, whatever limit it is given.
pub(super) const MAX_READ: usize = 10_000;

/// The log in one directory. Cloning is for the `Arc` around it; dropping the last one lets the writer finish what
/// it has taken, [`close`](tidewire_core::store::Upkeep::close) waits for that.
pub struct SqliteStore {
    requests: mpsc::Sender<Request>,
    pub(super) readers: SqlitePool,
    pub(super) head: watch::Receiver<Position>,
    pub(super) path: PathBuf,
    pub(super) log_id: String,
    durability: &'static str,
    /// Events per type up to a position: the log only grows.
    pub(super) types: Mutex<(u64, BTreeMap<EventType, u64>)>,
    pub(super) caught_up: CaughtUp,
    pub(super) parking: Arc<Tally>,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).field("log_id", &self.log_id).finish_non_exhaustive()
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}

impl SqliteStore {
    pub(super) fn new(
        requests: mpsc::Sender<Request>,
        readers: SqlitePool,
        head: watch::Receiver<Position>,
        path: PathBuf,
        log_id: String,
        durability: &'static str,
        parking: Arc<Tally>,
    ) -> Self {
        let (types, caught_up) = (Mutex::default(), CaughtUp::default());
        Self { requests, readers, head, path, log_id, durability, types, caught_up, parking }
    }

    /// What a commit survives, as read back from SQLite and the file system: `disk` (power loss), or `mem` when
    /// the directory is in memory.
    pub fn durability(&self) -> &'static str {
        self.durability
    }

    /// Has the writer do `op`. Once called it is done, even if nobody waits for the answer.
    pub(super) async fn ask(&self, op: Op) -> Result<Answer, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Write(Pending { op, reply })).await?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn send(&self, request: Request) -> Result<(), StoreError> {
        match self.requests.try_send(request) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(closed()),
            Err(mpsc::error::TrySendError::Full(request)) => {
                // A task of its own, so that whoever gives up waiting does not take the request with him.
                let requests = self.requests.clone();
                let sent = tokio::spawn(async move { requests.send(request).await.is_ok() });
                if sent.await.unwrap_or(false) { Ok(()) } else { Err(closed()) }
            }
        }
    }

    pub(super) async fn ping_writer(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Ping(reply)).await?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    pub(super) async fn retire_oldest(&self, until: Position, limit: usize) -> Result<Retired, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Retire { until, limit, reply }).await?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    pub(super) async fn close_writer(&self) {
        let (reply, done) = oneshot::channel();
        if self.send(Request::Close(reply)).await.is_ok() {
            let _ = done.await;
        }
    }

    /// A connection to read from.
    pub(super) async fn reader(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        self.readers.acquire().await.map_err(classify)
    }

    /// The rows of one statement.
    pub(super) async fn rows(&self, text: String, args: Args) -> Result<Vec<SqliteRow>, StoreError> {
        let args = args.finish().map_err(classify)?;
        let mut reader = self.reader().await?;
        sqlx::query_with(AssertSqlSafe(text), args).fetch_all(&mut *reader).await.map_err(classify)
    }
}
