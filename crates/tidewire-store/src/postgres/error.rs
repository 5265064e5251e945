//! What PostgreSQL's errors mean to a caller of the store.

use tidewire_core::StoreError;

/// The SQLSTATE, if the server answered with one.
pub(super) fn state(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(|code| code.into_owned())
}

/// Whether the connection is gone, or about to be: whatever was under way may or may not have happened.
pub(super) fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        // 57P01 to 57P05: the server ends the session. 08: it says that the connection failed. 25P03: idle for too long.
        _ => state(error).is_some_and(|state| {
            state.starts_with("08") || (state.starts_with("57P") && state != "57P04") || state == "25P03"
        }),
    }
}

/// The store error for `error`, which happened while doing nothing that could have become durable.
pub(super) fn classify(error: sqlx::Error) -> StoreError {
    let text = error.to_string();
    match &error {
        sqlx::Error::PoolClosed => return closed(),
        sqlx::Error::PoolTimedOut => return StoreError::Unavailable("every connection is busy".into()),
        sqlx::Error::Configuration(_) | sqlx::Error::Tls(_) => return StoreError::Misconfigured(text),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
            return StoreError::Corrupt(format!("{text}; stop, and restore the last backup into another database"));
        }
        _ => {}
    }
    let Some(state) = state(&error) else { return StoreError::Unavailable(text) };
    match state.as_str() {
        "53100" => StoreError::Full(text),
        "25006" => StoreError::ReadOnly(text),
        "28P01" | "28000" | "42501" => StoreError::Denied(text),
        "XX001" | "XX002" => StoreError::Corrupt(text),
        // No such database, and no such table or function: somebody else's, or somebody dropped them.
        "3D000" | "42P01" | "42883" | "42703" | "3F000" | "42P07" => StoreError::Misconfigured(text),
        state if state.starts_with("22") || state.starts_with("23") => StoreError::Invalid(text),
        _ => StoreError::Unavailable(text),
    }
}

/// The store error for `error`, which happened to a write of one statement: lost on the way, it may have been done.
pub(super) fn classify_write(error: sqlx::Error) -> StoreError {
    if is_lost(&error) { StoreError::Unknown(error.to_string()) } else { classify(error) }
}

pub(super) fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}

/// The same error once more, for everybody whose commits shared a transaction.
pub(super) fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::Full(text) => StoreError::Full(text.clone()),
        StoreError::ReadOnly(text) => StoreError::ReadOnly(text.clone()),
        StoreError::Unknown(text) => StoreError::Unknown(text.clone()),
        StoreError::Corrupt(text) => StoreError::Corrupt(text.clone()),
        StoreError::Denied(text) => StoreError::Denied(text.clone()),
        StoreError::Misconfigured(text) => StoreError::Misconfigured(text.clone()),
        StoreError::Invalid(text) => StoreError::Invalid(text.clone()),
        StoreError::Unavailable(text) => StoreError::Unavailable(text.clone()),
        other => StoreError::Unavailable(other.to_string()),
    }
}

/// Why a transaction was not committed. Nothing of it was written, except after [`Failure::Unknown`].
#[derive(Debug)]
pub(super) enum Failure {
    /// An event is in the log already: one of the commits is to blame, and looking finds it.
    Duplicate(sqlx::Error),
    /// Others were faster in a way that a new look decides: a deadlock, a row that appeared meanwhile.
    Raced(String),
    /// A row stayed locked for longer than this lane waits.
    Blocked(sqlx::Error),
    /// The server refuses a value: one of the commits is to blame.
    Refused(sqlx::Error),
    /// The connection went before the commit was sent.
    Lost(sqlx::Error),
    /// All of it failed.
    All(StoreError),
    /// The commit was sent and its answer lost.
    Unknown(sqlx::Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        if is_lost(&error) {
            return Self::Lost(error);
        }
        let Some(state) = state(&error) else { return Self::All(classify(error)) };
        let index = error.as_database_error().and_then(|error| error.constraint());
        match state.as_str() {
            "23505" if index == Some("event_id") => Self::Duplicate(error),
            // Serialization, deadlock, and a row that somebody else inserted first.
            "40001" | "40P01" | "23505" => Self::Raced(error.to_string()),
            "55P03" => Self::Blocked(error),
            state if state.starts_with("22") || state.starts_with("23") => Self::Refused(error),
            _ => Self::All(classify(error)),
        }
    }
}
