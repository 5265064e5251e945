//! A commit whose answer was lost: looked up, not guessed.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Row, query, raw_sql};
use tidewire_core::StoreError;
use tokio::time::Instant;

use super::connect::{Role, Session, connect};
use super::error::state;
use super::transaction::{Token, Trace};

/// How long the server is asked before the outcome is called unknown: longer than a restart after a crash.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait between the first two questions, and at most between any: the server may be restarting.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(200));

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was committed.
    Committed,
    /// It was, and this is its batch, which nobody had been told.
    CommittedAs(i64),
    /// It was not, and never will be.
    Gone,
}

/// Asks the server what became of the transaction of `token`, whose first event has this id and source.
///
/// Events answer for themselves: they are in the log under our batch, or not. A transaction without any is asked for by
/// its number, which a server that lost its memory in a crash might have given to another since; so after a restart
/// only "gone" is believed.
///
/// # Errors
/// [`StoreError::Unknown`]: nobody could tell in time.
pub(super) async fn look_up(
    options: &PgConnectOptions,
    token: &Token,
    event: Option<(&str, &str)>,
    server: Option<&str>,
) -> Result<Outcome, StoreError> {
    let deadline = Instant::now() + PATIENCE;
    let mut why = String::new();
    let mut pause = PAUSES.0;
    while Instant::now() < deadline {
        match ask(options, token, event, server).await {
            Ok(Some(outcome)) => return Ok(outcome),
            Ok(None) => why = "it is not known to have ended".to_owned(),
            Err(error) => why = error.to_string(),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
    Err(StoreError::Unknown(why))
}

/// One question; nothing, if the server does not know yet.
async fn ask(
    options: &PgConnectOptions,
    token: &Token,
    event: Option<(&str, &str)>,
    server: Option<&str>,
) -> Result<Option<Outcome>, sqlx::Error> {
    let mut connection = connect(options, Role::Read).await?;
    let xid = match (&token.trace, event) {
        (Trace::Xid(xid), _) => xid,
        (Trace::Session { session, recorded }, event) => {
            return ask_for_session(&mut connection, session, *recorded, event).await;
        }
    };
    let status = match status(&mut connection, xid).await {
        Ok(status) => status,
        // "In the future": the server does not remember it, so it did not survive.
        Err(error) if state(&error).as_deref() == Some("22023") => return Ok(Some(Outcome::Gone)),
        Err(error) => return Err(error),
    };
    Ok(match status.as_deref() {
        Some("aborted") => Some(Outcome::Gone),
        Some("committed") => match (token.batch, event) {
            (Some(batch), Some((id, source))) => {
                let found = query("select batch from tidewire.event where id = $1 and source = $2")
                    .bind(id)
                    .bind(source)
                    .fetch_optional(&mut connection)
                    .await?;
                let found = found.map(|row| row.try_get::<i64, _>(0)).transpose()?;
                Some(if found == Some(batch.id) { Outcome::Committed } else { Outcome::Gone })
            }
            _ if server.is_some() && started(&mut connection).await?.as_deref() == server => Some(Outcome::Committed),
            _ => None,
        },
        _ => None,
    })
}

/// A statement that is a transaction is over when its session is gone. Then its first event is there as it recorded it, or
/// without events its receipt; or it never was.
async fn ask_for_session(
    connection: &mut PgConnection,
    session: &Session,
    recorded: DateTime<Utc>,
    event: Option<(&str, &str)>,
) -> Result<Option<Outcome>, sqlx::Error> {
    let text = "select exists (select from pg_stat_get_activity($1) where backend_start::text = $2)";
    let is_there: bool =
        query(text).bind(session.pid).bind(&session.started).fetch_one(&mut *connection).await?.try_get(0)?;
    if is_there {
        return Ok(None);
    }
    let Some((id, source)) = event else {
        let text = "select exists (select from tidewire.receipt where session = $1 and number = $2)";
        let row = query(text).bind(session.name()).bind(session.receipt).fetch_one(connection).await?;
        return Ok(Some(if row.try_get(0)? { Outcome::Committed } else { Outcome::Gone }));
    };
    let text = "select batch from tidewire.event where id = $1 and source = $2 and recorded = $3";
    let found = query(text).bind(id).bind(source).bind(recorded).fetch_optional(connection).await?;
    let batch = found.map(|row| row.try_get(0)).transpose()?;
    Ok(Some(batch.map_or(Outcome::Gone, Outcome::CommittedAs)))
}

async fn status(connection: &mut PgConnection, xid: &str) -> Result<Option<String>, sqlx::Error> {
    query("select pg_xact_status($1::text::xid8)").bind(xid).fetch_one(connection).await?.try_get(0)
}

/// When the server was started: what tells one run of it from the next.
pub(super) async fn started(connection: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    raw_sql("select pg_postmaster_start_time()::text").fetch_one(connection).await?.try_get(0)
}
