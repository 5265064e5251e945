//! One transaction for a group of commits, each of which stands or falls alone.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row, raw_sql};
use tidewire_core::failpoint::{Asked, reach};
use tidewire_core::store::Conflict;
use tidewire_core::{Clock, Committed, Key, Position, StoreError};

use super::codec::Cells;
use super::connect::Session;
use super::consumers::Consumers;
use super::error::{Failure, classify, is_lost};
use super::lookup::{self, Found};
use super::plain::Plain;
use super::write::{self, Batch};
use crate::group::{Plan, Prepared, State};

/// What became of a commit.
pub(super) type Answer = Result<Committed, StoreError>;

/// How a group is to be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct How {
    /// Whether to wait for streams that somebody else has locked, as long as the session's `lock_timeout` allows.
    pub wait: bool,
    /// Whether to look for events that are in the log already, rather than have the index refuse them.
    pub events: bool,
    /// Whether the batch gets its own row together with its events, without a position: in a transaction that stays open.
    pub stays_open: bool,
}

/// A group that was decided and written, in a transaction that is still open.
pub(super) struct Decided {
    /// What became of each. Positions count from the first event of the batch, which is 1. Nothing for those whose
    /// streams somebody else has locked.
    pub answers: Vec<Option<Answer>>,
    /// The events that were written; their batch's own row only if the transaction stays open.
    pub batch: Option<Batch>,
    /// Whether there is anything to commit.
    pub is_empty: bool,
}

/// Decides and writes a group within the open transaction of `connection`, which must be at READ COMMITTED, with leases
/// and streams locked already; the latter but for some that are blocked. After a failure the transaction is to be rolled
/// back.
pub(super) async fn decide<'a>(
    connection: &mut PgConnection,
    group: &[&'a Prepared<Cells>],
    consumers: &Consumers,
    now: DateTime<Utc>,
    how: How,
    (mut found, blocked): (Found<'a>, HashSet<&'a Key>),
) -> Result<Decided, Failure> {
    let is_free = |p: &&Prepared<Cells>| p.commit.append.iter().all(|append| !blocked.contains(&append.key));
    let free: Vec<&Prepared<Cells>> = group.iter().copied().filter(|prepared| is_free(prepared)).collect();
    lookup::rest(connection, &free, consumers, how.events, &mut found).await?;
    let Found { known, leases, inbox, mut empty } = found;
    let state = State { leases, ..State::default() };
    let mut plan: Plan<'_, Cells> = Plan::new(&state, known, now, how.events);
    let answers = group.iter().map(|prepared| is_free(prepared).then(|| plan.commit(prepared))).collect();
    let Plan { writes, streams, .. } = plan;
    let is_empty = writes.is_empty();
    let mut batch = None;
    if !is_empty {
        if reach("store.before_write") == Asked::Fail {
            return Err(Failure::All(StoreError::Unavailable("an input/output error".into())));
        }
        batch = write::events(connection, &writes, &streams, now, how.stays_open).await?;
        write::rest(connection, &writes, now).await?;
        write::marks(connection, &writes, &inbox).await?;
        empty.retain(|key| !streams.contains_key(key));
        write::drop_empty_streams(connection, empty.into_iter()).await?;
    }
    Ok(Decided { answers, batch, is_empty })
}

/// A transaction that was committed, or found to have nothing to commit.
pub(super) struct Done {
    pub answers: Vec<Option<Answer>>,
    pub place: Place,
    /// How many shared it: none, if there was nothing to commit.
    pub committed: usize,
}

/// Where a committed batch is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Its events follow this position. Without events: the position of the last event there is.
    After(u64),
    /// Committed, and waiting for its position.
    Waiting(i64),
}

/// By what a transaction is known again.
#[derive(Clone, Debug)]
pub(super) enum Trace {
    /// Its number, as text.
    Xid(String),
    /// One that was a single statement: who sent it, and when its events say that they were recorded. Without events it
    /// left a receipt.
    Session { session: Session, recorded: DateTime<Utc> },
}

/// What is needed to find out what became of a transaction.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub trace: Trace,
    /// Its events.
    pub batch: Option<Batch>,
}

