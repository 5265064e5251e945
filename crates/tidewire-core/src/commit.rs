//! The commit: everything that must become true together.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::effect::{Effect, EffectOutcome};
use crate::envelope::Envelope;
use crate::key::Key;
use crate::store::Position;
use crate::timer::TimerWrite;

/// One transaction as one value: either all of it is true afterwards, or none. The only way to write an
/// event.
///
/// The store decides in this order: a fence that no longer holds is [`StoreError::Fenced`]; a mark already
/// in the inbox (or a timer already fired) makes the whole commit a [`Committed::Duplicate`]; a version or
/// revision that moved on is [`StoreError::Conflict`]; otherwise everything is written.
///
/// [`StoreError::Fenced`]: crate::StoreError::Fenced
/// [`StoreError::Conflict`]: crate::StoreError::Conflict
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commit {
    /// Events, per key.
    pub append: Vec<Append>,
    /// Inbox marks: these events are hereby handled.
    pub seen: Vec<Seen>,
    /// Documents.
    pub documents: Vec<DocumentWrite>,
    /// Events to be set aside.
    pub park: Vec<Park>,
    /// Parked events that are done with.
    pub unpark: Vec<Unpark>,
    /// Timers to set, cancel or fire.
    pub timers: Vec<TimerWrite>,
    /// Effects to be carried out.
    pub effects: Vec<Effect>,
    /// Effects that were tried.
    pub settled: Vec<EffectOutcome>,
    /// A lease that must still be held.
    pub fence: Option<Fence>,
}

impl Commit {
    /// Whether there is nothing to write or check.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// Written, durably.
    Applied {
        /// The position of its last event, or of the log's head if it had none.
        last: Position,
    },
    /// Nothing was written: at least one mark was in the inbox already, or a timer had been fired.
    Duplicate,
}

/// Events for the stream of one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Append {
    /// The key; every event carries the same.
    pub key: Key,
    /// What the stream must look like.
    pub expect: Expect,
    /// The events, in order. The log sets their `sequence` and `recordedtime`.
    pub events: Vec<Envelope>,
}

/// What a stream must look like for an append to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Anything: the event is true whatever came before.
    Any,
    /// Exactly this version (0: no event yet).
    Version(u64),
}

/// The identity of an event for the inbox: unique in the world, whoever emitted it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    /// The emitting service.
    pub source: String,
    /// The id within it.
    pub id: String,
}

impl Mark {
    /// The mark of `envelope`.
    pub fn of(envelope: &Envelope) -> Self {
        Self { source: envelope.source.clone(), id: envelope.id.clone() }
    }
}

/// An inbox mark: `consumer` has handled the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The consumer.
    pub consumer: String,
    /// The event.
    pub mark: Mark,
}

/// A document to write or remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentWrite {
    /// Its collection.
    pub collection: String,
    /// Its id within it.
    pub id: String,
    /// What must be there now.
    pub expect: ExpectDocument,
    /// The new JSON; `None` removes it.
    pub value: Option<Bytes>,
}

/// What must be there for a document write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectDocument {
    /// Anything or nothing: the last writer wins.
    Any,
    /// Nothing.
    Absent,
    /// Exactly this revision.
    Revision(u64),
}

/// An event to set aside for one consumer. A key with parked events is a parked key: what follows on it is
/// parked behind them, in order, until they are redriven or dropped; other keys flow.
#[derive(Clone, Debug, PartialEq)]
pub struct Park {
    /// The consumer that cannot handle it.
    pub consumer: String,
    /// The event.
    pub envelope: Envelope,
    /// A stable code, such as `handler.failed`; `parked.behind` for a follower.
    pub code: String,
    /// What went wrong, for people.
    pub reason: String,
    /// How often the handler was started.
    pub attempts: u32,
    /// The event is parked only because its key is: if the key is parked no longer, the commit conflicts
    /// and the event must be handled instead.
    pub follower: bool,
    /// Whose place it takes: a parked event that this commit also takes out ([`Commit::unpark`]), of the same consumer
    /// and key. `None`: behind everything else that is parked.
    pub place: Option<Place>,
}

/// The place of a parked event among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number.
    pub ordinal: u64,
    /// Since when it is taken.
    pub since: DateTime<Utc>,
}

/// A parked event to take out: redriven (the same commit holds what its handler did, and its mark) or dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpark {
    /// The consumer.
    pub consumer: String,
    /// The parked event's own number. The commit is a duplicate if it is gone.
    pub ordinal: u64,
}

/// A lease that must still be held when the commit happens. Safety comes from this check, not from time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The lease's name.
    pub lease: String,
    /// The epoch under which it was taken.
    pub epoch: u64,
}
