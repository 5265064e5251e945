//! Why a replay is not planned, or not begun.

use tidewire_core::StoreError;
use tidewire_core::cesql::ParseError;

/// Why an operator's wish to replay is not granted.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No such consumer.
    #[error("there is no consumer `{name}`; there are: {known}")]
    NoConsumer {
        /// What was asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// No such plan or replay.
    #[error("there is no {what} `{id}`")]
    NotFound {
        /// `plan`, `replay`.
        what: &'static str,
        /// What was asked for.
        id: String,
    },
    /// What was asked for makes no sense. Ask for something else.
    #[error("{0}")]
    Invalid(String),
    /// The filter is no CloudEvents SQL.
    #[error("`filter` is no CloudEvents SQL: {0}")]
    Filter(ParseError),
    /// It could be done at another time, or once something is mended: which, by its code.
    #[error("{reason}")]
    Refused {
        /// The stable code.
        code: &'static str,
        /// Why.
        reason: String,
    },
}

impl ReplayError {
    pub(super) fn refused(code: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Refused { code, reason: reason.to_string() }
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::NoConsumer { .. } => "consumer.not_found",
            Self::NotFound { .. } => "replay.not_found",
            Self::Invalid(_) => "replay.invalid",
            Self::Filter(_) => "filter.invalid",
            Self::Refused { code, .. } => code,
        }
    }
}
