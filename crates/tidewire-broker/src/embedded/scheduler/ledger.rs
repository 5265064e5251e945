//! What the file does not know yet, and how it gets to know it.

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::super::place::{Place, Saved};
use super::{Scheduler, Stage, State};

/// Changes since a snapshot.
#[derive(Default)]
pub(super) struct Ledger {
    /// Entries acknowledged; open until that is durable.
    pub done: usize,
    /// About how many entries began to wait.
    pub fresh: usize,
    /// Entries that no longer wait.
    pub releasing: Vec<u64>,
    /// In a snapshot: the entries it holds as waiting for the first time.
    persisting: Vec<u64>,
    /// An attempt was counted.
    pub changed: bool,
    /// The cursor moved.
    pub moved: bool,
}

/// How soon the group's place must be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::embedded) enum Urgency {
    /// Nothing to write.
    None,
    /// Only the cursor moved: whenever convenient.
    Idle,
    /// Soon, or with whatever is written before.
    Soon,
    /// At once: somebody waits for it.
    Now,
}

/// A group's place as it is to be written.
pub(in crate::embedded) struct Snapshot {
    pub cursor: u64,
    pub beyond: u64,
    pub open: Vec<u8>,
}

impl Scheduler {
    pub(in crate::embedded) fn urgency(&self) -> Urgency {
        let ledger = &self.ledger;
        let waiting = ledger.done + ledger.fresh;
        if !ledger.releasing.is_empty()
            || waiting >= (self.window / 4).max(1)
            || waiting > 0 && self.open >= self.window
        {
            Urgency::Now
        } else if waiting > 0 || ledger.changed {
            Urgency::Soon
        } else if ledger.moved {
            Urgency::Idle
        } else {
            Urgency::None
        }
    }

    /// The place to write, to be followed by [`Self::persisted`]. The last one of an orderly end counts what is in
    /// hand as handed out.
    pub(in crate::embedded) fn snapshot(&mut self, last: bool, now: (Instant, DateTime<Utc>)) -> Snapshot {
        let mut flight = std::mem::take(&mut self.ledger);
        let mut open = Vec::with_capacity(self.slots.len() + self.saved.len());
        for (&seq, slot) in &mut self.slots {
            let in_hand = last && matches!(slot.state, State::InHand { .. });
            if let State::Waiting(stage @ (Stage::Fresh | Stage::Unsure)) = &mut slot.state {
                *stage = Stage::Persisting;
                flight.persisting.push(seq);
            }
            let due = slot.due.map(|due| now.1.timestamp_millis() + due.duration_since(now.0).as_millis() as i64);
            let waiting = matches!(slot.state, State::Waiting(_));
            open.push((seq, Saved { attempts: slot.attempts.saturating_add(u32::from(in_hand)), waiting, due }));
        }
        // What was not read since the start lies between what was, never below it.
        open.extend(self.saved.iter().map(|(seq, saved)| (*seq, *saved)));
        open.sort_unstable_by_key(|(seq, _)| *seq);
        self.flight = Some(flight);
        Snapshot { cursor: self.cursor, beyond: self.beyond, open: Place::encode(open) }
    }

    /// The snapshot is durable, or it is not.
    pub(in crate::embedded) fn persisted(&mut self, durable: bool) {
        let Some(mut flight) = self.flight.take() else { return };
        if !durable {
            for seq in &flight.persisting {
                if let Some(slot) = self.slots.get_mut(seq)
                    && matches!(slot.state, State::Waiting(Stage::Persisting))
                {
                    slot.state = State::Waiting(Stage::Unsure);
                }
            }
            self.ledger.done += flight.done;
            self.ledger.fresh += flight.fresh;
            self.ledger.releasing.append(&mut flight.releasing);
            self.ledger.changed |= flight.changed;
            self.ledger.moved |= flight.moved;
            return;
        }
        self.open -= flight.done.min(self.open);
        for seq in flight.persisting {
            if let Some(slot) = self.slots.get_mut(&seq)
                && matches!(slot.state, State::Waiting(Stage::Persisting))
            {
                slot.state = State::Waiting(Stage::Durable);
                self.open -= 1;
            }
        }
        for seq in flight.releasing {
            if let Some(slot) = self.slots.get_mut(&seq)
                && matches!(slot.state, State::Releasing)
            {
                slot.state = State::Wanted;
                self.wanted.insert(seq);
            }
        }
    }
}
