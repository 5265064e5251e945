//! The roll of a group: who its members are, which of them reads which slot, and where each slot stands. Pure; kept on
//! the board as one value, so that every change of it is one compare-and-set.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tidewire_core::key::BUCKETS;

/// Parts of a group that are given to members as a whole: at most so many processes share its work. A slot is four
/// neighbouring buckets.
pub(super) const SLOTS: usize = 16;
/// Of a slot so many open events are remembered one by one; beyond, what was acknowledged among them comes again.
/// Keeps the roll below what the board takes.
const MAX_OPEN: usize = 1_024;
const BUCKETS_PER_SLOT: u8 = BUCKETS / SLOTS as u8;

/// The slot of a bucket.
pub(super) fn slot_of(bucket: u8) -> usize {
    usize::from(bucket / BUCKETS_PER_SLOT) % SLOTS
}

/// The buckets of slots, ascending.
pub(super) fn buckets(slots: impl IntoIterator<Item = usize>) -> Vec<u8> {
    let slots: BTreeSet<usize> = slots.into_iter().collect();
    (0..BUCKETS).filter(|bucket| slots.contains(&slot_of(*bucket))).collect()
}

/// Where a slot stands: of what lies below `next` in the stream everything is done but `open`; of the rest nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub next: u64,
    /// When the newest event below it was stored, in nanoseconds since the epoch; 0 where that is not known.
    #[serde(default)]
    pub newest: i64,
    /// Ascending: (sequence, how often it was handed out and came back).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<(u64, u32)>,
    /// Up to here an open event may have been handed out once more than is known.
    #[serde(default)]
    pub doubt: u64,
}

impl Default for Place {
    fn default() -> Self {
        Self { next: 1, newest: 0, open: Vec::new(), doubt: 0 }
    }
}

impl Place {
    /// From where it must be read again.
    pub(super) fn start(&self) -> u64 {
        self.open.first().map_or(self.next, |(seq, _)| *seq).min(self.next).max(1)
    }

    /// Cut to what the board takes, on the safe side.
    pub(super) fn bounded(mut self) -> Self {
        if let Some((seq, _)) = self.open.get(MAX_OPEN) {
            self.doubt = self.doubt.max(self.next.saturating_sub(1));
            self.next = *seq;
            self.open.truncate(MAX_OPEN);
        }
        self
    }

    /// Cut to a stream that ends at `last`: it cannot go on beyond, unless the server lost what was there.
    pub(super) fn within(mut self, last: u64) -> Self {
        if self.next > last.saturating_add(1) {
            tracing::error!(next = self.next, last, code = "broker.corrupt", "the server lost stored events");
            self.next = last + 1;
            self.open.retain(|(seq, _)| *seq <= last);
        }
        self
    }

    /// Where a slot stands whose reader had its place here, and of whose deliveries the server says: up to
    /// `delivered`, and acknowledged without a gap below `floor`.
    pub(super) fn taken_over(&self, floor: u64, delivered: u64) -> Self {
        Self {
            next: self.next.max(floor),
            newest: if floor > self.next { 0 } else { self.newest },
            open: self.open.iter().copied().filter(|(seq, _)| *seq >= floor).collect(),
            doubt: self.doubt.max(delivered),
        }
    }
}

/// One slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Slot {
    /// Which node reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The consumer through which it is, or was last, read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reader: Option<String>,
    /// Its place: as it is when nobody owns it, as it was at the beginning when somebody does.
    pub place: Place,
}

/// The roll.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Roll {
    /// The group's name as it was given.
    pub group: String,
    /// Of which stream the places are.
    pub incarnation: String,
    /// What the group asks for; all when empty.
    pub names: Vec<String>,
    /// Nodes with members, ascending.
    pub members: BTreeSet<String>,
    pub slots: Vec<Slot>,
}

