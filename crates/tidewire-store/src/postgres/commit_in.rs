//! A commit within a transaction that somebody else owns.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgConnection;
use sqlx::{Row, query, raw_sql};
use tidewire_core::{Commit, Committed, Key, Position, StoreError};
use tokio::sync::oneshot;

use super::codec::{Cells, check_texts};
use super::error::{Failure, classify, classify_write, closed, state};
use super::lookup::{self, Found, consumers_of};
use super::plain::Plain;
use super::sequencer::Request;
use super::store::PostgresStore;
use super::transaction::{Decided, How, decide};
use super::write::Batch;
use crate::group::Prepared;

#[cfg(test)]
mod tests;

/// The most keys one commit in a foreign transaction may append to: each that is new is locked in memory that all
/// sessions of the server share, until that transaction ends.
pub const MAX_KEYS_IN: usize = 1_000;

/// What became of a commit within somebody's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// Written. It becomes true when the transaction is committed, and never was when it is rolled back.
    Applied(Ticket),
    /// Nothing was written: at least one mark was in the inbox already, or a timer had been fired.
    Duplicate,
}

/// What [`PostgresStore::position`] needs to say where in the log the events of a commit are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(Option<Batch>);

impl PostgresStore {
    /// [`commit`](tidewire_core::store::Log::commit) as a part of the transaction that is open on `connection`: the
    /// caller's own rows and everything in `commit` become true together when that is committed, or not at all.
    ///
    /// ```ignore
    /// let mut transaction = pool.begin().await?;
    /// sqlx::query("insert into orders …").execute(&mut *transaction).await?;
    /// store.commit_in(&mut transaction, commit).await?;
    /// transaction.commit().await?;
    /// ```
    ///
    /// It decides as `commit` does, and its events have their versions at once. They have no position yet: a sequencer
    /// of any process gives it once the transaction is committed, and until then nobody reads them
    /// ([`position`](Self::position) waits for it). Events of one key come in the order of the commits, whoever made
    /// them.
    ///
    /// From here on until the transaction ends, the streams, documents, marks and timers it wrote are locked, and a
    /// lease that it is fenced by cannot be renewed: call it late, and end soon. Commits of other keys are not kept
    /// waiting. Two transactions that lock the same in different orders deadlock; the server ends the wait of one.
    ///
    /// The transaction must be at READ COMMITTED, the server's default. At most [`MAX_KEYS_IN`] keys.
    ///
    /// # Errors
    /// As `commit`. After any of them nothing of `commit` is written, and the transaction can be used further, with
    /// what was done in it before; only when the connection was lost it is gone. [`StoreError::Unavailable`]: also after
    /// a deadlock or a lock that took longer than the session's `lock_timeout`; better begin the whole transaction
    /// anew. [`StoreError::Invalid`]: also when there is no such transaction. [`StoreError::Misconfigured`]: the
    /// connection is one to another log.
    ///
    /// A caller that stops waiting leaves the transaction half-way: roll it back.
    pub async fn commit_in(&self, connection: &mut PgConnection, commit: Commit) -> Result<Joined, StoreError> {
        check_texts(&commit)?;
        if commit.append.len() > MAX_KEYS_IN {
            let keys = commit.append.len();
            return Err(StoreError::Invalid(format!("{keys} keys; at most {MAX_KEYS_IN} are taken here")));
        }
        let prepared = Prepared::<Cells>::new(commit)?;
        self.consumers.ensure(&self.work, consumers_of(&prepared)).await.map_err(classify_write)?;
        // In one round trip, where nothing speaks against it.
        if let Some(plain) = Plain::of(&[&prepared], &self.consumers)
            && let Some(batch) = plain.join(connection, &self.log_id).await.map_err(|error| refused(error.into()))?
        {
            return Ok(Joined::Applied(Ticket(batch)));
        }
        match self.attempt(connection, &prepared, false).await {
            Err(Failure::Duplicate(_)) => self.attempt(connection, &prepared, true).await,
            other => other,
        }
        .map_err(refused)?
    }

    /// The position of the last event of a commit whose transaction was committed: waits until it is given, at most for
    /// `patience`. `None`: it is not, or the transaction never was committed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: the store is closed.
    pub async fn position(&self, ticket: Ticket, patience: Duration) -> Result<Option<Position>, StoreError> {
        let Some(batch) = ticket.0 else { return Ok(Some(*self.horizon.head.borrow())) };
        let (reply, place) = oneshot::channel();
        let asked = async {
            self.sequencer.send(Request::Place(batch.id, reply)).await.map_err(|_| closed())?;
            place.await.map_err(|_| closed())
        };
        match tokio::time::timeout(patience, asked).await {
            Ok(after) => Ok(Some(Position(after? + u64::from(batch.count.unsigned_abs())))),
            Err(_) => Ok(None),
        }
    }

