//! What the relay knows about the broker's record, and so notices when the record is another or has lost events.

use serde::{Deserialize, Serialize};
use tidewire_core::Position;
use tidewire_core::broker::Extent;

/// Samples kept: recent ones close together, older ones further apart.
const MAX_SAMPLES: usize = 24;

/// What the relay knows about the broker's record. It is saved with the cursor, so that a loss is noticed also when
/// relay and broker went down together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Witness {
    /// The record that was published to; none before the first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    incarnation: Option<String>,
    /// The record reached at least so far: what it said, and one more for each event it has stored since.
    #[serde(default)]
    stored: u64,
    #[serde(default)]
    samples: Vec<Sample>,
}

/// A moment: everything up to `position` was stored, and the record reached `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sample {
    last: u64,
    position: Position,
}

/// What a look at the record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing is missing.
    Whole,
    /// It has lost its newest events. Everything up to this position is still there.
    Shrunk(Position),
    /// It has lost events, and nobody remembers how it was when it reached only so far; or it is another record.
    Another,
}

impl Witness {
    /// What is known to a shard that was cut anew: the record, and nothing of what was stored for it.
    pub(super) fn of_another_shard(mut self) -> Self {
        self.samples.clear();
        self
    }

    /// Without a record to compare with, nothing can be found missing.
    pub(super) fn knows_a_record(&self) -> bool {
        self.incarnation.is_some()
    }

    /// The record has stored events that it did not hold before.
    pub(super) fn store(&mut self, events: u64) {
        self.stored += events;
    }

    /// Judges the record as it is now, for a relay that has published everything up to `cursor`.
    pub(super) fn judge(&self, now: &Extent, cursor: Position) -> Verdict {
        match &self.incarnation {
            None if cursor > Position(0) && now.last == 0 => Verdict::Another,
            None => Verdict::Whole,
            Some(known) if *known != now.incarnation => Verdict::Another,
            Some(_) if now.last >= self.stored => Verdict::Whole,
            Some(_) => {
                // Some of what was stored since the last look may have been stored after the loss.
                let since = self.samples.last().map_or(0, |sample| self.stored.saturating_sub(sample.last));
                let lowest = now.last.saturating_sub(since);
                let intact = self.samples.iter().rev().find(|sample| sample.last <= lowest);
                intact.map_or(Verdict::Another, |sample| Verdict::Shrunk(sample.position))
            }
        }
    }

    /// Takes the record as it is now for the one it should be: everything up to `cursor` is in it, and so is what was
    /// remembered of moments before that.
    pub(super) fn accept(&mut self, now: &Extent, cursor: Position) {
        if self.incarnation.as_deref() != Some(now.incarnation.as_str()) {
            self.incarnation = Some(now.incarnation.clone());
            self.samples.clear();
        }
        self.stored = now.last;
        self.samples.retain(|sample| sample.position <= cursor);
        // Of two moments at one position the earlier one says more: the record reached less far.
        if self.samples.last().is_none_or(|sample| sample.position < cursor) {
            self.samples.push(Sample { last: now.last, position: cursor });
        }
        if self.samples.len() > MAX_SAMPLES {
            let mut index = 0;
            self.samples.retain(|_| {
                index += 1;
                index > MAX_SAMPLES / 2 || index % 2 == 1
            });
        }
    }

    /// As [`accept`](Self::accept), after everything up to `cursor` was compared with the record: of moments before
    /// that, nothing is known any more.
    pub(super) fn start_over(&mut self, now: &Extent, cursor: Position) {
        self.samples.clear();
        self.accept(now, cursor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(incarnation: &str, last: u64) -> Extent {
        Extent { incarnation: incarnation.into(), last }
    }

    /// Looks at the record after 10, 20, … 100 events, one per position.
    fn watched() -> Witness {
        let mut witness = Witness::default();
        for n in 0..=10 {
            witness.accept(&extent("a", n * 10), Position(n * 10));
        }
        witness
    }

    #[test]
    fn a_record_that_only_grows_is_whole() {
        let mut witness = watched();
        assert_eq!(witness.judge(&extent("a", 100), Position(100)), Verdict::Whole);
        witness.store(5);
        assert_eq!(witness.judge(&extent("a", 105), Position(105)), Verdict::Whole);
        // Others publish as well.
        assert_eq!(witness.judge(&extent("a", 400), Position(105)), Verdict::Whole);
    }

    #[test]
    fn what_was_lost_begins_after_the_newest_moment_that_is_still_true() {
        let mut witness = watched();
        assert_eq!(witness.judge(&extent("a", 73), Position(100)), Verdict::Shrunk(Position(70)));
        assert_eq!(witness.judge(&extent("a", 0), Position(100)), Verdict::Shrunk(Position(0)));
        // 40 were lost at 100, and 60 stored since: it is further than it was, and not as far as it should be.
        witness.store(60);
        assert_eq!(witness.judge(&extent("a", 120), Position(160)), Verdict::Shrunk(Position(60)));
    }

    #[test]
    fn another_record_is_noticed_however_far_it_reaches() {
        assert_eq!(watched().judge(&extent("b", 1_000), Position(100)), Verdict::Another);
        let unknown = Witness::default();
        assert_eq!(
            unknown.judge(&extent("b", 0), Position(7)),
            Verdict::Another,
            "the cursor says that it was not empty"
        );
        assert_eq!(unknown.judge(&extent("b", 0), Position(0)), Verdict::Whole);
        assert_eq!(unknown.judge(&extent("b", 9), Position(7)), Verdict::Whole);
    }

    #[test]
    fn after_a_loss_only_what_is_still_true_is_remembered() {
        let mut witness = watched();
        let lost = extent("a", 55);
        assert_eq!(witness.judge(&lost, Position(100)), Verdict::Shrunk(Position(50)));
        witness.accept(&lost, Position(50));
        assert_eq!(witness.judge(&lost, Position(50)), Verdict::Whole);
        assert_eq!(witness.judge(&extent("a", 45), Position(60)), Verdict::Shrunk(Position(40)));
        // A shard that was cut anew knows the record, and no moment of it.
        assert_eq!(witness.of_another_shard().judge(&extent("a", 45), Position(60)), Verdict::Another);
    }

    #[test]
    fn memory_is_bounded_and_reaches_far_back() {
        let mut witness = Witness::default();
        for n in 0..10_000 {
            witness.accept(&extent("a", n), Position(n));
        }
        assert!(witness.samples.len() <= MAX_SAMPLES);
        assert!(
            matches!(witness.judge(&extent("a", 9_990), Position(9_999)), Verdict::Shrunk(Position(from)) if from >= 9_980)
        );
        assert!(
            matches!(witness.judge(&extent("a", 100), Position(9_999)), Verdict::Shrunk(Position(from)) if from <= 100)
        );
        // What was compared again is where it is now, wherever it was before.
        witness.start_over(&extent("a", 9_999), Position(9_999));
        assert_eq!(witness.judge(&extent("a", 9_990), Position(9_999)), Verdict::Another);
    }
}
