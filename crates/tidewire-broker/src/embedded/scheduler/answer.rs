//! What comes back from members: acknowledgements, retries, and everything of a member that is lost.

use std::time::Duration;

use tokio::time::Instant;

use super::{MAX_RETRY, Scheduler, Slot, Stage, State, token};

impl Scheduler {
    /// The entry behind a token, if it is still in the hands it was given to.
    fn in_hand(&mut self, answered: u64) -> Option<(u64, &mut Slot)> {
        let seq = answered >> 16;
        let slot = self.slots.get_mut(&seq)?;
        let current = matches!(slot.state, State::InHand { .. }) && token(seq, slot.attempts) == answered;
        current.then_some((seq, slot))
    }

    /// Done with.
    pub(in crate::embedded) fn ack(&mut self, token: u64) {
        if let Some((seq, _)) = self.in_hand(token) {
            self.discard(seq);
        }
    }

    /// Still at work.
    pub(in crate::embedded) fn progress(&mut self, token: u64, now: Instant) {
        let Some((seq, slot)) = self.in_hand(token) else { return };
        let State::InHand { member, deadline } = slot.state else { return };
        let Some(ack_wait) = self.members.get(&member).map(|member| member.ack_wait) else { return };
        let extended = now + ack_wait;
        self.deadlines.remove(&(deadline, seq));
        self.deadlines.insert((extended, seq));
        if let Some(slot) = self.slots.get_mut(&seq) {
            slot.state = State::InHand { member, deadline: extended };
        }
    }

    /// Not now.
    pub(in crate::embedded) fn retry(&mut self, token: u64, after: Duration, now: Instant) {
        if let Some((seq, _)) = self.in_hand(token) {
            self.hand_back(seq, after.min(MAX_RETRY), now);
        }
    }

    /// A member is gone: everything it had comes back, in order.
    pub(in crate::embedded) fn leave(&mut self, member: u64, now: Instant) {
        let had: Vec<u64> = (self.slots.iter())
            .filter(|(_, slot)| matches!(slot.state, State::InHand { member: holder, .. } if holder == member))
            .map(|(seq, _)| *seq)
            .collect();
        for seq in had {
            self.hand_back(seq, Duration::ZERO, now);
        }
        self.members.remove(&member);
    }

    /// Deliveries whose time is up are taken for lost.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(&(deadline, seq)) = self.deadlines.first()
            && deadline <= now
        {
            self.hand_back(seq, Duration::ZERO, now);
        }
    }

    fn hand_back(&mut self, seq: u64, after: Duration, now: Instant) {
        let Some(slot) = self.slots.get_mut(&seq) else { return };
        let State::InHand { deadline, .. } = slot.state else { return };
        let Some(key) = slot.key.clone() else { return };
        let Some(line) = self.lines.get_mut(&key) else { return };
        self.deadlines.remove(&(deadline, seq));
        slot.attempts = slot.attempts.saturating_add(1);
        line.in_hand -= 1;
        line.recovering = true;
        self.ledger.changed = true;
        // Either way it is not handed out again before a commit has counted this attempt.
        if after.is_zero() && line.waiting == 0 {
            slot.state = State::Releasing;
            self.ledger.releasing.push(seq);
        } else {
            slot.due = (!after.is_zero()).then(|| now + after);
            slot.state = State::Waiting(Stage::Unsure);
            line.waiting += 1;
            self.waiting += 1;
            self.ledger.fresh += 1;
            self.hold(&key);
        }
        self.settle(Some(key));
    }

    /// Takes an entry out for good: durable with the next commit.
    pub(super) fn discard(&mut self, seq: u64) {
        let Some(slot) = self.slots.remove(&seq) else { return };
        self.ledger.done += 1;
        let line = slot.key.as_ref().and_then(|key| self.lines.get_mut(key));
        if let Some(line) = line {
            if let Some(index) = line.queue.iter().position(|queued| *queued == seq) {
                line.queue.remove(index);
            }
            match slot.state {
                State::InHand { .. } => line.in_hand -= 1,
                State::Waiting(_) => line.waiting -= 1,
                _ => {}
            }
        }
        match slot.state {
            State::InHand { deadline, .. } => drop(self.deadlines.remove(&(deadline, seq))),
            State::Waiting(stage) => {
                self.waiting -= 1;
                // Counted as open until its end is durable, like every other.
                self.open += usize::from(stage == Stage::Durable);
                self.ledger.fresh -= usize::from(matches!(stage, Stage::Fresh | Stage::Unsure)).min(self.ledger.fresh);
            }
            State::Ready(_) => self.ready_bytes -= slot.bytes,
            State::Wanted => drop(self.wanted.remove(&seq)),
            State::Releasing | State::Damaged => {}
        }
        self.settle(slot.key);
    }

    /// An entry cannot be read. It stays open until that is recorded.
    pub(super) fn damage(&mut self, seq: u64, name: i64) {
        match self.slots.get_mut(&seq) {
            Some(slot) => {
                let key = slot.key.take();
                slot.state = State::Damaged;
                self.wanted.remove(&seq);
                if let Some(line) = key.as_ref().and_then(|key| self.lines.get_mut(key)) {
                    line.queue.retain(|queued| *queued != seq);
                }
                self.settle(key);
            }
            None => {
                self.open += 1;
                let state = State::Damaged;
                self.slots.insert(seq, Slot { key: None, name, bytes: 0, attempts: 0, due: None, state });
            }
        }
    }

    /// The damage is on record: the group passes over the entry.
    pub(in crate::embedded) fn damage_recorded(&mut self, seq: u64) {
        if self.slots.get(&seq).is_some_and(|slot| matches!(slot.state, State::Damaged)) {
            self.discard(seq);
        }
    }
}
