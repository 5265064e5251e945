//! The store: the log, and everything that is committed together with it. A handful of small ports, one per
//! idea; a backend implements all of them on one database.

mod error;

pub use error::{Conflict, StoreError};

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::commit::{Commit, Committed, Mark};
use crate::effect::{DueEffect, EffectQuery, StoredEffect};
use crate::envelope::Envelope;
use crate::event_type::EventType;
use crate::key::Key;
use crate::timer::Timer;

/// A place in one log: gapless, from 1, in commit order. 0 is before the first event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub u64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An event as the log holds it: its envelope has `sequence` and `recordedtime`.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Its place in the log.
    pub position: Position,
    /// The event.
    pub envelope: Envelope,
}

/// Which events to read. Empty fields select everything.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only positions after this one.
    pub after: Position,
    /// Only positions up to this one.
    pub until: Option<Position>,
    /// Only keys of these buckets (first, last), both included.
    pub buckets: Option<(u8, u8)>,
    /// Only events of these names, of any version.
    pub names: Vec<String>,
    /// Only this key.
    pub key: Option<Key>,
    /// Only this id.
    pub id: Option<String>,
    /// Only this flow.
    pub correlationid: Option<String>,
    /// Newest first.
    pub backwards: bool,
    /// At most this many events.
    pub limit: usize,
}

/// The log: one row per event, in commit order.
#[async_trait]
pub trait Log: Send + Sync {
    /// Makes everything in `commit` true, durably, or nothing. Concurrent commits share a transaction where
    /// they can (group commit) without sharing their fate. Once called it runs to its end: dropping the
    /// future gives up the answer, not the commit.
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError>;

    /// The events of one key after version `after`, in order, at most `limit`. Never with a gap: if the first of them
    /// were retired ([`Upkeep::retire`]), this is [`StoreError::Retired`].
    async fn stream(&self, key: &Key, after: u64, limit: usize) -> Result<Vec<Recorded>, StoreError>;

    /// Events in the order of the log. Reading forward from a cursor never misses an event: positions are
    /// gapless and only committed events have one. What was retired is not there: then the log begins at
    /// [`StoreInfo::first`], and is gapless from there.
    async fn read(&self, selection: &Selection) -> Result<Vec<Recorded>, StoreError>;

    /// The position of the last committed event.
    async fn head(&self) -> Result<Position, StoreError>;

    /// Returns once the log holds an event after `after`, or after `patience`; possibly earlier. Only a
    /// hint that saves polling: read to know.
    async fn wait(&self, after: Position, patience: Duration);
}

/// A document: JSON somebody owns, with a revision that every write raises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its id within its collection.
    pub id: String,
    /// From 1. A document that is removed and written again starts over above its last revision or at 1;
    /// compare for equality only.
    pub revision: u64,
    /// Its JSON.
    pub value: Bytes,
}

/// Which documents to list, in the order of their ids.
#[derive(Clone, Debug, Default)]
pub struct DocumentQuery {
    /// The collection.
    pub collection: String,
    /// Only ids that start so.
    pub prefix: String,
    /// Only ids after this one (before it, when backwards).
    pub after: Option<String>,
    /// Highest id first.
    pub backwards: bool,
    /// At most this many.
    pub limit: usize,
}

/// Documents: the rows projections, sagas and handlers own.
#[async_trait]
pub trait Documents: Send + Sync {
    /// The documents with these ids, in the order asked for.
    async fn documents(&self, collection: &str, ids: &[String]) -> Result<Vec<Option<Document>>, StoreError>;

    /// Documents by id order.
    async fn list(&self, query: &DocumentQuery) -> Result<Vec<Document>, StoreError>;

    /// How many documents have ids that start with `prefix`.
    async fn count(&self, collection: &str, prefix: &str) -> Result<u64, StoreError>;
}

/// The inbox: what each consumer has handled, and what it is struggling with.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// Which of these events `consumer` has handled, or parked, in the order asked for.
    async fn seen(&self, consumer: &str, marks: &[Mark]) -> Result<Vec<bool>, StoreError>;

    /// Counts a start of the handler for each event, durably, and returns the counts. To be called before a
    /// handler runs whose earlier run did not end well, so that an event that kills the process is found out.
    async fn start(&self, consumer: &str, marks: &[Mark], error: Option<&str>) -> Result<Vec<u32>, StoreError>;

    /// How many events `consumer` has handled.
    async fn handled(&self, consumer: &str) -> Result<u64, StoreError>;

    /// Events of these names, up to `until`, that `consumer` has neither handled nor parked; at most `limit`,
    /// in order. Empty means that the consumer has caught up with `until`.
    async fn unhandled(
        &self,
        consumer: &str,
        names: &[String],
        until: Position,
        limit: usize,
    ) -> Result<Vec<Recorded>, StoreError>;
}

/// A parked event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parked {
    /// Its own number: lower ones of the same key come first.
    pub ordinal: u64,
    /// The consumer.
    pub consumer: String,
    /// The event.
    pub envelope: Envelope,
    /// Why, as a stable code.
    pub code: String,
    /// Why, for people.
    pub reason: String,
    /// How often the handler was started.
    pub attempts: u32,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// Which parked events to list, in order.
#[derive(Clone, Debug, Default)]
pub struct ParkedQuery {
    /// Only of this consumer.
    pub consumer: Option<String>,
    /// Only of this key.
    pub key: Option<Key>,
    /// Only after this ordinal.
    pub after: u64,
    /// At most this many.
    pub limit: usize,
}

