//! What the state of a group does: taking what readers bring, and giving slots away.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tidewire_core::broker::Subscribe;
use tokio::time::Instant;

use super::super::answer::{Answer, Kind};
use super::super::arrival::Arrival;
use super::super::node::Presence;
use super::super::roll::{Place, SLOTS};
use super::{Broken, MAX_BATCH, MIN_IN_FLIGHT, Open, Own, Progress, Releasing, Spot, State, Wish};
use crate::hand::{Counts, Hand};

impl State {
    pub(super) fn new() -> Self {
        Self {
            hand: Hand::new(MIN_IN_FLIGHT, Duration::from_secs(30)),
            open: BTreeMap::new(),
            slots: std::array::from_fn(|_| None),
            readers: HashMap::new(),
            answers: Vec::new(),
            members: HashMap::new(),
            next_member: 0,
            asked_names: None,
            names: BTreeSet::new(),
            broken: BTreeSet::new(),
            denied: None,
            ended: false,
        }
    }

    /// A member comes.
    pub(in crate::jetstream) fn join(&mut self, request: &Subscribe) -> u64 {
        self.next_member += 1;
        let wish = Wish { max_in_flight: request.max_in_flight, ack_wait: request.ack_wait };
        self.members.insert(self.next_member, wish);
        self.asked_names = Some(request.names.clone());
        self.next_member
    }

    /// A member goes: what it had comes back.
    pub(in crate::jetstream) fn leave(&mut self, member: u64) {
        if self.members.remove(&member).is_some() {
            self.hand.leave(member, Instant::now());
            self.keep_back();
        }
    }

    /// Everybody goes.
    pub(in crate::jetstream) fn leave_all(&mut self) {
        let members: Vec<u64> = self.members.keys().copied().collect();
        members.into_iter().for_each(|member| self.leave(member));
    }

    /// This process's part of what may be out in the whole group: as large as its part of the slots.
    pub(in crate::jetstream) fn set_limits(&mut self) {
        let owned = self.slots.iter().flatten().count();
        let wish = self.members.values().max_by_key(|wish| wish.max_in_flight);
        let Some(Wish { max_in_flight, ack_wait }) = wish else { return };
        self.hand.set_limits((max_in_flight * owned / SLOTS).max(MIN_IN_FLIGHT), *ack_wait);
    }

    /// The most that a member here wants to be out at once.
    pub(in crate::jetstream) fn widest(&self) -> usize {
        self.members.values().map(|wish| wish.max_in_flight).max().unwrap_or(0)
    }

    /// How many events a reader should have been asked for.
    pub(in crate::jetstream) fn quota(&self) -> usize {
        match self.hand.room() {
            0 => 0,
            room => (room / self.readers.len().max(1)).clamp(1, MAX_BATCH),
        }
    }

    /// Hands a member its next events.
    pub(in crate::jetstream) fn next(&mut self, member: u64, events: usize, bytes: usize) -> Vec<crate::hand::Handout> {
        let out = self.hand.next(member, events, bytes, Instant::now());
        for handout in &out {
            if let Some(spot) = self.hand.place(handout.token)
                && let Some(open) = self.open.get_mut(&spot.seq)
            {
                open.attempts = handout.attempt;
            }
        }
        // Time may have brought something back that must not go out again.
        self.keep_back();
        out
    }

    pub(super) fn arrive(&mut self, reader: &Arc<str>, arrivals: Vec<Arrival>) -> Result<(), Broken> {
        let now = Instant::now();
        for arrival in arrivals {
            let Some(progress) = self.readers.get_mut(reader) else { return Err(Broken) };
            // One missing, and what follows may be what must wait for it.
            if arrival.delivery != progress.delivered + 1 {
                return Err(Broken);
            }
            progress.delivered += 1;
            let is_old = arrival.seq < progress.next && arrival.stored <= progress.newest;
            let was_old = arrival.seq < progress.next && !is_old;
            progress.newest = progress.newest.max(arrival.stored);
            if was_old || self.is_of_another_past(reader, &arrival) {
                self.rewind(reader, arrival.seq);
            }
            if let Some(progress) = self.readers.get_mut(reader) {
                progress.next = progress.next.max(arrival.seq + 1);
            }
            self.arrive_one(reader, arrival, !is_old, now);
        }
        Ok(())
    }

    /// Whether this lies where everything was done before, and yet was stored later than all of that.
    fn is_of_another_past(&self, reader: &Arc<str>, arrival: &Arrival) -> bool {
        let own = self.slots[arrival.slot].as_ref().filter(|own| own.reader == *reader);
        own.is_some_and(|own| arrival.seq < own.below && own.newest > 0 && arrival.stored > own.newest)
    }

