//! A group as this process has it: its members here, what they have in hand, and the slots it reads.

mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tidewire_core::BrokerError;
use tidewire_core::broker::Desk;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::answer::{Answer, Kind};
use super::arrival::Arrival;
use super::roll::SLOTS;
use super::{Shared, unpoisoned};
use crate::hand::Hand;

/// The most a reader asks for at once.
pub(super) const MAX_BATCH: usize = 512;
/// What is handed out in a group of which this process reads nothing (yet).
const MIN_IN_FLIGHT: usize = 1;

/// Where an entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub seq: u64,
    pub slot: usize,
}

/// An event that this process has and did not acknowledge.
struct Open {
    slot: usize,
    reader: Arc<str>,
    /// Where the server takes answers to it.
    ack: async_nats::Subject,
    /// How often it was handed out, also before it came here.
    attempts: u32,
    /// When the server was last told that it is still here.
    told: Instant,
}

/// A slot that this process reads.
pub(super) struct Own {
    pub reader: Arc<str>,
    /// Below it everything was done before, but `expected`.
    below: u64,
    /// When the newest below it was stored, where that is known.
    newest: i64,
    /// What was open and did not come yet: sequence, handouts.
    expected: BTreeMap<u64, u32>,
    doubt: u64,
    releasing: Option<Releasing>,
}

/// A slot that is to be given away: nothing more of it is taken or handed out.
#[derive(Clone, Copy)]
struct Releasing {
    since: Instant,
    /// Where the reader stood then.
    next: u64,
    /// When the newest below that was stored; 0 where that is not known.
    newest: i64,
    delivered: u64,
}

/// How far a reader is. Its deliveries must come in one unbroken row.
pub(super) struct Progress {
    /// The consumer exists and a task reads it.
    pub running: Option<watch::Sender<bool>>,
    /// From where it was made to read.
    pub start: u64,
    /// What it was last told to read.
    pub filters: Vec<String>,
    /// Everything below it in the stream came.
    next: u64,
    /// When the newest of that was stored.
    newest: i64,
    /// Deliveries that came.
    pub delivered: u64,
}

/// What one member asked for.
pub(super) struct Wish {
    pub max_in_flight: usize,
    pub ack_wait: Duration,
}

pub(super) struct State {
    pub hand: Hand<Spot>,
    open: BTreeMap<u64, Open>,
    pub slots: [Option<Own>; SLOTS],
    pub readers: HashMap<Arc<str>, Progress>,
    pub answers: Vec<Answer>,
    pub members: HashMap<u64, Wish>,
    next_member: u64,
    /// Names as last asked for here, until they are on the roll.
    pub asked_names: Option<Vec<String>>,
    /// What the roll says is asked for.
    pub names: BTreeSet<String>,
    /// Readers whose row broke: to be replaced.
    pub broken: BTreeSet<Arc<str>>,
    /// The server will not have us.
    pub denied: Option<BrokerError>,
    /// Nobody is here any more, and nobody may come: a new one takes its place.
    pub ended: bool,
}

/// How far the keeper came.
#[derive(Clone, Debug, Default)]
pub(super) struct Settled {
    /// Everything asked for up to here is done.
    pub done: u64,
    /// What kept it from doing what was asked for up to here.
    pub failed: Option<(u64, BrokerError)>,
}

pub(super) struct Group {
    pub name: String,
    pub shared: Arc<Shared>,
    state: Mutex<State>,
    /// Something may be handed out.
    pub changed: Notify,
    /// There is room for more.
    pub room: Notify,
    /// There are answers to send.
    pub answered: Notify,
    /// The keeper should look.
    pub nudge: Notify,
    pub asked: AtomicU64,
    pub settled: watch::Sender<Settled>,
}

/// What a reader brought cannot be what comes next.
pub(super) struct Broken;

impl Group {
    pub(super) fn new(name: &str, shared: Arc<Shared>) -> Self {
        Self {
            name: name.to_owned(),
            shared,
            state: Mutex::new(State::new()),
            changed: Notify::new(),
            room: Notify::new(),
            answered: Notify::new(),
            nudge: Notify::new(),
            asked: AtomicU64::new(0),
            settled: watch::Sender::default(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        unpoisoned(&self.state)
    }

    /// Wakes whoever waits for what another call may have made possible.
    pub(super) fn wake(&self) {
        self.changed.notify_waiters();
        self.room.notify_waiters();
        self.answered.notify_one();
    }

    /// Takes what a reader brought.
    pub(super) fn arrive(&self, reader: &Arc<str>, arrivals: Vec<Arrival>) -> Result<(), Broken> {
        let taken = self.state().arrive(reader, arrivals);
        self.changed.notify_waiters();
        self.answered.notify_one();
        taken
    }
}

impl Desk for Group {
    fn ack(&self, token: u64) {
        let mut state = self.state();
        let Some(spot) = state.hand.ack(token) else { return };
        if let Some(open) = state.open.remove(&spot.seq) {
            state.answers.push(Answer { subject: open.ack, kind: Kind::Ack });
        }
        let is_releasing = state.is_releasing();
        drop(state);
        self.wake();
        if is_releasing {
            self.nudge.notify_one();
        }
    }

    fn retry(&self, token: u64, after: Duration) {
        let mut state = self.state();
        state.hand.retry(token, after, Instant::now());
        state.keep_back();
        let is_releasing = state.is_releasing();
        drop(state);
        self.wake();
        if is_releasing {
            self.nudge.notify_one();
        }
    }

    fn progress(&self, token: u64) {
        self.state().hand.progress(token, Instant::now());
    }
}
