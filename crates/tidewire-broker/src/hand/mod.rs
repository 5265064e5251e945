//! What the members of a group have in hand in this process: the state of deliveries between the server and the
//! handlers. Pure: no I/O, no clock, no lock.
//!
//! Entries come in as the server gives them, in order per key, and stand in the *line* of their key. Of a line the
//! front part may be in the hands of one member; what follows goes to that member only, until its hands are empty.
//! What comes back unacknowledged holds back all that follows on its key, and nothing else.

mod line;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tidewire_core::{Envelope, Key};
use tokio::time::Instant;

use self::line::Line;

/// How many entries may stand in lines that do not move (a retry is awaited, or a member has the key in hand).
/// Beyond them reading on would only collect more of the same.
const MAX_HELD: usize = 10_000;
/// How many bytes of entries may be here. One entry may exceed it.
const MAX_BYTES: usize = 32 << 20;
/// The longest delay of a retry. Longer ones are cut to it.
const MAX_RETRY: Duration = Duration::from_secs(24 * 60 * 60);

/// An entry that is not acknowledged.
struct Entry<P> {
    place: P,
    envelope: Arc<Envelope>,
    bytes: usize,
    /// How often it was handed out and came back.
    attempts: u32,
    /// Not to be handed out before.
    due: Option<Instant>,
    /// With whom it is, and until when it may be.
    holder: Option<(u64, Instant)>,
}

/// What one member is to be handed.
pub(crate) struct Handout {
    /// Names this handing out: what it is answered under.
    pub token: u64,
    /// How often the event was handed out, this time included.
    pub attempt: u32,
    /// The event.
    pub envelope: Arc<Envelope>,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Taken and not acknowledged.
    pub entries: usize,
    /// Of these, handed out.
    pub in_hand: usize,
    /// Of these, waiting for their retry.
    pub retrying: usize,
}

/// The state. `P` says where an entry lies on the server.
pub(crate) struct Hand<P> {
    max_in_flight: usize,
    ack_wait: Duration,
    /// By the order in which they were taken.
    entries: BTreeMap<u64, Entry<P>>,
    lines: HashMap<Key, Line>,
    /// The next of every line that is in nobody's hands.
    shared: BTreeSet<u64>,
    /// The next of every line that is in a member's hands: (member, entry).
    own: BTreeSet<(u64, u64)>,
    deadlines: BTreeSet<(Instant, u64)>,
    dues: BTreeSet<(Instant, u64)>,
    retrying: usize,
    /// Entries that anybody could be handed now or right after those before them.
    ready: usize,
    bytes: usize,
    taken: u64,
}

impl<P> Hand<P> {
    /// An empty one. At most `max_in_flight` deliveries are out at once; one that is out for `ack_wait` without
    /// progress is taken for lost and comes again.
    pub(crate) fn new(max_in_flight: usize, ack_wait: Duration) -> Self {
        Self {
            max_in_flight,
            ack_wait,
            entries: BTreeMap::new(),
            lines: HashMap::new(),
            shared: BTreeSet::new(),
            own: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            dues: BTreeSet::new(),
            retrying: 0,
            ready: 0,
            bytes: 0,
            taken: 0,
        }
    }

    /// Other limits from now on; what is out already keeps its deadline.
    pub(crate) fn set_limits(&mut self, max_in_flight: usize, ack_wait: Duration) {
        self.max_in_flight = max_in_flight;
        self.ack_wait = ack_wait;
    }

    /// How many more entries should be taken: so many that every free hand finds something, and one round as much
    /// again. More may be taken where the server has given more.
    pub(crate) fn room(&self) -> usize {
        let held = self.entries.len() - self.ready - self.deadlines.len();
        if held >= MAX_HELD || self.bytes >= MAX_BYTES {
            return 0;
        }
        (2 * self.max_in_flight).saturating_sub(self.ready + self.deadlines.len())
    }