    /// The server lost the end of the stream and stored other events in its place: from `seq` on nothing is known of
    /// what this reader reads. What is here of that has either gone, or comes again right after.
    fn rewind(&mut self, reader: &Arc<str>, seq: u64) {
        tracing::error!(seq, code = "broker.corrupt", "the server lost stored events and went on in their place");
        let mut slots = [false; SLOTS];
        for (slot, own) in self.slots.iter_mut().enumerate() {
            if let Some(own) = own.as_mut().filter(|own| own.reader == *reader) {
                own.below = own.below.min(seq);
                own.expected.retain(|open, _| *open < seq);
                slots[slot] = true;
            }
        }
        self.hand.revoke(|spot| spot.seq >= seq && slots[spot.slot]);
        self.open.retain(|open_seq, open| *open_seq < seq || !slots[open.slot]);
        if let Some(progress) = self.readers.get_mut(reader) {
            progress.next = progress.next.min(seq);
        }
    }

    fn arrive_one(&mut self, reader: &Arc<str>, arrival: Arrival, is_new: bool, now: Instant) {
        let Arrival { seq, slot, ack, .. } = arrival;
        if let Some(open) = self.open.get_mut(&seq) {
            // It is here already; from now on it is answered here.
            (open.reader, open.ack, open.told) = (reader.clone(), ack, now);
            return;
        }
        let has_members = !self.members.is_empty();
        let done = Answer { subject: ack.clone(), kind: Kind::Ack };
        let own = self.slots[slot].as_mut().filter(|own| own.reader == *reader);
        // What is read by another by now (its place is on the roll) is not ours to hold.
        let Some(own) = own else { return self.answers.push(done) };
        if own.releasing.is_some() {
            // Whoever has the slot next reads it again. While nobody has it, the server counts it as waiting.
            if has_members {
                self.answers.push(done);
            }
            return;
        }
        let expected = own.expected.remove(&seq);
        let is_doubtful = seq <= own.doubt;
        if !is_new || (seq < own.below && expected.is_none()) {
            return self.answers.push(done);
        }
        let envelope = match arrival.envelope {
            Ok(envelope) if self.names.is_empty() || self.names.contains(envelope.ty.name()) => envelope,
            Ok(_) => return self.answers.push(done),
            Err(reason) => {
                tracing::error!(seq, reason, code = "broker.corrupt", "a foreign event in the stream is passed over");
                return self.answers.push(done);
            }
        };
        let earlier = expected.unwrap_or(0) + u32::from(is_doubtful);
        let attempts = earlier.max(arrival.handouts.saturating_sub(1));
        self.open.insert(seq, Open { slot, reader: reader.clone(), ack, attempts, told: now });
        self.hand.take(Spot { seq, slot }, Arc::new(envelope), attempts.saturating_add(1), arrival.size);
    }

    /// The group asks for other names: what is here of others is done with, unless a member has it.
    pub(in crate::jetstream) fn set_names(&mut self, names: &[String]) {
        let names: BTreeSet<String> = names.iter().cloned().collect();
        if names == self.names {
            return;
        }
        self.names = names;
        if self.names.is_empty() {
            return;
        }
        let wanted = &self.names;
        for spot in self.hand.discard(|_, envelope| !wanted.contains(envelope.ty.name())) {
            if let Some(open) = self.open.remove(&spot.seq) {
                self.answers.push(Answer { subject: open.ack, kind: Kind::Ack });
            }
        }
    }

    /// Reads slots through a consumer that is about to be made.
    pub(in crate::jetstream) fn install(&mut self, reader: &Arc<str>, slots: Vec<(usize, Place)>, start: u64) {
        for (slot, place) in slots {
            self.forget(slot);
            let own = Own {
                reader: reader.clone(),
                below: place.next,
                newest: place.newest,
                expected: place.open.into_iter().collect(),
                doubt: place.doubt,
                releasing: None,
            };
            self.slots[slot] = Some(own);
        }
        self.add_reader(reader, start);
        self.set_limits();
    }

    /// Reads what it reads anyway through another consumer; everything in hand stays there.
    pub(in crate::jetstream) fn replace(&mut self, reader: &Arc<str>, slots: &[usize], start: u64) {
        for slot in slots {
            let (next, newest) = (self.next_of(*slot), self.newest_of(*slot));
            if let Some(own) = &mut self.slots[*slot] {
                (own.below, own.newest) = (own.below.max(next), newest);
                own.reader = reader.clone();
            }
        }
        self.add_reader(reader, start);
    }

    fn add_reader(&mut self, reader: &Arc<str>, start: u64) {
        let progress = Progress { running: None, start, filters: Vec::new(), next: 0, newest: 0, delivered: 0 };
        self.readers.insert(reader.clone(), progress);
    }

