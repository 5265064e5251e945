//! The broker: carries events from the relay to the consumers, at least once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::envelope::Envelope;

/// A broker. What every backend promises:
///
/// - *Publish* is durable before it answers, in order per key within a call and between calls, and does
///   nothing (but answer) for an event it already holds within its dedupe window.
/// - *Delivery* is at least once per group, in order per key: at any moment all unacknowledged deliveries of
///   one key are with one member of the group, in order, and nothing later of that key goes elsewhere.
///   A delivery that was neither acknowledged nor handed back when its member is lost comes again, with
///   all that follows on its key.
/// - It never stops delivering: giving up is the consumer's decision.
///
/// What differs is declared in [`Broker::features`].
#[async_trait]
pub trait Broker: Send + Sync {
    /// Stores a batch. One answer per envelope, in order. After a failure the later ones of the same key are
    /// not stored; publish them again, in order: what was stored is recognised.
    async fn publish(&self, batch: Vec<Envelope>) -> Vec<Result<Published, BrokerError>>;

    /// Joins (and at first creates, durably) a group.
    async fn subscribe(&self, request: Subscribe) -> Result<Box<dyn Subscription>, BrokerError>;

    /// Every group: how far behind it is.
    async fn lag(&self) -> Result<Vec<Lag>, BrokerError>;

    /// Ends a group for good: its place is forgotten, and nothing is kept for it any more. Nothing happens where there is
    /// no such group; by default a broker keeps nothing of groups.
    ///
    /// [`BrokerError::Unavailable`] while somebody is subscribed, in whatever process: ask again later.
    async fn forget(&self, group: &str) -> Result<(), BrokerError> {
        let _ = group;
        Ok(())
    }

    /// What the broker holds after `cursor` (from its beginning without one), oldest first: for comparing it
    /// with the log. Returns the cursor to go on from; an empty page is the end.
    async fn scan(&self, cursor: Option<String>, limit: usize) -> Result<(Vec<Envelope>, Option<String>), BrokerError>;

    /// Which record this is and how far it reaches: what was acknowledged and is gone shows here first.
    async fn extent(&self) -> Result<Extent, BrokerError>;

    /// Whether it still is set up as it must be: [`BrokerError::Misconfigured`] names what somebody changed. Changes
    /// nothing. Where nobody else can change anything there is nothing to look at.
    async fn examine(&self) -> Result<(), BrokerError> {
        Ok(())
    }

    /// What this broker can do.
    fn features(&self) -> Features;

    /// Finishes what was taken, then closes.
    async fn close(&self);
}

/// The answer to a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The broker held the event already.
    pub duplicate: bool,
}

/// Which record a broker keeps and how far it reaches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Names this record: another one after it was wiped, restored or made anew, whatever its settings.
    pub incarnation: String,
    /// Goes up with every event stored and never down, unless stored events were lost.
    pub last: u64,
}

/// How to join a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// The group's name: the consumer's name. Durable: it keeps its place while nobody is subscribed.
    pub group: String,
    /// Event names it wants, of any version; all when empty. May change between subscriptions: names added
    /// are delivered from the group's place on, from the beginning for a group that never ran.
    pub names: Vec<String>,
    /// How many deliveries may be unacknowledged at once in the whole group.
    pub max_in_flight: usize,
    /// A delivery unacknowledged for this long without progress is taken for lost.
    pub ack_wait: Duration,
}

/// One member's seat in a group. Dropping it hands everything unacknowledged back.
#[async_trait]
pub trait Subscription: Send {
    /// The next deliveries: at least one, at most `events` and about `bytes` (always at least one event).
    /// Waits until there are some. Safe to cancel: what was not returned was not delivered.
    async fn next(&mut self, events: usize, bytes: usize) -> Result<Vec<Delivery>, BrokerError>;
}

/// An event handed to one member of a group, to be acknowledged after the commit, or handed back.
pub struct Delivery {
    /// The event.
    pub envelope: Envelope,
    /// How often it was handed out, this time included. More than 1 means that an earlier run may have begun.
    pub attempt: u32,
    token: u64,
    desk: Arc<dyn Desk>,
}

impl Delivery {
    /// For backends: a delivery whose answers go to `desk` under `token`.
    pub fn new(envelope: Envelope, attempt: u32, token: u64, desk: Arc<dyn Desk>) -> Self {
        Self { envelope, attempt, token, desk }
    }

