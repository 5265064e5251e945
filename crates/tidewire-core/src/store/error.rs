//! How a store can fail; a variant per different reaction of the caller.

use crate::key::Key;

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Somebody else was faster. Nothing was written. Load again, decide again, commit again.
    #[error("conflict: {0}")]
    Conflict(Conflict),
    /// The lease is no longer ours. Nothing was written. Stop, and drop what is in hand.
    #[error("the lease `{lease}` is no longer held under epoch {epoch}: somebody else took over")]
    Fenced {
        /// The lease.
        lease: String,
        /// Our epoch, now past.
        epoch: u64,
    },
    /// The store cannot be reached or is busy. Nothing was written. Try again later.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// No room. Nothing was written. Make room; no restart is needed.
    #[error("the store is full: {0}")]
    Full(String),
    /// The store may not be written. Nothing was written.
    #[error("the store is read-only: {0}")]
    ReadOnly(String),
    /// The answer was lost on the way: written or not, unknown. Look before trying again.
    #[error("the outcome of the commit is unknown: {0}")]
    Unknown(String),
    /// What was asked makes no sense, whatever the store holds. A defect of the caller.
    #[error("the commit is invalid: {0}")]
    Invalid(String),
    /// What is stored is damaged. Stop, keep the files, restore.
    #[error("the store is corrupt: {0}")]
    Corrupt(String),
    /// The server refuses these credentials, or what they want to do. Nothing was written; trying again does not help.
    #[error("the store refuses access: {0}")]
    Denied(String),
    /// The server is of a version, or set up in a way, that would break a promise: what differs. Set it right there.
    #[error("the store is not set up as it must be: {0}")]
    Misconfigured(String),
    /// Events that were asked for were in the log once and have been retired from it: which. What only they could tell
    /// cannot be had from this log; nothing may be decided or removed on what is left.
    #[error("the store has retired what was asked for: {0}")]
    Retired(String),
    /// Another process has the store open.
    #[error("the store is in use: {0}")]
    Locked(String),
    /// The store was written by a newer build.
    #[error(
        "the store has schema {found}, newer than {known}, which this build knows: use the build that wrote it, or a later one"
    )]
    Newer {
        /// Found.
        found: u32,
        /// Known here.
        known: u32,
    },
}

/// What moved on under a commit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The stream has another version.
    #[error("`{key}` is at version {found}, expected {expected}")]
    Version {
        /// The stream's key.
        key: Key,
        /// What the commit expected.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// The document has another revision.
    #[error("document `{collection}/{id}` is at revision {found}, expected {expected}")]
    Document {
        /// Its collection.
        collection: String,
        /// Its id.
        id: String,
        /// What the commit expected (0: absent).
        expected: u64,
        /// What is there (0: absent).
        found: u64,
    },
    /// An event with this source and id is in the log already, and the commit is not the one that wrote it.
    #[error("an event with id `{id}` is in the log already")]
    Event {
        /// Its id.
        id: String,
    },
    /// A follower was to be parked, but its key is parked no longer.
    #[error("`{key}` is not parked for `{consumer}`")]
    NotParked {
        /// The consumer.
        consumer: String,
        /// The key.
        key: Key,
    },
}

impl StoreError {
    /// Whether the same call may succeed later without anybody doing anything about the caller's data.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Full(_) | Self::ReadOnly(_) | Self::Unknown(_))
    }

    /// The stable code for operators and clients.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Conflict(_) => "commit.conflict",
            Self::Fenced { .. } => "commit.fenced",
            Self::Unavailable(_) => "store.unavailable",
            Self::Full(_) => "store.full",
            Self::ReadOnly(_) => "store.read_only",
            Self::Unknown(_) => "commit.unknown",
            Self::Invalid(_) => "commit.invalid",
            Self::Corrupt(_) => "store.corrupt",
            Self::Denied(_) => "store.denied",
            Self::Misconfigured(_) => "store.misconfigured",
            Self::Retired(_) => "store.retired",
            Self::Locked(_) => "store.locked",
            Self::Newer { .. } => "store.newer",
        }
    }
}