impl Roll {
    /// Of a group that never ran.
    pub(super) fn new(group: &str, incarnation: &str) -> Self {
        Self {
            group: group.to_owned(),
            incarnation: incarnation.to_owned(),
            names: Vec::new(),
            members: BTreeSet::new(),
            slots: vec![Slot::default(); SLOTS],
        }
    }

    /// How many slots a node should have: the same number each, those first in line one more.
    pub(super) fn share(&self, node: &str) -> usize {
        let count = self.members.len();
        match self.members.iter().position(|member| member == node) {
            Some(rank) => SLOTS / count + usize::from(rank < SLOTS % count),
            None => 0,
        }
    }

    /// The slots a node owns.
    pub(super) fn owned(&self, node: &str) -> Vec<usize> {
        self.where_slot(|slot| slot.owner.as_deref() == Some(node))
    }

    /// The slots nobody owns who is a member.
    pub(super) fn vacant(&self) -> Vec<usize> {
        self.where_slot(|slot| slot.owner.as_ref().is_none_or(|owner| !self.members.contains(owner)))
    }

    /// The slots whose events still come, or would, through this consumer.
    pub(super) fn read_by(&self, reader: &str) -> Vec<usize> {
        self.where_slot(|slot| slot.reader.as_deref() == Some(reader))
    }

    /// Every consumer of the group.
    pub(super) fn readers(&self) -> BTreeSet<String> {
        self.slots.iter().filter_map(|slot| slot.reader.clone()).collect()
    }

    fn where_slot(&self, matches: impl Fn(&Slot) -> bool) -> Vec<usize> {
        (0..self.slots.len()).filter(|index| matches(&self.slots[*index])).collect()
    }

    /// Whether it has the shape this build reads.
    pub(super) fn is_whole(&self) -> bool {
        self.slots.len() == SLOTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bucket_is_in_one_slot() {
        let mut all: Vec<u8> = (0..SLOTS).flat_map(|slot| buckets([slot])).collect();
        all.sort_unstable();
        assert_eq!(all, (0..BUCKETS).collect::<Vec<_>>());
        assert_eq!(buckets([1]), [4, 5, 6, 7]);
    }

    #[test]
    fn shares_add_up_and_differ_by_one_at_most() {
        for count in 1..=20 {
            let mut roll = Roll::new("g", "i");
            roll.members = (0..count).map(|n| format!("node-{n:02}")).collect();
            let shares: Vec<usize> = roll.members.iter().map(|member| roll.share(member)).collect();
            assert_eq!(shares.iter().sum::<usize>(), SLOTS, "{shares:?}");
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{shares:?}");
            assert_eq!(roll.share("stranger"), 0);
        }
    }

    #[test]
    fn a_place_taken_over_forgets_nothing_open() {
        let place = Place { next: 100, newest: 7, open: vec![(10, 2), (50, 0)], doubt: 0 };
        assert_eq!(place.start(), 10);
        // Its reader has not come to the first of them.
        assert_eq!(place.taken_over(10, 9), Place { doubt: 9, ..place.clone() });
        // It has acknowledged the first.
        assert_eq!(place.taken_over(11, 60), Place { next: 100, newest: 7, open: vec![(50, 0)], doubt: 60 });
        // It has gone on.
        assert_eq!(place.taken_over(120, 130), Place { next: 120, newest: 0, open: vec![], doubt: 130 });
        assert_eq!(Place::default().start(), 1);
    }

    #[test]
    fn too_much_that_is_open_comes_again_rather_than_not() {
        let place = Place { next: 9_000, newest: 0, open: (1..=2_000).map(|n| (n * 2, 0)).collect(), doubt: 0 };
        let cut = place.clone().bounded();
        assert_eq!((cut.next, cut.open.len(), cut.doubt), (2_050, MAX_OPEN, 8_999));
        assert!(place.open.iter().all(|(seq, _)| *seq >= cut.next || cut.open.iter().any(|(open, _)| open == seq)));
    }
}
