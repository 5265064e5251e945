//! Handlers: what a service does when something happened.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use crate::envelope::Envelope;
use crate::event::SchemaError;
use crate::event_type::EventType;
use crate::store::{Position, StoreError};
use crate::timer::Timer;
use crate::unit::Context;

/// Reacts to events. Everything it wants to become true goes through its [`Context`] and is committed
/// together with the inbox mark of the event: exactly once, however often it runs. It must not change the
/// outside world itself; it asks for effects instead.
///
/// Events of one key come in order, one after the other. A handler may run again for the same event, with
/// everything its earlier run asked for undone.
#[async_trait]
pub trait Handler: Send + Sync {
    /// Who it is and what it reads.
    fn consumer(&self) -> Consumer;

    /// Called once before the events of a run are handled, to read with one look-up what all of them need
    /// ([`Context::prefetch`]). What it writes is ignored.
    async fn prepare(&self, events: &[&Envelope], cx: &mut Context<'_>) -> Result<(), HandlerError> {
        let _ = (events, cx);
        Ok(())
    }

    /// Reacts to one event.
    async fn handle(&self, event: &Envelope, cx: &mut Context<'_>) -> Result<(), HandlerError>;

    /// Reacts to a timer it set. A timer fires once: firing it is part of the same commit.
    async fn wake(&self, timer: &Timer, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        let _ = (timer, cx);
        Ok(())
    }

    /// The last word on an event that failed for good (permanently, or too often, or that killed the process
    /// each time): whatever it puts into the context is committed with the mark, and the event counts as
    /// handled. Answering `false`, as by default, parks it.
    async fn give_up(
        &self,
        event: &Envelope,
        error: &HandlerError,
        cx: &mut Context<'_>,
    ) -> Result<bool, HandlerError> {
        let _ = (event, error, cx);
        Ok(false)
    }
}

/// A consumer: a handler's identity and habits.
#[derive(Clone, Debug)]
pub struct Consumer {
    /// Its durable name: the broker group and the identity of its inbox. Renaming it starts it over.
    pub name: String,
    /// The types it reads, each at the newest version it knows.
    pub types: Vec<EventType>,
    /// Where in the data it looks, by the name of a type, as JSON pointers: what changes elsewhere does not concern it. Of
    /// a type that is not here it reads everything, as whoever decodes the whole event does.
    pub places: BTreeMap<String, Vec<String>>,
    /// What sort of handler it is; shown to operators.
    pub kind: Kind,
    /// How its events are taken.
    pub run: Run,
    /// How many keys are handled at once; the loop's default when `None`. For handlers that share something
    /// scarce: waiting for a turn is not counted against [`Consumer::timeout`].
    pub concurrency: Option<usize>,
    /// How long one event may take before the run counts as failed; the loop's default when `None`.
    pub timeout: Option<Duration>,
    /// How often an event is started before it is given up; the loop's default when `None`.
    pub max_attempts: Option<u32>,
    /// Events up to here are none of its business, and nobody keeps them for it. 0, as by default: all are.
    pub since: Position,
    /// The collections of documents it owns: only it writes them, and they follow from its events alone. So they
    /// can be built anew beside the live ones, and what it writes elsewhere is a defect that a rebuild refuses.
    /// Empty: it cannot be rebuilt.
    pub keeps: Vec<String>,
    /// What it changes without asking its [`Context`] (an object store, an index, another service), in a few words
    /// for operators. Nobody could mute that, so events are never replayed to it.
    pub outside: Option<&'static str>,
}

impl Consumer {
    /// A consumer with the default habits: keys in parallel.
    pub fn new(name: impl Into<String>, types: Vec<EventType>) -> Self {
        Self {
            name: name.into(),
            types,
            places: BTreeMap::new(),
            kind: Kind::Handler,
            run: Run::PerKey,
            concurrency: None,
            timeout: None,
            max_attempts: None,
            since: Position(0),
            keeps: Vec::new(),
            outside: None,
        }
    }

    /// That owns these collections of documents; see [`Consumer::keeps`].
    pub fn keeping<C: Into<String>>(mut self, collections: impl IntoIterator<Item = C>) -> Self {
        self.keeps = collections.into_iter().map(Into::into).collect();
        self
    }

    /// That looks at these places of the data alone, in events of this name; none at all where it needs only to know that
    /// something happened. See [`Consumer::places`].
    pub fn looking_at<P: Into<String>>(mut self, name: &str, places: impl IntoIterator<Item = P>) -> Self {
        self.places.insert(name.to_owned(), places.into_iter().map(Into::into).collect());
        self
    }

    /// The names it reads, without versions.
    pub fn names(&self) -> Vec<String> {
        self.types.iter().map(|ty| ty.name().to_owned()).collect()
    }

    /// Whether `found` is of a name it reads, at a version newer than it knows.
    pub fn is_newer(&self, found: &EventType) -> bool {
        self.types.iter().any(|known| known.name() == found.name() && known.version() < found.version())
    }
}

/// What sort of handler a consumer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A service's own reaction.
    Handler,
    /// A read model.
    Projection,
    /// A saga's orchestrator.
    Saga,
    /// A step of somebody's saga.
    Participant,
}

/// How a consumer's events are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Keys in parallel, each key in order, a commit per run of a key. For handlers that wait for something.
    PerKey,
    /// A whole batch in one go and one commit. For handlers that only compute, and for those whose keys
    /// share documents.
    Batch,
}

/// Why a handler failed. The variant decides what happens next.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// May work later: tried again with backoff, counted, parked when it has failed too often.
    #[error("{reason}")]
    Transient {
        /// What went wrong.
        reason: String,
        /// Not before this time has passed, where whoever refused said so; the backoff may be longer.
        after: Option<Duration>,
    },
    /// Somebody outside whom every event needs is away, which says nothing about this one: tried again after a while,
    /// not counted, and so never parked for it.
    #[error("{reason}")]
    Away {
        /// A stable code.
        code: String,
        /// What went wrong.
        reason: String,
        /// When to try again.
        after: Duration,
    },
    /// Will never work: given up at once.
    #[error("{reason}")]
    Permanent {
        /// A stable code.
        code: String,
        /// What went wrong.
        reason: String,
    },
    /// Of a newer version than this build knows: parked until a build that knows it.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The store or the broker is away: tried again with backoff, not counted.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl HandlerError {
    /// Something that may work later.
    pub fn transient(reason: impl std::fmt::Display) -> Self {
        Self::Transient { reason: reason.to_string(), after: None }
    }

    /// Somebody is away whom every event needs.
    pub fn away(code: impl Into<String>, reason: impl std::fmt::Display, after: Duration) -> Self {
        Self::Away { code: code.into(), reason: reason.to_string(), after }
    }

    /// Something that will never work.
    pub fn permanent(code: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Permanent { code: code.into(), reason: reason.to_string() }
    }

    /// The stable code for operators.
    pub fn code(&self) -> &str {
        match self {
            Self::Transient { .. } => "handler.failed",
            Self::Permanent { code, .. } | Self::Away { code, .. } => code,
            Self::Schema(error) => error.code(),
            Self::Store(error) => error.code(),
        }
    }

    /// Whether it may work later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transient { .. } | Self::Away { .. } => true,
            Self::Permanent { .. } | Self::Schema(_) => false,
            Self::Store(error) => error.is_transient() || matches!(error, StoreError::Conflict(_)),
        }
    }

    /// Whether it says something about the event, rather than about the infrastructure.
    pub fn is_counted(&self) -> bool {
        !matches!(self, Self::Store(_) | Self::Away { .. })
    }
}