    /// Looks whether `connection` can be used, and at the server's clock.
    async fn session(&self, connection: &mut PgConnection) -> Result<DateTime<Utc>, StoreError> {
        let text = "select clock_timestamp(), current_setting('transaction_isolation'), \
                    (select value from tidewire.meta where name = 'log_id')";
        let row = query(text).fetch_one(connection).await.map_err(classify)?;
        let isolation: String = row.try_get(1).map_err(classify)?;
        if isolation != "read committed" {
            return Err(StoreError::Invalid(format!(
                "the transaction is at {isolation}; it must be at read committed to see what was committed before it"
            )));
        }
        let log_id: Option<String> = row.try_get(2).map_err(classify)?;
        if log_id.as_deref() != Some(&*self.log_id) {
            return Err(StoreError::Misconfigured("the transaction is in another database than this log".into()));
        }
        row.try_get(0).map_err(classify)
    }

    /// Within a savepoint, so that the transaction outlives a failure.
    async fn attempt(
        &self,
        connection: &mut PgConnection,
        prepared: &Prepared<Cells>,
        events: bool,
    ) -> Result<Result<Joined, StoreError>, Failure> {
        raw_sql("savepoint tidewire").execute(&mut *connection).await.map_err(|error| {
            match state(&error).as_deref() {
                Some("25P01") => Failure::All(StoreError::Invalid("there is no open transaction".into())),
                _ => error.into(),
            }
        })?;
        let written = self.write(connection, prepared, events).await;
        let end = match written {
            Ok(Ok(Joined::Applied(_))) => "release savepoint tidewire",
            _ => "rollback to savepoint tidewire; release savepoint tidewire",
        };
        // What failed before comes first: if the connection is lost, it says so.
        let ended = raw_sql(end).execute(connection).await;
        let written = written?;
        ended?;
        Ok(written)
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        prepared: &Prepared<Cells>,
        events: bool,
    ) -> Result<Result<Joined, StoreError>, Failure> {
        let now = self.session(connection).await.map_err(Failure::All)?;
        let group = [prepared];
        let mut found = Found::default();
        // Leases come before streams, for everybody.
        lookup::leases(connection, &group, &mut found).await?;
        let blocked = lock(connection, &group, &mut found).await?;
        let how = How { wait: true, events, stays_open: true };
        let decided = decide(connection, &group, &self.consumers, now, how, (found, blocked)).await?;
        let Decided { answers, batch, .. } = decided;
        match answers.into_iter().next().flatten() {
            Some(Ok(Committed::Applied { .. })) => {}
            Some(Ok(Committed::Duplicate)) => return Ok(Ok(Joined::Duplicate)),
            Some(Err(error)) => return Ok(Err(error)),
            None => return Err(Failure::Raced("a stream vanished while it was waited for".into())),
        }
        Ok(Ok(Joined::Applied(Ticket(batch))))
    }
}

/// Locks the streams as one who may take long: in the way in which groups can leave them out. None stays blocked.
async fn lock<'a>(
    connection: &mut PgConnection,
    group: &[&'a Prepared<Cells>],
    found: &mut Found<'a>,
) -> Result<HashSet<&'a Key>, sqlx::Error> {
    let keys = lookup::keys_of(group);
    if keys.is_empty() {
        return Ok(keys);
    }
    let text = "select k.key, tidewire.lock_stream(k.key) \
                from unnest($1::text[]) with ordinality k (key, n) order by k.n";
    let rows = query(text).bind(lookup::sorted(&keys)).fetch_all(connection).await?;
    lookup::locked(keys, &rows, found)
}

fn refused(failure: Failure) -> StoreError {
    let again = |why: String| StoreError::Unavailable(format!("{why}; roll the transaction back, and begin it anew"));
    match failure {
        Failure::All(error) => error,
        Failure::Refused(error) => StoreError::Invalid(error.to_string()),
        Failure::Raced(why) => again(why),
        Failure::Duplicate(error) | Failure::Blocked(error) => again(error.to_string()),
        Failure::Lost(error) | Failure::Unknown(error) => StoreError::Unavailable(error.to_string()),
    }
}
