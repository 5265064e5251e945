//! A group in this process: its members' seats, and what they have in hand.
//!
//! All seats of a group in one process share one member of Kafka's consumer group, whose thread ([`super::reader`]) reads
//! and commits. Between processes Kafka divides the partitions.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use tidewire_core::broker::{Desk, Subscribe};
use tidewire_core::{BrokerError, Delivery, Envelope, Subscription};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::track::Track;
use super::unpoisoned;
use crate::hand::Hand;

/// Where an entry lies: partition and offset.
pub(super) type Place = (i32, i64);

/// One group while it has seats here.
pub(super) struct Group {
    pub name: String,
    state: Mutex<State>,
    /// Something changed that a waiting seat may want.
    changed: Notify,
    /// Something changed that the reader may want.
    moved: Condvar,
    /// The reader is gone.
    ended: Notify,
}

/// What seats and reader share.
pub(super) struct State {
    pub hand: Hand<Place>,
    pub tracks: BTreeMap<i32, Track>,
    pub max_in_flight: usize,
    /// All when empty.
    names: HashSet<String>,
    seats: u32,
    last_seat: u64,
    pub phase: Phase,
    /// The broker was closed.
    closed: bool,
    /// Why it ended, for the seats that are left.
    pub failure: Option<BrokerError>,
}

/// What the group's reader is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// At work.
    Running,
    /// To end, or ending: nobody joins any more.
    Ending,
    /// Gone.
    Ended,
}

impl State {
    pub(super) fn wants(&self, envelope: &Envelope) -> bool {
        self.names.is_empty() || self.names.contains(envelope.ty.name())
    }

    /// Moves what may be handed out into the hand.
    pub(super) fn unstage(&mut self) {
        let Self { hand, tracks, .. } = self;
        for (partition, track) in tracks {
            while let Some((staged, attempt)) = track.unstage() {
                hand.take((*partition, staged.offset), staged.envelope, attempt, staged.bytes);
            }
        }
    }

    /// How many records were read and wait for their limit.
    pub(super) fn staged(&self) -> usize {
        self.tracks.values().map(Track::staged).sum()
    }

    /// How many more may be read.
    pub(super) fn room(&self) -> usize {
        self.hand.room().saturating_sub(self.staged())
    }

    /// Done with an entry.
    fn finish(&mut self, (partition, offset): Place) {
        if let Some(track) = self.tracks.get_mut(&partition) {
            track.finish(offset);
        }
    }

    /// Wants what the last who subscribed wants; what is not wanted any more and in nobody's hands is done with.
    fn put(&mut self, request: &Subscribe) {
        self.max_in_flight = request.max_in_flight;
        self.hand.set_limits(request.max_in_flight, request.ack_wait);
        let names: HashSet<String> = request.names.iter().cloned().collect();
        if names == self.names {
            return;
        }
        self.names = names;
        let names = &self.names;
        let wanted = |envelope: &Envelope| names.is_empty() || names.contains(envelope.ty.name());
        for place in self.hand.discard(|_, envelope| !wanted(envelope)) {
            if let Some(track) = self.tracks.get_mut(&place.0) {
                track.finish(place.1);
            }
        }
        self.tracks.values_mut().for_each(|track| track.unwanted(wanted));
    }

    pub(super) fn seats(&self) -> u32 {
        self.seats
    }
}

impl Group {
    pub(super) fn new(request: &Subscribe) -> Self {
        let mut state = State {
            hand: Hand::new(request.max_in_flight, request.ack_wait),
            tracks: BTreeMap::new(),
            max_in_flight: request.max_in_flight,
            names: HashSet::new(),
            seats: 0,
            last_seat: 0,
            phase: Phase::Running,
            closed: false,
            failure: None,
        };
        state.put(request);
        let (changed, moved, ended) = (Notify::new(), Condvar::new(), Notify::new());
        Self { name: request.group.clone(), state: Mutex::new(state), changed, moved, ended }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        unpoisoned(&self.state)
    }

    /// Takes a seat, as long as the group goes on.
    pub(super) fn join(self: &Arc<Self>, request: &Subscribe) -> Option<Seat> {
        let mut state = self.state();
        if state.phase != Phase::Running {
            return None;
        }
        state.put(request);
        state.seats += 1;
        state.last_seat += 1;
        Some(Seat { counter: Arc::new(Counter { group: self.clone() }), member: state.last_seat })
    }