    /// Takes an entry, after every earlier one of its key. `attempt` is what its first handing out will say: more
    /// than 1 when it may have been handed out before.
    pub(crate) fn take(&mut self, place: P, envelope: Arc<Envelope>, attempt: u32, bytes: usize) {
        let seq = self.taken;
        self.taken += 1;
        let key = envelope.key.clone();
        self.bytes += bytes;
        let attempts = attempt.saturating_sub(1);
        self.entries.insert(seq, Entry { place, envelope, bytes, attempts, due: None, holder: None });
        self.lines.entry(key.clone()).or_default().queue.push_back(seq);
        self.settle(&key);
    }

    /// Hands `member` the oldest entries it may have: at most `events` and about `bytes`, at least one if there is
    /// one.
    pub(crate) fn next(&mut self, member: u64, events: usize, bytes: usize, now: Instant) -> Vec<Handout> {
        self.expire(now);
        let (mut out, mut sum) = (Vec::new(), 0_usize);
        let deadline = now + self.ack_wait;
        while out.len() < events.max(1) && self.deadlines.len() < self.max_in_flight {
            let own = self.own.range((member, 0)..=(member, u64::MAX)).next().map(|(_, seq)| *seq);
            let Some(seq) = own.into_iter().chain(self.shared.first().copied()).min() else { break };
            let Some(entry) = self.entries.get_mut(&seq) else { break };
            if !out.is_empty() && sum.saturating_add(entry.bytes) > bytes {
                break;
            }
            sum = sum.saturating_add(entry.bytes);
            entry.holder = Some((member, deadline));
            self.deadlines.insert((deadline, seq));
            let envelope = entry.envelope.clone();
            let key = envelope.key.clone();
            out.push(Handout {
                token: token(seq, entry.attempts),
                attempt: entry.attempts.saturating_add(1),
                envelope,
            });
            if let Some(line) = self.lines.get_mut(&key) {
                line.in_hand += 1;
                line.holder = member;
            }
            self.settle(&key);
        }
        out
    }

    /// The entry behind a token, if it is still in the hands it was given to.
    fn held(&self, answered: u64) -> Option<u64> {
        let seq = answered >> 16;
        let entry = self.entries.get(&seq)?;
        (entry.holder.is_some() && token(seq, entry.attempts) == answered).then_some(seq)
    }

    /// Where the entry lies that was handed out under `token`, as long as it is out.
    pub(crate) fn place(&self, token: u64) -> Option<&P> {
        self.held(token).and_then(|seq| self.entries.get(&seq)).map(|entry| &entry.place)
    }

    /// Done with: where it lies. `None` for an answer that comes too late: the entry was taken for lost, or revoked.
    pub(crate) fn ack(&mut self, token: u64) -> Option<P> {
        let seq = self.held(token)?;
        self.remove(seq)
    }

    /// Not now: comes again after `after`, and all that follows on its key after it. Whether it was still out.
    pub(crate) fn retry(&mut self, token: u64, after: Duration, now: Instant) -> bool {
        let Some(seq) = self.held(token) else { return false };
        self.hand_back(seq, after.min(MAX_RETRY), now);
        true
    }

    /// Still at work: its time starts anew. Whether it was still out.
    pub(crate) fn progress(&mut self, token: u64, now: Instant) -> bool {
        let Some(seq) = self.held(token) else { return false };
        let extended = now + self.ack_wait;
        if let Some((_, deadline)) = self.entries.get_mut(&seq).and_then(|entry| entry.holder.as_mut()) {
            self.deadlines.remove(&(*deadline, seq));
            self.deadlines.insert((extended, seq));
            *deadline = extended;
        }
        true
    }

    /// A member is gone: everything it had comes back, in order.
    pub(crate) fn leave(&mut self, member: u64, now: Instant) {
        for seq in self.find(|entry| entry.holder.is_some_and(|(holder, _)| holder == member)) {
            self.hand_back(seq, Duration::ZERO, now);
        }
    }

