//! Effects: what happens outside the database.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Something to be done outside the database, stored in the same commit as the decision to do it and carried
/// out afterwards, at least once, each time with the same `id` as its idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// The idempotency key handed to the outside: the same for every attempt.
    pub id: String,
    /// The consumer that wants it.
    pub consumer: String,
    /// The id of the event it follows from.
    pub cause: String,
    /// What to do.
    pub call: Call,
}

/// What an effect does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum Call {
    /// Sends an e-mail.
    Mail {
        /// The recipient's address.
        to: String,
        /// The subject line.
        subject: String,
        /// The plain-text body.
        text: String,
    },
    /// Sends an HTTP request; any 2xx answer is success.
    Http {
        /// `POST` and such.
        method: String,
        /// The absolute URL.
        url: String,
        /// Extra headers.
        headers: BTreeMap<String, String>,
        /// The body, as text.
        body: String,
    },
}

impl Call {
    /// `mail` or `http`, for metrics and listings.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Mail { .. } => "mail",
            Self::Http { .. } => "http",
        }
    }
}

impl Effect {
    /// The `n`-th effect of `consumer` handling the event (`source`, `event`): its id is a digest of exactly
    /// these, so that handling the event again asks for the same effect.
    pub fn new(consumer: &str, source: &str, event: &str, n: usize, call: Call) -> Self {
        let mut digest = Sha256::new();
        for part in [consumer, source, event, &n.to_string()] {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        let id = digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Self { id, consumer: consumer.to_owned(), cause: event.to_owned(), call }
    }
}

/// How an attempt at an effect ended; written in a commit of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectOutcome {
    /// The effect.
    pub id: String,
    /// Its new state.
    pub state: EffectState,
    /// What went wrong, if something did.
    pub error: Option<String>,
}

/// Where an effect stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectState {
    /// To be tried (again) at this moment. For one that was given up this is a new beginning: its attempts count from 0.
    Pending(DateTime<Utc>),
    /// Carried out.
    Done,
    /// Given up: attempts exhausted or refused for good. Logged as an error and counted.
    Failed,
}

impl EffectState {
    /// The state without its moment.
    pub fn phase(&self) -> EffectPhase {
        match self {
            Self::Pending(_) => EffectPhase::Pending,
            Self::Done => EffectPhase::Done,
            Self::Failed => EffectPhase::Failed,
        }
    }
}

/// Where an effect stands, for selecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectPhase {
    /// Still to be carried out.
    Pending,
    /// Carried out.
    Done,
    /// Given up.
    Failed,
}

/// Which effects to list, in the order of their ids. Empty fields select everything.
#[derive(Clone, Debug, Default)]
pub struct EffectQuery {
    /// Only these.
    pub phase: Option<EffectPhase>,
    /// Only of this consumer.
    pub consumer: Option<String>,
    /// Only those that follow from one of these events, by id.
    pub causes: Vec<String>,
    /// Only this one.
    pub id: Option<String>,
    /// Only after this id.
    pub after: Option<String>,
    /// At most this many.
    pub limit: usize,
}

/// An effect as the store has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredEffect {
    /// The effect.
    pub effect: Effect,
    /// Where it stands.
    pub state: EffectState,
    /// How often it was tried.
    pub attempts: u32,
    /// What went wrong last, if something did.
    pub error: Option<String>,
}

/// An effect whose time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueEffect {
    /// The effect.
    pub effect: Effect,
    /// How often it was tried before.
    pub attempts: u32,
}