    /// Done. Fire and forget: a lost acknowledgement is a duplicate that the inbox drops.
    pub fn ack(self) {
        self.desk.ack(self.token);
    }

    /// Not now: hands it back, to be delivered again after `after`. What follows on its key waits for it;
    /// later deliveries of the same key that are in hand must be handed back as well, in any order.
    pub fn retry(self, after: Duration) {
        self.desk.retry(self.token, after);
    }

    /// A handle for saying that this delivery is still being worked on, wherever the delivery itself is.
    pub fn pulse(&self) -> Pulse {
        Pulse { token: self.token, desk: self.desk.clone() }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("id", &self.envelope.id).field("attempt", &self.attempt).finish()
    }
}

/// Says that a delivery is still being worked on.
#[derive(Clone)]
pub struct Pulse {
    token: u64,
    desk: Arc<dyn Desk>,
}

impl Pulse {
    /// Still at work: the ack wait starts anew. Harmless after the delivery was answered.
    pub fn progress(&self) {
        self.desk.progress(self.token);
    }
}

/// Where a backend takes answers to deliveries. Never blocks.
pub trait Desk: Send + Sync {
    /// See [`Delivery::ack`].
    fn ack(&self, token: u64);
    /// See [`Delivery::retry`].
    fn retry(&self, token: u64, after: Duration);
    /// See [`Pulse::progress`].
    fn progress(&self, token: u64);
}

/// How far behind a group is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lag {
    /// The group.
    pub group: String,
    /// Events it has yet to acknowledge.
    pub pending: u64,
    /// Of these, handed out.
    pub in_flight: u64,
    /// Of these, waiting for their retry.
    pub retrying: u64,
    /// Members subscribed now.
    pub members: u32,
}

/// What a backend can do; the differences users must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Features {
    /// Its name.
    pub backend: &'static str,
    /// What a publish survives: `disk` (power loss), `os` (a process kill), `mem`.
    pub durability: &'static str,
    /// Several processes can share it.
    pub multi_process: bool,
    /// It delays retries itself.
    pub delayed_retry: bool,
    /// The attempt counter survives a restart of the broker.
    pub durable_attempts: bool,
    /// The largest event, in bytes.
    pub max_event_bytes: usize,
    /// Publishing an event again within so many events is recognised.
    pub dedupe_window_events: usize,
}

/// Why a broker did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// Cannot be reached, or busy. Try again later.
    #[error("the broker is unavailable: {0}")]
    Unavailable(String),
    /// No room within its limits. Nothing was discarded. Make room, or raise the limit.
    #[error("the broker is full: {0}")]
    Full(String),
    /// This event is larger than the broker takes. Permanent.
    #[error("the event is {size} bytes long; the broker takes at most {limit}")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// An earlier event of the same key failed in the same call. Publish again from that one on.
    #[error("an earlier event of the same key was not stored")]
    Behind,
    /// Another process has the embedded broker open.
    #[error("the broker is in use: {0}")]
    Locked(String),
    /// What is stored is damaged.
    #[error("the broker's files are corrupt: {0}")]
    Corrupt(String),
    /// The broker's files were written by a newer build.
    #[error("the broker's files are of a newer build: {0}")]
    Newer(String),
    /// The server is set up in a way that would break a promise: what differs, setting by setting. Set it right
    /// there, or here.
    #[error("the broker is not set up as it must be: {0}")]
    Misconfigured(String),
    /// The server refuses these credentials, or what they want to do. Trying again does not help.
    #[error("the broker refuses access: {0}")]
    Denied(String),
    /// The request makes no sense. A defect of the caller.
    #[error("the request is invalid: {0}")]
    Invalid(String),
    /// The broker or the subscription was closed.
    #[error("the broker is closed")]
    Closed,
}

impl BrokerError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Full(_) | Self::Behind)
    }

    /// The stable code for operators.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unavailable(_) | Self::Behind => "broker.unavailable",
            Self::Full(_) => "broker.full",
            Self::TooLarge { .. } => "event.too_large",
            Self::Locked(_) => "broker.locked",
            Self::Corrupt(_) => "broker.corrupt",
            Self::Newer(_) => "broker.newer",
            Self::Misconfigured(_) => "broker.misconfigured",
            Self::Denied(_) => "broker.denied",
            Self::Invalid(_) => "broker.invalid",
            Self::Closed => "broker.closed",
        }
    }
}
