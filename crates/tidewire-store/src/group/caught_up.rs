//! What is known of how far consumers have come.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Who asked for what.
pub(crate) type Asked = (String, Vec<String>);

/// Up to where each consumer is known to have handled or parked everything, so that asking again need not walk
/// the whole log: marks are never taken back. A parked event may be dropped, after which it counts as unhandled;
/// so what is known here holds only until something is taken out of parking.
#[derive(Debug, Default)]
pub(crate) struct CaughtUp(Mutex<HashMap<Asked, (u64, u64)>>);

/// More questions than there are consumers: beyond it, old answers are forgotten.
const QUESTIONS_REMEMBERED: usize = 1_024;

impl CaughtUp {
    /// Up to where; `unparked` says how often something was taken out of parking by now.
    pub(crate) fn get(&self, asked: &Asked, unparked: u64) -> u64 {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(asked).filter(|(_, at)| *at == unparked).map_or(0, |(position, _)| *position)
    }

    /// Everything up to `position` was handled or parked, by the count from before it was looked at.
    pub(crate) fn put(&self, asked: &Asked, position: u64, unparked: u64) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= QUESTIONS_REMEMBERED {
            known.clear();
        }
        let entry = known.entry(asked.clone()).or_insert((0, unparked));
        *entry = if entry.1 == unparked { (entry.0.max(position), unparked) } else { (position, unparked) };
    }
}