    /// A slot is no longer ours: what was in hand of it is somebody else's by now.
    pub(in crate::jetstream) fn forget(&mut self, slot: usize) {
        if self.slots[slot].take().is_some() {
            self.hand.revoke(|spot| spot.slot == slot);
            self.open.retain(|_, open| open.slot != slot);
            self.set_limits();
        }
    }

    fn next_of(&self, slot: usize) -> u64 {
        let Some(own) = &self.slots[slot] else { return 1 };
        let read = self.readers.get(&own.reader).map_or(0, |progress| progress.next);
        own.below.max(own.releasing.map_or(read, |releasing| releasing.next))
    }

    /// When the newest event below [`State::next_of`] was stored.
    fn newest_of(&self, slot: usize) -> i64 {
        let Some(own) = &self.slots[slot] else { return 0 };
        let read = self.readers.get(&own.reader).map_or(0, |progress| progress.newest);
        own.releasing.map_or(own.newest.max(read), |releasing| releasing.newest)
    }

    /// Where a slot stands now.
    pub(in crate::jetstream) fn place(&self, slot: usize) -> Place {
        let Some(own) = &self.slots[slot] else { return Place::default() };
        let in_hand = self.open.iter().filter(|(_, open)| open.slot == slot).map(|(seq, open)| (*seq, open.attempts));
        let open: BTreeMap<u64, u32> = own.expected.iter().map(|(seq, n)| (*seq, *n)).chain(in_hand).collect();
        let (next, newest) = (self.next_of(slot), self.newest_of(slot));
        let place = Place { next, newest, open: open.into_iter().collect(), doubt: own.doubt };
        place.bounded()
    }

    /// Begins to give a slot away.
    pub(in crate::jetstream) fn release(&mut self, slot: usize) {
        let Some(own) = &self.slots[slot] else { return };
        if own.releasing.is_some() {
            return;
        }
        let progress = self.readers.get(&own.reader);
        let (next, delivered) = progress.map_or((0, 0), |progress| (progress.next, progress.delivered));
        let newest = self.newest_of(slot);
        if let Some(own) = &mut self.slots[slot] {
            own.releasing = Some(Releasing { since: Instant::now(), next, newest, delivered });
        }
        self.keep_back();
    }

    /// Takes out of the hand what is of slots that are to be given away, unless a member has it. It stays open.
    pub(in crate::jetstream) fn keep_back(&mut self) {
        if self.is_releasing() {
            let slots = &self.slots;
            let is_going = |slot: usize| slots[slot].as_ref().is_some_and(|own| own.releasing.is_some());
            self.hand.discard(|spot, _| is_going(spot.slot));
        }
    }

    /// Whether something is to be given away.
    pub(in crate::jetstream) fn is_releasing(&self) -> bool {
        self.slots.iter().flatten().any(|own| own.releasing.is_some())
    }

    /// The slots that can be given away now: nobody has anything of them, or has had it for longer than `patience`.
    pub(in crate::jetstream) fn released(&self, patience: Duration) -> Vec<usize> {
        let is_free = |slot: &usize| match self.slots[*slot].as_ref().and_then(|own| own.releasing) {
            Some(releasing) => {
                releasing.since.elapsed() > patience || self.hand.in_hand(|spot| spot.slot == *slot) == 0
            }
            None => false,
        };
        (0..SLOTS).filter(is_free).collect()
    }

    /// The server says how far it came for a reader: if all of that has arrived, what lies between was passed over
    /// because nobody asked for it, and need not be looked at again.
    pub(in crate::jetstream) fn passed_over(&mut self, reader: &str, delivered: u64, upto: u64) {
        for own in self.slots.iter_mut().flatten() {
            if let Some(releasing) = &mut own.releasing
                && *own.reader == *reader
                && releasing.delivered == delivered
                && releasing.next < upto + 1
            {
                (releasing.next, releasing.newest) = (upto + 1, 0);
            }
        }
    }

    /// How many events came through a reader and are open.
    pub(in crate::jetstream) fn open_of(&self, reader: &Arc<str>) -> usize {
        self.open.values().filter(|open| open.reader == *reader).count()
    }

    /// Tells the server of everything it did not hear of for `age` that it is still here.
    pub(in crate::jetstream) fn tell(&mut self, age: Duration) {
        let now = Instant::now();
        for open in self.open.values_mut().filter(|open| now - open.told > age) {
            open.told = now;
            self.answers.push(Answer { subject: open.ack.clone(), kind: Kind::Progress });
        }
    }

    /// What others may know.
    pub(in crate::jetstream) fn presence(&self) -> Presence {
        let Counts { in_hand, retrying, .. } = self.hand.counts();
        let members = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        Presence { members, in_flight: in_hand as u64, retrying: retrying as u64 }
    }
}