/// Parked events, in order per consumer and key.
#[async_trait]
pub trait Parking: Send + Sync {
    /// Which of `keys` are parked for `consumer`.
    async fn parked_keys(&self, consumer: &str, keys: &[Key]) -> Result<BTreeSet<Key>, StoreError>;

    /// Parked events.
    async fn parked(&self, query: &ParkedQuery) -> Result<Vec<Parked>, StoreError>;

    /// How many events are parked, by consumer.
    async fn parked_counts(&self) -> Result<Vec<(String, u64)>, StoreError>;
}

/// Leases: who may do what only one may do.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Takes the lease if nobody holds it, or renews it for its owner under the same epoch. Every taking
    /// raises the epoch. `None`: somebody else holds it. Time is the store's own.
    async fn lease(&self, name: &str, owner: &str, ttl: Duration) -> Result<Option<u64>, StoreError>;

    /// Gives it up early, if it is still held under this epoch.
    async fn release(&self, name: &str, owner: &str, epoch: u64) -> Result<(), StoreError>;
}

/// What is due: timers and effects.
#[async_trait]
pub trait Schedule: Send + Sync {
    /// Timers of these owners due at `now`, the longest due first.
    async fn due_timers(&self, owners: &[String], now: DateTime<Utc>, limit: usize) -> Result<Vec<Timer>, StoreError>;

    /// Effects to be tried at `now`, the longest due first. Only under a lease: this does not claim them.
    async fn due_effects(&self, now: DateTime<Utc>, limit: usize) -> Result<Vec<DueEffect>, StoreError>;

    /// Effects in whatever state, also those given up, which nobody tries any more until an outcome makes them pending.
    async fn effects(&self, query: &EffectQuery) -> Result<Vec<StoredEffect>, StoreError>;

    /// When the next timer of these owners and the next effect are due. A hint: commits move it.
    async fn next_due(&self, owners: &[String]) -> Result<(Option<DateTime<Utc>>, Option<DateTime<Utc>>), StoreError>;
}

/// Snapshots of aggregates: a shortcut, never the truth.
#[async_trait]
pub trait Snapshots: Send + Sync {
    /// The newest snapshot of `aggregate` (name and revision) for `key`: the version it stands at, and its bytes.
    async fn snapshot(&self, aggregate: &str, key: &Key) -> Result<Option<(u64, Bytes)>, StoreError>;

    /// Keeps a snapshot, replacing an older one.
    async fn keep_snapshot(&self, aggregate: &str, key: &Key, version: u64, state: Bytes) -> Result<(), StoreError>;
}

/// What operators ask of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoreInfo {
    /// `sqlite` or `postgres`.
    pub backend: String,
    /// The identity of this log; a restored or re-created one differs.
    pub log_id: String,
    /// The schema version of the store.
    pub schema: u32,
    /// The position of the oldest event that is still there: 1 until something was retired, also in an empty log.
    pub first: Position,
    /// The last position.
    pub head: Position,
    /// Bytes on disk.
    pub bytes: u64,
    /// What a commit survives: `disk` (power loss), `os` (a process kill), `mem`.
    pub durability: String,
}

/// How a store is doing beside what it keeps, as far as it can tell. What it cannot is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StoreHealth {
    /// The schema version the database has now.
    pub schema: u32,
    /// The one this build works with.
    pub known: u32,
    /// What time it is there.
    pub time: Option<DateTime<Utc>>,
    /// For how long the oldest transaction of anybody has been open: what is deleted stays on disk as long, and who waits
    /// for its locks waits.
    pub oldest_transaction: Option<Duration>,
    /// Bytes free where it writes.
    pub disk_free: Option<u64>,
}

/// What [`Upkeep::retire`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Retired {
    /// How many events were removed. None: there was nothing to remove.
    pub events: u64,
    /// The oldest event that is left, as in [`StoreInfo::first`].
    pub first: Position,
}

/// What operators look at, and what a service runs on while it lives.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// The store in numbers.
    async fn info(&self) -> Result<StoreInfo, StoreError>;

    /// How the store is doing. A few small questions; not for every second.
    async fn health(&self) -> Result<StoreHealth, StoreError>;

    /// Every name and version in the log, with its count.
    async fn types(&self) -> Result<Vec<(EventType, u64)>, StoreError>;

    /// Removes the oldest events, those up to `until` and at most about `limit` of them, in one short transaction that
    /// keeps no writer waiting for long. Call it again until it removes none. A store may keep together what one commit
    /// appended: such events may be more than `limit`, and stay as long as `until` is in their midst. The last event of
    /// the log always stays.
    ///
    /// Only the events go. Streams keep their versions, and what is appended to them goes on from there; documents,
    /// snapshots, parked events, timers and effects stay. Inbox marks stay as well: a broker that hands out such an
    /// event once more, or a client that sends it again, meets its mark. The log itself forgets the ids: without a
    /// mark, an event with one of them would be taken as new.
    ///
    /// It asks nobody. Before it is called, the relay must have published these events, every consumer must have handled
    /// or parked them, and every aggregate that is folded from its stream must have a snapshot at or after them.
    async fn retire(&self, until: Position, limit: usize) -> Result<Retired, StoreError>;

    /// Whether the store can take writes now; cheap.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Finishes what was taken, then closes. Later calls fail as unavailable.
    async fn close(&self);
}

/// All of the above on one database.
pub trait Store: Log + Documents + Inbox + Parking + Leases + Schedule + Snapshots + Upkeep {}

impl<T: Log + Documents + Inbox + Parking + Leases + Schedule + Snapshots + Upkeep + ?Sized> Store for T {}
