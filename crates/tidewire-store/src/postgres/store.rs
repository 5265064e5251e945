//! The store as its users hold it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use sqlx::postgres::{PgArguments, PgPool, PgRow};
use sqlx::{Arguments, AssertSqlSafe, Encode, Postgres, Type};
use tidewire_core::{EventType, StoreError};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::committer::Pending;
use super::consumers::Consumers;
use super::error::{classify, closed};
use super::inbox::CaughtUp;
use super::sequencer::{self, Horizon};
use super::transaction::Answer;
use super::writer::Request;

/// The most rows one read returns, whatever limit it is given.
pub(super) const MAX_READ: usize = 10_000;

/// The log in one database, which any number of processes share. Dropping the last one lets the writer finish what it
/// has taken; [`close`](tidewire_core::store::Upkeep::close) waits for that.
pub struct PostgresStore {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) sequencer: mpsc::Sender<sequencer::Request>,
    pub(super) readers: PgPool,
    /// For what is written outside groups.
    pub(super) work: PgPool,
    /// The one connection that listens.
    pub(super) listening: PgPool,
    pub(super) horizon: Arc<Horizon>,
    pub(super) consumers: Arc<Consumers>,
    pub(super) lanes: Mutex<tokio::task::JoinSet<()>>,
    pub(super) log_id: String,
    pub(super) durability: &'static str,
    /// Events per type up to a position: the log only grows.
    pub(super) types: Mutex<(u64, BTreeMap<EventType, u64>)>,
    pub(super) caught_up: CaughtUp,
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresStore").field("log_id", &self.log_id).finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// What a commit survives, as read back from the server: `disk` (power loss), `os` (a process kill; the server does
    /// not wait for the disk or writes no full pages).
    pub fn durability(&self) -> &'static str {
        self.durability
    }

    /// Has the writer commit. Once called it is done, even if nobody waits for the answer.
    pub(super) async fn ask(&self, prepared: crate::group::Prepared<super::codec::Cells>) -> Answer {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Write(Pending { prepared: Box::new(prepared), reply })).await?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    pub(super) async fn send(&self, request: Request) -> Result<(), StoreError> {
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

    /// Does a unit of work in a task of its own: whoever stops waiting for it does not stop it half-way.
    pub(super) async fn unit<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        tokio::spawn(work).await.unwrap_or_else(|error| Err(StoreError::Unknown(error.to_string())))
    }

    /// The rows of one statement.
    pub(super) async fn rows(&self, query: Query) -> Result<Vec<PgRow>, StoreError> {
        let (text, args) = query.finish().map_err(classify)?;
        let mut reader = self.readers.acquire().await.map_err(classify)?;
        sqlx::query_with(AssertSqlSafe(text), args).fetch_all(&mut *reader).await.map_err(classify)
    }
}

/// A statement being put together; the first failure is kept until the end.
pub(super) struct Query {
    text: String,
    args: PgArguments,
    failure: Option<sqlx::error::BoxDynError>,
}

impl Query {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), args: PgArguments::default(), failure: None }
    }

    /// Adds text.
    pub(super) fn then(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    /// Adds a value, and its place to the text.
    pub(super) fn value<'q, T: Encode<'q, Postgres> + Type<Postgres>>(mut self, value: T) -> Self {
        if let Err(failure) = self.args.add(value) {
            self.failure.get_or_insert(failure);
        }
        self.text.push_str(&format!("${}", self.args.len()));
        self
    }

    fn finish(self) -> Result<(String, PgArguments), sqlx::Error> {
        match self.failure {
            None => Ok((self.text, self.args)),
            Some(failure) => Err(sqlx::Error::Encode(failure)),
        }
    }
}