/// Runs a group as one transaction. When the commit's answer is lost, what is needed to look it up is left in `token`
/// together with the answers.
pub(super) async fn run(
    (connection, session): (&mut PgConnection, &mut Session),
    group: &[&Prepared<Cells>],
    consumers: &Consumers,
    clock: &dyn Clock,
    how: How,
    token: &mut Option<(Token, Vec<Option<Answer>>)>,
) -> Result<Done, Failure> {
    if !how.wait
        && !how.events
        && let Some(plain) = Plain::of(group, consumers)
        && let Some(done) = plain.run(connection, session, clock.now(), token).await?
    {
        return Ok(done);
    }
    let (xid, locked) = begin(connection, group, how.wait).await?;
    let decided = decide(connection, group, consumers, clock.now(), how, locked).await?;
    let Decided { answers, batch, is_empty } = decided;
    if is_empty {
        let rows = raw_sql("select last_position from tidewire.head; rollback").fetch_all(connection).await?;
        return Ok(Done { answers, place: Place::After(last(&rows)?.unwrap_or(0)), committed: 0 });
    }
    if reach("store.before_sync") == Asked::Fail {
        return Err(Failure::All(StoreError::Unavailable("an input/output error".into())));
    }
    // One trip, so that nobody waits for us while the right to give positions is ours.
    let ending = match batch {
        Some(Batch { id, count }) => format!("select tidewire.seal({id}, {count}) - 1; commit"),
        None => "select last_position from tidewire.head; commit".to_owned(),
    };
    let mut ended = raw_sql(AssertSqlSafe(ending)).fetch_all(connection).await;
    if reach("store.after_sync") == Asked::Fail && ended.is_ok() {
        ended = Err(sqlx::Error::Protocol("the answer was lost".into()));
    }
    let committed = answers.iter().flatten().filter(|answer| answer.is_ok()).count();
    let rows = match ended {
        Ok(rows) => rows,
        Err(error) if is_lost(&error) => {
            *token = Some((Token { trace: Trace::Xid(xid), batch }, answers));
            return Err(Failure::Unknown(error));
        }
        // The server refused: it rolled back.
        Err(error) => return Err(error.into()),
    };
    let place = match (last(&rows)?, batch) {
        (Some(position), _) => Place::After(position),
        (None, Some(batch)) => Place::Waiting(batch.id),
        (None, None) => Place::After(0),
    };
    Ok(Done { answers, place, committed })
}

/// Up to this many streams are locked in the message that begins the transaction: a round trip less, which is what a
/// small group waits for most. In a large one, reading the text would cost more.
const MAX_KEYS_AT_ONCE: usize = 64;

/// Begins a transaction and locks leases and streams. Answers its number, what was found, and what is blocked.
async fn begin<'a>(
    connection: &mut PgConnection,
    group: &[&'a Prepared<Cells>],
    wait: bool,
) -> Result<(String, (Found<'a>, HashSet<&'a Key>)), sqlx::Error> {
    let mut text = "begin isolation level read committed; select pg_current_xact_id()::text".to_owned();
    let mut found = Found::default();
    let keys = lookup::keys_of(group);
    // Leases come before streams, for everybody.
    let is_fenced = group.iter().any(|prepared| prepared.commit.fence.is_some());
    if is_fenced || keys.is_empty() || keys.len() > MAX_KEYS_AT_ONCE {
        let xid = raw_sql(AssertSqlSafe(text)).fetch_one(&mut *connection).await?.try_get(0)?;
        lookup::leases(connection, group, &mut found).await?;
        let blocked = lookup::streams(connection, group, wait, &mut found).await?;
        return Ok((xid, (found, blocked)));
    }
    // A script takes no values. In hexadecimal, whatever a key holds is no SQL; and no key holds a control character.
    let hex: String = lookup::sorted(&keys).join("\n").bytes().map(|byte| format!("{byte:02x}")).collect();
    text += &format!(
        "; select locked_key, locked_version from tidewire.lock_streams( \
         string_to_array(convert_from(decode('{hex}', 'hex'), 'UTF8'), chr(10)), {wait})"
    );
    let rows = raw_sql(AssertSqlSafe(text)).fetch_all(connection).await?;
    let Some((first, rows)) = rows.split_first() else { return Err(sqlx::Error::RowNotFound) };
    let blocked = lookup::locked(keys, rows, &mut found)?;
    Ok((first.try_get(0)?, (found, blocked)))
}

/// The one number of a script's answer. Scripts answer in text.
fn last(rows: &[sqlx::postgres::PgRow]) -> Result<Option<u64>, Failure> {
    let number: Option<i64> = match rows.first() {
        Some(row) => row.try_get(0).map_err(|error| Failure::All(classify(error)))?,
        None => None,
    };
    Ok(number.and_then(|number| u64::try_from(number).ok()))
}

/// Answers with positions that count from the first event of a batch, moved to where the batch is.
pub(super) fn placed(answer: Answer, after: u64, has_events: bool) -> Answer {
    match answer {
        Ok(Committed::Applied { last }) if has_events => Ok(Committed::Applied { last: Position(after + last.0) }),
        Ok(Committed::Applied { .. }) => Ok(Committed::Applied { last: Position(after) }),
        other => other,
    }
}

/// Whether the answer is that a stream moved on.
pub(super) fn is_outdated(answer: &Answer) -> bool {
    matches!(answer, Err(StoreError::Conflict(Conflict::Version { .. })))
}
