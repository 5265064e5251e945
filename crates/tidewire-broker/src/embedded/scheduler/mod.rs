//! Who is handed what, when: the state of one group, in memory. Pure: no I/O, no clock, no lock.
//!
//! Entries come in by ascending sequence number and stand in the *line* of their key. Of a line, the front
//! part may be in the hands of one member; what follows goes to that member only, until its hands are empty.
//!
//! **What a crash may leave in doubt is bounded.** An entry is *open* while it is neither durably
//! acknowledged nor durably waiting, and at most `window` entries are open. Everything that is not durably
//! waiting is opened in ascending order, so what was running at a crash is among the first `window` entries
//! that the durable state neither acknowledges nor holds back. An entry that durably waits is therefore
//! handed out only after the commit that says it no longer does ([`State::Releasing`]).

mod answer;
mod intake;
mod ledger;
mod line;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tidewire_core::{BrokerError, Envelope, Key};
use tokio::time::Instant;

pub(super) use self::intake::{Fetch, Read};
use self::ledger::Ledger;
pub(super) use self::ledger::{Snapshot, Urgency};
use self::line::Line;
use super::place::{Place, Saved};
use super::tail::Tail;

/// How many entries may stand in the lines of keys that wait, per group. They cost about 200 bytes each, and
/// beyond them reading on would only collect more of the same; until there is room again nothing new is read.
pub(super) const MAX_WAITING: usize = 10_000;
/// The longest delay of a retry. Longer ones are cut to it.
pub(super) const MAX_RETRY: Duration = Duration::from_secs(24 * 60 * 60);

/// How many failures wait to be seen by members; the same ones come again when they are asked for again.
const MAX_ERRORS: usize = 64;

/// What a group wants of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    All,
    Names(HashSet<i64>),
}

impl Filter {
    pub(super) fn wants(&self, name: i64) -> bool {
        match self {
            Self::All => true,
            Self::Names(names) => names.contains(&name),
        }
    }
}

/// Whether a waiting entry is known to the file as waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No: it can be handed out at once.
    Fresh,
    /// A commit that says so is under way.
    Persisting,
    /// Yes. Not open.
    Durable,
    /// Either.
    Unsure,
}

enum State {
    /// To be handed out; its envelope must be fetched first.
    Wanted,
    /// To be handed out.
    Ready(Arc<Envelope>),
    /// With a member, until its deadline.
    InHand { member: u64, deadline: Instant },
    /// Held back in its line.
    Waiting(Stage),
    /// To become `Wanted` by the commit after the next snapshot.
    Releasing,
    /// Cannot be read; to be recorded and then passed over.
    Damaged,
}

/// An entry that was looked at and is not acknowledged.
struct Slot {
    key: Option<Key>,
    name: i64,
    bytes: usize,
    /// How often it was handed out and came back.
    attempts: u32,
    due: Option<Instant>,
    state: State,
}

/// What one member is to be handed: the token, the attempt, the envelope.
pub(super) struct Handout {
    pub token: u64,
    pub attempt: u32,
    pub envelope: Arc<Envelope>,
}

struct Member {
    ack_wait: Duration,
    /// The next of every line that is in this member's hands.
    offers: BTreeSet<u64>,
}

/// The state of one group.
pub(super) struct Scheduler {
    window: usize,
    filter: Filter,
    cursor: u64,
    /// How many entries after the cursor the filter wants.
    beyond: u64,
    /// What the file holds as open and was not yet read since the broker was opened.
    saved: BTreeMap<u64, Saved>,
    /// What the saved due times are relative to.
    opened: (Instant, DateTime<Utc>),
    slots: BTreeMap<u64, Slot>,
    lines: HashMap<Key, Line>,
    members: BTreeMap<u64, Member>,
    /// The next of every line that is in nobody's hands.
    shared: BTreeSet<u64>,
    deadlines: BTreeSet<(Instant, u64)>,
    dues: BTreeSet<(Instant, u64)>,
    /// The first of every line that waits and need not.
    releasable: BTreeSet<u64>,
    wanted: BTreeSet<u64>,
    errors: VecDeque<BrokerError>,
    open: usize,
    waiting: usize,
    ready_bytes: usize,
    ledger: Ledger,
    flight: Option<Ledger>,
    fetching: bool,
    next_member: u64,
}

impl Scheduler {
    /// A group that stands at `place`, with `beyond` entries to come.
    pub(super) fn new(window: usize, filter: Filter, place: Place, beyond: u64, now: (Instant, DateTime<Utc>)) -> Self {
        Self {
            window,
            filter,
            cursor: place.cursor,
            beyond,
            saved: place.open.into_iter().collect(),
            opened: now,
            slots: BTreeMap::new(),
            lines: HashMap::new(),
            members: BTreeMap::new(),
            shared: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            dues: BTreeSet::new(),
            releasable: BTreeSet::new(),
            wanted: BTreeSet::new(),
            errors: VecDeque::new(),
            open: 0,
            waiting: 0,
            ready_bytes: 0,
            ledger: Ledger::default(),
            flight: None,
            fetching: false,
            next_member: 0,
        }
    }

