//! Events of the log that the broker has yet to show, a bounded number at a time.

use std::collections::{HashMap, VecDeque};

use tidewire_core::store::Recorded;
use tidewire_core::{Envelope, Position};

use super::fingerprint;

/// Events looked for in one pass over the broker: about 30 MiB of memory.
const MAX_EVENTS: usize = 900_000;
/// How many pages a later window goes back from where the last one was complete: the broker holds events about, and
/// not exactly, in the order of the log.
const MAX_TRAIL: usize = 64;

/// Events of the log that the broker has yet to show.
#[derive(Default)]
pub(super) struct Window {
    events: HashMap<u128, Position>,
}

impl Window {
    pub(super) fn expect(&mut self, recorded: &Recorded) {
        self.events.insert(fingerprint(&recorded.envelope.source, &recorded.envelope.id), recorded.position);
    }

    /// The broker shows this event. Whether it was looked for.
    pub(super) fn found(&mut self, envelope: &Envelope) -> bool {
        self.events.remove(&fingerprint(&envelope.source, &envelope.id)).is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.events.len() >= MAX_EVENTS
    }

    /// What the broker did not show, in the order of the log. The window is empty afterwards.
    pub(super) fn take(&mut self) -> VecDeque<Position> {
        let mut left: Vec<Position> = self.events.drain().map(|(_, position)| position).collect();
        left.sort_unstable();
        left.into()
    }
}

/// Where a pass over the broker is, and where the next one may begin.
#[derive(Default)]
pub(super) struct Pass {
    /// Goes on after this.
    pub(super) cursor: Option<String>,
    /// It began with the first event that the broker holds.
    pub(super) whole: bool,
    /// Events it has seen.
    pub(super) seen: u64,
    trail: VecDeque<Option<String>>,
}

impl Pass {
    pub(super) fn from_start() -> Self {
        Self { whole: true, ..Self::default() }
    }

    /// A pass for the next window: a little before the place where this one was complete.
    pub(super) fn resumed(&self) -> Self {
        match self.trail.front().cloned().flatten() {
            Some(cursor) => Self { cursor: Some(cursor), ..Self::default() },
            None => Self::from_start(),
        }
    }

    pub(super) fn step(&mut self, next: Option<String>, events: usize) {
        self.seen += events as u64;
        self.trail.push_back(std::mem::replace(&mut self.cursor, next));
        if self.trail.len() > MAX_TRAIL {
            self.trail.pop_front();
        }
    }
}
