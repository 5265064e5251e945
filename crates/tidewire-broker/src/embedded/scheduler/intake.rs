//! Reading on: what comes in from the tail and from the file.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tidewire_core::Envelope;

use super::super::place::Saved;
use super::super::tail::Tail;
use super::{Filter, MAX_RETRY, MAX_WAITING, Scheduler, Slot, Stage, State};

/// How many bytes of events a group reads ahead of its members.
const MAX_READY_BYTES: usize = 4 << 20;
/// How many entries are fetched from the file at once.
const MAX_FETCH: usize = 256;

/// What must be read from the file for the group to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::embedded) enum Fetch {
    /// These entries.
    These(Vec<u64>),
    /// Up to so many entries after the cursor that the filter wants.
    After { cursor: u64, limit: usize, filter: Filter },
}

/// An entry read from the file.
pub(in crate::embedded) struct Read {
    pub seq: u64,
    pub name: i64,
    pub bytes: usize,
    pub envelope: Result<Arc<Envelope>, String>,
}

impl Scheduler {
    pub(super) fn read_tail(&mut self, tail: &Tail) {
        let held: Vec<u64> = self.wanted.range(tail.first()..).copied().collect();
        for seq in held {
            if let Some(entry) = tail.get(seq) {
                self.fetched(seq, entry.bytes, entry.envelope.clone());
            }
        }
        if !self.saved.is_empty() || self.fetching {
            return;
        }
        while self.has_room()
            && let Some(entry) = tail.get(self.cursor + 1)
        {
            self.cursor += 1;
            self.ledger.moved = true;
            if self.filter.wants(entry.name) {
                self.beyond = self.beyond.saturating_sub(1);
                self.admit(self.cursor, entry.name, entry.bytes, entry.envelope.clone(), None);
            }
        }
    }

    fn has_room(&self) -> bool {
        self.open < self.window && self.waiting < MAX_WAITING && self.ready_bytes < MAX_READY_BYTES
    }

    /// What to read from the file now. At most one fetch is under way: the next comes after [`Self::read`].
    pub(in crate::embedded) fn fetch(&mut self, tail: &Tail) -> Option<Fetch> {
        if self.fetching || self.members.is_empty() {
            return None;
        }
        let fetch = self.missing(tail)?;
        self.fetching = true;
        Some(fetch)
    }

    fn missing(&self, tail: &Tail) -> Option<Fetch> {
        if !self.wanted.is_empty() {
            return Some(Fetch::These(self.wanted.iter().take(MAX_FETCH).copied().collect()));
        }
        if !self.saved.is_empty() {
            let mut room = if self.has_room() { self.window - self.open } else { 0 };
            let fits = |&(_, saved): &(&u64, &Saved)| {
                saved.waiting || {
                    let fits = room > 0;
                    room = room.saturating_sub(1);
                    fits
                }
            };
            let these: Vec<u64> = self.saved.iter().take_while(fits).take(MAX_FETCH).map(|(seq, _)| *seq).collect();
            return (!these.is_empty()).then_some(Fetch::These(these));
        }
        let behind = self.cursor < tail.head() && self.cursor + 1 < tail.first();
        (behind && self.has_room()).then(|| Fetch::After {
            cursor: self.cursor,
            limit: (self.window - self.open).min(MAX_FETCH),
            filter: self.filter.clone(),
        })
    }

    /// The answer to a [`Fetch`]: the entries found up to `upto`, ascending. What was asked for by number, lies no
    /// further and was not found is damaged. Returns the damaged ones.
    pub(in crate::embedded) fn read(&mut self, fetch: Fetch, upto: u64, entries: Vec<Read>) -> Vec<(u64, String)> {
        self.fetching = false;
        let mut damaged = Vec::new();
        match fetch {
            Fetch::These(these) => {
                let mut found: HashMap<u64, Read> = entries.into_iter().map(|read| (read.seq, read)).collect();
                let known = |seq: &u64| self.slots.contains_key(seq) || self.saved.contains_key(seq);
                let these: Vec<u64> = these.into_iter().filter(|seq| *seq <= upto && known(seq)).collect();
                for seq in these {
                    let read = found.remove(&seq).unwrap_or_else(|| Read {
                        seq,
                        name: 0,
                        bytes: 0,
                        envelope: Err("it is not there".into()),
                    });
                    damaged.extend(self.read_one(read));
                }
            }
            // The filter changed, or the cursor moved: read again.
            Fetch::After { cursor, filter, .. } if cursor != self.cursor || filter != self.filter => {}
            Fetch::After { .. } => {
                for read in entries {
                    self.beyond = self.beyond.saturating_sub(1);
                    damaged.extend(self.read_one(read));
                }
                self.cursor = upto.max(self.cursor);
                self.ledger.moved = true;
            }
        }
        damaged
    }

    fn read_one(&mut self, read: Read) -> Option<(u64, String)> {
        let Read { seq, name, bytes, envelope } = read;
        let saved = self.saved.remove(&seq);
        match envelope {
            Ok(envelope) if self.slots.contains_key(&seq) => {
                self.fetched(seq, bytes, envelope);
                None
            }
            Ok(_) if saved.is_some() && !self.filter.wants(name) => {
                self.open += 1;
                self.ledger.done += 1;
                None
            }
            Ok(envelope) => {
                self.admit(seq, name, bytes, envelope, saved);
                None
            }
            Err(reason) => {
                self.damage(seq, name);
                Some((seq, reason))
            }
        }
    }

    /// An entry that was to be handed out has its envelope again.
    fn fetched(&mut self, seq: u64, bytes: usize, envelope: Arc<Envelope>) {
        self.wanted.remove(&seq);
        if let Some(slot) = self.slots.get_mut(&seq)
            && matches!(slot.state, State::Wanted)
        {
            slot.state = State::Ready(envelope);
            slot.bytes = bytes;
            self.ready_bytes += bytes;
            let key = slot.key.clone();
            self.settle(key);
        }
    }

    fn admit(&mut self, seq: u64, name: i64, bytes: usize, envelope: Arc<Envelope>, saved: Option<Saved>) {
        let key = envelope.key.clone();
        let line = self.lines.entry(key.clone()).or_default();
        line.queue.push_back(seq);
        let saved = saved.unwrap_or_default();
        let state = if saved.waiting {
            State::Waiting(Stage::Durable)
        } else if line.waiting > 0 {
            State::Waiting(Stage::Fresh)
        } else {
            State::Ready(envelope)
        };
        match &state {
            State::Waiting(stage) => {
                line.waiting += 1;
                self.waiting += 1;
                self.ledger.fresh += usize::from(*stage == Stage::Fresh);
                self.open += usize::from(*stage == Stage::Fresh);
            }
            _ => {
                self.open += 1;
                self.ready_bytes += bytes;
            }
        }
        let due = saved.due.map(|due| self.opened.0 + remaining(due, self.opened.1));
        self.slots.insert(seq, Slot { key: Some(key.clone()), name, bytes, attempts: saved.attempts, due, state });
        self.settle(Some(key));
    }
}

/// How long until a stored time. The wall clock may have been set meanwhile, so no longer than any retry may be.
fn remaining(due: i64, now: DateTime<Utc>) -> Duration {
    Duration::from_millis(u64::try_from(due.saturating_sub(now.timestamp_millis())).unwrap_or(0)).min(MAX_RETRY)
}