    /// A new member.
    pub(super) fn join(&mut self, window: usize, ack_wait: Duration) -> u64 {
        self.window = window;
        self.next_member += 1;
        self.members.insert(self.next_member, Member { ack_wait, offers: BTreeSet::new() });
        self.next_member
    }

    pub(super) fn members(&self) -> usize {
        self.members.len()
    }

    /// How many entries are open.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// So many entries of `name` were appended to the log.
    pub(super) fn appended(&mut self, name: i64, count: u64) -> bool {
        let wants = self.filter.wants(name);
        if wants {
            self.beyond += count;
        }
        wants
    }

    /// Wants other names from now on; `beyond` is their count after the cursor. What is not wanted any more and in
    /// nobody's hands is done with.
    pub(super) fn refilter(&mut self, filter: Filter, beyond: u64) {
        self.filter = filter;
        self.beyond = beyond;
        let unwanted: Vec<u64> = (self.slots.iter())
            .filter(|(_, slot)| {
                !self.filter.wants(slot.name) && !matches!(slot.state, State::InHand { .. } | State::Damaged)
            })
            .map(|(seq, _)| *seq)
            .collect();
        for seq in unwanted {
            self.discard(seq);
        }
    }

    pub(super) fn filter(&self) -> &Filter {
        &self.filter
    }

    pub(super) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Whether the group still needs the entry.
    pub(super) fn needs(&self, seq: u64) -> bool {
        seq > self.cursor || self.slots.contains_key(&seq) || self.saved.contains_key(&seq)
    }

    /// Does all that time and room allow: expired deliveries come back, waiting lines are released, and what the
    /// tail holds is read.
    pub(super) fn pump(&mut self, tail: &Tail, now: Instant) {
        self.expire(now);
        while let Some(&(due, seq)) = self.dues.first()
            && due <= now
        {
            self.dues.pop_first();
            if let Some(slot) = self.slots.get_mut(&seq) {
                slot.due = None;
                let key = slot.key.clone();
                self.settle(key);
            }
        }
        self.release();
        self.read_tail(tail);
    }

    /// Hands `member` the oldest entries it may have.
    pub(super) fn take(&mut self, member: u64, events: usize, bytes: usize, now: Instant) -> Vec<Handout> {
        let mut out = Vec::new();
        let mut taken = 0;
        while out.len() < events.max(1) {
            let Some(seat) = self.members.get(&member) else { break };
            let oldest = match (seat.offers.first(), self.shared.first()) {
                (Some(own), Some(shared)) => own.min(shared),
                (own, shared) => match own.or(shared) {
                    Some(seq) => seq,
                    None => break,
                },
            };
            let (seq, deadline) = (*oldest, now + seat.ack_wait);
            let Some(slot) = self.slots.get_mut(&seq) else { break };
            if !out.is_empty() && taken + slot.bytes > bytes {
                break;
            }
            let State::Ready(envelope) = std::mem::replace(&mut slot.state, State::InHand { member, deadline }) else {
                break;
            };
            taken += slot.bytes;
            self.ready_bytes -= slot.bytes;
            self.deadlines.insert((deadline, seq));
            out.push(Handout { token: token(seq, slot.attempts), attempt: slot.attempts.saturating_add(1), envelope });
            let key = slot.key.clone();
            if let Some(line) = key.as_ref().and_then(|key| self.lines.get_mut(key)) {
                line.in_hand += 1;
                line.holder = member;
            }
            self.settle(key);
        }
        out
    }

    /// Whether somebody could be handed something now.
    pub(super) fn has_offers(&self) -> bool {
        !self.shared.is_empty() || self.members.values().any(|member| !member.offers.is_empty())
    }

    /// When time alone will change something.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        let first = |set: &BTreeSet<(Instant, u64)>| set.first().map(|(at, _)| *at);
        match (first(&self.deadlines), first(&self.dues)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// A failure for one member to see.
    pub(super) fn fail(&mut self, error: BrokerError) {
        // One is enough to be seen; a member that never asks must not collect them.
        if self.errors.len() < MAX_ERRORS {
            self.errors.push_back(error);
        }
    }

    /// A fetch failed. The next look tries again.
    pub(super) fn fetch_failed(&mut self, error: BrokerError) {
        self.fetching = false;
        self.fail(error);
    }

    pub(super) fn take_error(&mut self) -> Option<BrokerError> {
        self.errors.pop_front()
    }

    /// (pending, in flight, retrying), as in [`tidewire_core::broker::Lag`].
    pub(super) fn lag(&self) -> (u64, u64, u64) {
        let pending = (self.slots.len() + self.saved.len()) as u64 + self.beyond;
        let retrying = self.slots.values().filter(|slot| slot.due.is_some()).count()
            + self.saved.values().filter(|saved| saved.due.is_some()).count();
        (pending, self.deadlines.len() as u64, retrying as u64)
    }
}

/// Names one handing out of one entry. The attempt in it makes late answers to an earlier one fall flat.
fn token(seq: u64, attempts: u32) -> u64 {
    seq << 16 | u64::from(attempts & 0xffff)
}
