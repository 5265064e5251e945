//! What is known of the record behind the connection, and whether publishers know it as well.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tidewire_core::Key;

use super::super::unpoisoned;

/// Whether the record is still the one that publishers have published to.
///
/// Whenever that is in *doubt* (the connection was made anew, or nobody took an event) nothing is admitted until
/// somebody has looked at the record since. Where it turns out to be another one, or to have lost its end, the publisher
/// of each bucket is told so by one refusal, however many publishers there are and whoever looked: each has to compare
/// before anything new of its keys is stored.
#[derive(Default)]
pub(in super::super) struct Record {
    standing: Mutex<Standing>,
    takes_runs: AtomicBool,
}

#[derive(Default)]
struct Standing {
    /// Counts the doubts.
    doubts: u64,
    /// The doubt that was dispelled last.
    dispelled: u64,
    incarnation: Option<String>,
    /// Up to where it acknowledged, or was seen to reach.
    reached: u64,
    /// Buckets (a bit each) whose publisher does not know yet that the record is another one.
    untold: u64,
}

impl Record {
    /// From now on somebody must look before anything is published.
    pub(super) fn doubt(&self) {
        unpoisoned(&self.standing).doubts += 1;
    }

    /// Which doubt a look that begins now may dispel.
    pub(in super::super) fn doubts(&self) -> u64 {
        unpoisoned(&self.standing).doubts
    }

    /// Somebody has looked, and began to at this many doubts.
    pub(in super::super) fn looked(&self, doubts: u64, incarnation: &str, last: u64) {
        let mut standing = unpoisoned(&self.standing);
        if standing.incarnation.as_deref() != Some(incarnation) {
            if standing.incarnation.replace(incarnation.to_owned()).is_some() {
                standing.untold = u64::MAX;
            }
            standing.reached = last;
        }
        if doubts != standing.doubts || standing.dispelled == doubts {
            // What others stored meanwhile is not taken for what a run of ours stores.
            standing.reached = standing.reached.max(last);
            return;
        }
        // Since the doubt nothing was published: what was acknowledged before must be there.
        if last < standing.reached {
            standing.untold = u64::MAX;
        }
        standing.reached = last;
        standing.dispelled = doubts;
    }

    /// The record acknowledged an event. Answers how far it was known to reach before.
    pub(super) fn acknowledged(&self, seq: u64) -> u64 {
        let mut standing = unpoisoned(&self.standing);
        let before = standing.reached;
        standing.reached = before.max(seq);
        before
    }

    /// Whether the stream takes runs, as far as is known.
    pub(super) fn takes_runs(&self) -> bool {
        self.takes_runs.load(Ordering::Relaxed)
    }

    /// Somebody saw whether the stream takes runs.
    pub(in super::super) fn note_runs(&self, taken: bool) {
        self.takes_runs.store(taken, Ordering::Relaxed);
    }

    /// Whether events of these keys may be published. After a refusal their publisher knows.
    pub(super) fn admits<'a>(&self, keys: impl Iterator<Item = &'a Key>) -> bool {
        let mut standing = unpoisoned(&self.standing);
        if standing.dispelled != standing.doubts {
            return false;
        }
        if standing.untold == 0 {
            return true;
        }
        let asked = keys.fold(0, |bits, key| bits | 1_u64 << (key.bucket() % 64));
        let is_known = standing.untold & asked == 0;
        standing.untold &= !asked;
        is_known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Record {
        let record = Record::default();
        record.doubt();
        record.looked(record.doubts(), "a", 10);
        record.acknowledged(12);
        record
    }

    fn admits(record: &Record, key: &str) -> bool {
        record.admits([Key::new(key).unwrap()].iter())
    }

    #[test]
    fn nothing_is_admitted_in_doubt() {
        let record = known();
        assert!(admits(&record, "k"));
        let before = record.doubts();
        record.doubt();
        assert!(!admits(&record, "k"));
        record.looked(before, "a", 12);
        assert!(!admits(&record, "k"), "a look that began before the doubt says nothing");
        record.looked(record.doubts(), "a", 12);
        assert!(admits(&record, "k"));
    }

    #[test]
    fn each_publisher_is_told_of_another_record_once() {
        let (one, other) = ("k1", "k2");
        assert_ne!(Key::new(one).unwrap().bucket(), Key::new(other).unwrap().bucket());
        for (incarnation, last) in [("b", 50), ("a", 11)] {
            let record = known();
            record.doubt();
            record.looked(record.doubts(), incarnation, last);
            assert!(!admits(&record, one), "{incarnation}");
            assert!(admits(&record, one));
            assert!(!admits(&record, other), "another relay, which has not looked");
            assert!(admits(&record, other));
        }
        let record = known();
        record.looked(record.doubts(), "b", 50);
        assert!(!admits(&record, one), "made anew behind a connection that held");
    }
}