    /// Changes the state, then tells whoever must know.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let result = change(&mut state);
        let offers = state.hand.has_offers();
        drop(state);
        if offers {
            self.changed.notify_waiters();
        }
        self.moved.notify_one();
        result
    }

    /// The seats must look again.
    pub(super) fn tell_seats(&self) {
        self.changed.notify_waiters();
    }

    /// For the reader: waits until something changed, no longer than `patience`.
    pub(super) fn wait<'a>(&self, state: MutexGuard<'a, State>, patience: Duration) -> MutexGuard<'a, State> {
        match self.moved.wait_timeout(state, patience) {
            Ok((state, _)) => state,
            Err(poisoned) => poisoned.into_inner().0,
        }
    }

    /// Ends it, whoever has a seat.
    pub(super) fn end(&self, closed: bool) {
        let mut state = self.state();
        state.closed |= closed;
        if state.phase == Phase::Running {
            state.phase = Phase::Ending;
        }
        drop(state);
        self.moved.notify_one();
        self.changed.notify_waiters();
    }

    /// The reader is gone.
    pub(super) fn ended(&self) {
        self.state().phase = Phase::Ended;
        self.ended.notify_waiters();
        self.changed.notify_waiters();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state().phase == Phase::Ended
    }

    /// Waits until the reader is gone.
    pub(super) async fn until_ended(&self) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.state().phase == Phase::Ended {
                return;
            }
            ended.await;
        }
    }
}

/// A group as deliveries see it.
struct Counter {
    group: Arc<Group>,
}

impl Desk for Counter {
    fn ack(&self, token: u64) {
        self.group.change(|state| {
            if let Some(place) = state.hand.ack(token) {
                state.finish(place);
            }
        });
    }

    fn retry(&self, token: u64, after: Duration) {
        self.group.change(|state| state.hand.retry(token, after, Instant::now()));
        // Whoever sleeps until something else is due must look again.
        self.group.tell_seats();
    }

    fn progress(&self, token: u64) {
        self.group.state().hand.progress(token, Instant::now());
    }
}

/// A member's seat.
pub(super) struct Seat {
    counter: Arc<Counter>,
    member: u64,
}

impl Seat {
    /// What there is for this member now, and until when to wait if there is nothing.
    fn look(&self, events: usize, bytes: usize) -> Result<Result<Vec<Delivery>, Option<Instant>>, BrokerError> {
        let mut state = self.counter.group.state();
        if state.closed {
            return Err(BrokerError::Closed);
        }
        if state.phase != Phase::Running {
            let ended = || BrokerError::Unavailable("the group's reader ended".into());
            return Err(state.failure.clone().unwrap_or_else(ended));
        }
        let handouts = state.hand.next(self.member, events, bytes, Instant::now());
        let wakes_at = state.hand.wake_at();
        drop(state);
        if handouts.is_empty() {
            return Ok(Err(wakes_at));
        }
        let desk: Arc<dyn Desk> = self.counter.clone();
        let deliver = |handout: crate::hand::Handout| {
            // A copy stays, to be handed out again.
            Delivery::new(Envelope::clone(&handout.envelope), handout.attempt, handout.token, desk.clone())
        };
        Ok(Ok(handouts.into_iter().map(deliver).collect()))
    }
}

#[async_trait]
impl Subscription for Seat {
    async fn next(&mut self, events: usize, bytes: usize) -> Result<Vec<Delivery>, BrokerError> {
        loop {
            let group = self.counter.group.clone();
            let changed = group.changed.notified();
            tokio::pin!(changed);
            // Before looking, so that nothing that happens in between is missed.
            changed.as_mut().enable();
            match self.look(events, bytes)? {
                Ok(deliveries) => return Ok(deliveries),
                Err(Some(at)) => drop(tokio::time::timeout_at(at, changed).await),
                Err(None) => changed.await,
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let group = &self.counter.group;
        let last = group.change(|state| {
            state.hand.leave(self.member, Instant::now());
            state.seats -= 1;
            state.seats == 0
        });
        if last {
            group.end(false);
        }
        group.tell_seats();
    }
}