    /// When time alone will change something.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let first = |set: &BTreeSet<(Instant, u64)>| set.first().map(|(at, _)| *at);
        first(&self.deadlines).into_iter().chain(first(&self.dues)).min()
    }

    /// Does what time brings: deliveries that were out too long come back, retries that are due may go out.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some(&(deadline, seq)) = self.deadlines.first()
            && deadline <= now
        {
            self.hand_back(seq, Duration::ZERO, now);
        }
        while let Some(&(due, seq)) = self.dues.first()
            && due <= now
        {
            self.dues.pop_first();
            let Some(entry) = self.entries.get_mut(&seq) else { continue };
            self.retrying -= usize::from(entry.due.take().is_some());
            let key = entry.envelope.key.clone();
            self.settle(&key);
        }
    }

    /// Takes out what matches and is in nobody's hands; where it lies.
    pub(crate) fn discard(&mut self, unwanted: impl Fn(&P, &Envelope) -> bool) -> Vec<P> {
        let found = self.find(|entry| entry.holder.is_none() && unwanted(&entry.place, &entry.envelope));
        found.into_iter().filter_map(|seq| self.remove(seq)).collect()
    }

    /// The server gave these to somebody else: they are forgotten, and answers to them fall flat.
    pub(crate) fn revoke(&mut self, lost: impl Fn(&P) -> bool) -> usize {
        let found = self.find(|entry| lost(&entry.place));
        for seq in &found {
            self.remove(*seq);
        }
        found.len()
    }

    /// Every entry that was handed out at least once, as far as is known, and is not acknowledged.
    pub(crate) fn each_handed(&self, mut see: impl FnMut(&P)) {
        let handed = self.entries.values().filter(|entry| entry.attempts > 0 || entry.holder.is_some());
        handed.for_each(|entry| see(&entry.place));
    }

    /// How many of these are in somebody's hands.
    pub(crate) fn in_hand(&self, of: impl Fn(&P) -> bool) -> usize {
        self.deadlines.iter().filter(|(_, seq)| self.entries.get(seq).is_some_and(|entry| of(&entry.place))).count()
    }

    /// Whether somebody could be handed something now.
    pub(crate) fn has_offers(&self) -> bool {
        self.deadlines.len() < self.max_in_flight && (!self.shared.is_empty() || !self.own.is_empty())
    }

    /// How much there is now.
    pub(crate) fn counts(&self) -> Counts {
        Counts { entries: self.entries.len(), in_hand: self.deadlines.len(), retrying: self.retrying }
    }

    fn find(&self, matches: impl Fn(&Entry<P>) -> bool) -> Vec<u64> {
        self.entries.iter().filter(|(_, entry)| matches(entry)).map(|(seq, _)| *seq).collect()
    }

    fn hand_back(&mut self, seq: u64, after: Duration, now: Instant) {
        let Some(entry) = self.entries.get_mut(&seq) else { return };
        let Some((_, deadline)) = entry.holder.take() else { return };
        self.deadlines.remove(&(deadline, seq));
        entry.attempts = entry.attempts.saturating_add(1);
        entry.due = (!after.is_zero()).then(|| now + after);
        self.retrying += usize::from(entry.due.is_some());
        let key = entry.envelope.key.clone();
        if let Some(line) = self.lines.get_mut(&key) {
            line.in_hand -= 1;
            line.recovering = true;
        }
        self.settle(&key);
    }

    /// Takes an entry out for good.
    fn remove(&mut self, seq: u64) -> Option<P> {
        let entry = self.entries.remove(&seq)?;
        self.bytes -= entry.bytes;
        self.retrying -= usize::from(entry.due.is_some());
        if let Some((_, deadline)) = entry.holder {
            self.deadlines.remove(&(deadline, seq));
        }
        if let Some(line) = self.lines.get_mut(&entry.envelope.key) {
            line.in_hand -= usize::from(entry.holder.is_some());
            line.remove(seq);
        }
        self.settle(&entry.envelope.key);
        Some(entry.place)
    }
}

/// Names one handing out of one entry. The attempt in it makes late answers to an earlier one fall flat.
fn token(seq: u64, attempts: u32) -> u64 {
    seq << 16 | u64::from(attempts & 0xffff)
}
