//! Where a group stands in one partition. Pure.
//!
//! ```text
//!        next            position      limit
//!   done   │  done, open    │             │
//!  ────────┴────────────────┴─────────────┴───────► offsets
//! ```
//!
//! What was committed says: everything below `next` is finished, also the ranges named, and **nothing from `limit` on was
//! handed out**. So whoever comes next knows what may have been running when its predecessor was killed: what lies
//! below the limit and is not finished. Records are handed out only below a limit that is committed; it is moved ahead
//! of the reading in time.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::Arc;

use tidewire_core::Envelope;

/// The least a limit is ahead of the reading. What lies in between counts as handed out after a crash.
const MIN_AHEAD: i64 = 64;
/// The longest text with a commit: below the 4,096 bytes that clusters take by default. Ranges beyond it are read again.
const MAX_TEXT: usize = 3_500;
const VERSION: &str = "tw1";

/// A record that was read and is waited with: the limit is not there yet.
pub(super) struct Staged {
    pub offset: i64,
    pub envelope: Arc<Envelope>,
    pub bytes: usize,
}

/// What a commit says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub next: i64,
    pub limit: i64,
    /// Beyond `next`: start (inclusive) and end (exclusive).
    pub done: Vec<(i64, i64)>,
}

impl Mark {
    /// The text that goes with the offset `next`.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{VERSION} {}", self.limit.saturating_sub(self.next).max(0));
        let mut last = self.next;
        for (start, end) in &self.done {
            let length = text.len();
            // Writing to a string cannot fail.
            let _ = write!(text, " {}+{}", start - last, end - start);
            if text.len() > MAX_TEXT {
                text.truncate(length);
                break;
            }
            last = *end;
        }
        text
    }

    /// Reads what was committed. Of somebody else's text only the offset counts, and whatever follows it may have been
    /// handed out: `None`.
    pub(super) fn parse(next: i64, text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        if words.next() != Some(VERSION) {
            return None;
        }
        let limit = next.checked_add(words.next()?.parse().ok()?)?;
        let (mut done, mut last) = (Vec::new(), next);
        for word in words {
            let (gap, length) = word.split_once('+')?;
            let start = last.checked_add(gap.parse().ok().filter(|gap| *gap >= 0)?)?;
            let end = start.checked_add(length.parse().ok().filter(|length| *length > 0)?)?;
            done.push((start, end));
            last = end;
        }
        Some(Self { next, limit, done })
    }
}

/// Where the group stands.
pub(super) struct Track {
    /// Everything below is finished.
    next: i64,
    /// What is finished beyond it, disjoint: start to end.
    done: BTreeMap<i64, i64>,
    /// What is read next.
    position: i64,
    /// Nothing from here on may be handed out.
    limit: i64,
    /// The limit that was last asked for.
    asked: i64,
    /// How far the next limit is put ahead.
    ahead: i64,
    /// What is not finished below was perhaps handed out by an earlier owner.
    doubt: i64,
    staged: VecDeque<Staged>,
    dirty: bool,
}

impl Track {
    /// A partition that was just assigned, whose oldest record is at `low`. A group that was never there begins with it.
    pub(super) fn new(committed: Option<(i64, Option<Mark>)>, low: i64, window: usize) -> Self {
        let window = i64::try_from(window).unwrap_or(i64::MAX);
        let (next, mark) = match committed {
            None => (low, Some(Mark { next: low, limit: low, done: Vec::new() })),
            Some((next, mark)) => (next, mark),
        };
        let (doubt, done) = match mark {
            Some(mark) => (mark.limit, mark.done),
            None => (next.saturating_add(window), Vec::new()),
        };
        let mut track = Self {
            next,
            done: BTreeMap::new(),
            position: next,
            // The doubted may be handed out at once: they count as handed out anyhow.
            limit: doubt,
            asked: doubt,
            ahead: MIN_AHEAD.min(window.max(1)),
            doubt,
            staged: VecDeque::new(),
            dirty: true,
        };
        for (start, end) in done {
            track.finish_range(start, end);
        }
        if low > track.next {
            track.finish_range(track.next, low);
            track.position = track.next;
        }
        track
    }

    /// Where to read from.
    pub(super) fn position(&self) -> i64 {
        self.position
    }

    #[cfg(test)]
    fn next(&self) -> i64 {
        self.next
    }

    /// A record was read. Whether it is new: not one read before, not one that is finished.
    pub(super) fn read(&mut self, offset: i64) -> bool {
        if offset < self.position {
            return false;
        }
        // What lies in between is not there: aborted, compacted, or a marker.
        let finished = self.done.range(..=offset).next_back().is_some_and(|(_, end)| *end > offset);
        if offset > self.position {
            self.finish_range(self.position, offset);
        }
        self.position = offset + 1;
        !finished && offset >= self.next
    }

    /// The records from here to `offset` are gone: read on there.
    pub(super) fn skip_to(&mut self, offset: i64) {
        if offset > self.position {
            self.finish_range(self.position, offset);
            self.position = offset;
        }
    }

    /// Waits with a record until it may be handed out.
    pub(super) fn stage(&mut self, staged: Staged) {
        self.staged.push_back(staged);
    }

    /// The next record that may be handed out, and what its first attempt is.
    pub(super) fn unstage(&mut self) -> Option<(Staged, u32)> {
        let staged = self.staged.pop_front_if(|staged| staged.offset < self.limit)?;
        let attempt = if staged.offset < self.doubt { 2 } else { 1 };
        Some((staged, attempt))
    }

    /// How many records are waited with.
    pub(super) fn staged(&self) -> usize {
        self.staged.len()
    }

    /// Takes out what nobody wants any more.
    pub(super) fn unwanted(&mut self, wanted: impl Fn(&Envelope) -> bool) {
        for staged in std::mem::take(&mut self.staged) {
            if wanted(&staged.envelope) {
                self.staged.push_back(staged);
            } else {
                self.finish(staged.offset);
            }
        }
    }

    pub(super) fn finish(&mut self, offset: i64) {
        self.finish_range(offset, offset + 1);
    }

    fn finish_range(&mut self, start: i64, end: i64) {
        let (mut start, mut end) = (start.max(self.next), end);
        if start >= end {
            return;
        }
        self.dirty = true;
        // Joins what it touches.
        if let Some((&before, &until)) = self.done.range(..=start).next_back()
            && until >= start
        {
            self.done.remove(&before);
            (start, end) = (before, end.max(until));
        }
        while let Some((&after, &until)) = self.done.range(start..=end).next() {
            self.done.remove(&after);
            end = end.max(until);
        }
        if start <= self.next {
            self.next = end;
            self.position = self.position.max(end);
        } else {
            self.done.insert(start, end);
        }
    }

    /// Whether the limit should be moved now: half of what is ahead is used up.
    pub(super) fn is_short(&self) -> bool {
        self.asked == self.limit && self.position + self.ahead / 2 > self.limit
    }

    /// Whether a commit would say anything new.
    pub(super) fn is_dirty(&self) -> bool {
        self.dirty || self.is_short()
    }

    /// What to commit while it goes on.
    pub(super) fn mark(&mut self, window: usize) -> Mark {
        if self.is_short() {
            if !self.staged.is_empty() {
                // Somebody waited for it: further ahead from now on.
                self.ahead = (self.ahead * 2).min(i64::try_from(window).unwrap_or(i64::MAX).max(1));
            }
            self.asked = self.position.saturating_add(self.ahead);
        }
        self.dirty = false;
        Mark { next: self.next, limit: self.asked.max(self.doubt), done: self.ranges() }
    }

    /// What [`Self::mark`] said is committed, or it is not.
    pub(super) fn marked(&mut self, limit: i64, durable: bool) {
        if durable {
            self.limit = self.limit.max(limit);
        } else {
            self.dirty = true;
        }
        self.asked = self.limit;
    }

    /// What to commit at an orderly end: `handed` is behind the last of the unfinished records that were handed out.
    pub(super) fn last_mark(&self, handed: i64) -> Mark {
        // What was in doubt and did not get its turn still is.
        let doubted = match self.position < self.doubt {
            true => self.doubt,
            false => {
                self.staged.iter().map(|staged| staged.offset + 1).filter(|end| *end <= self.doubt).max().unwrap_or(0)
            }
        };
        Mark { next: self.next, limit: handed.max(doubted).max(self.next), done: self.ranges() }
    }

    fn ranges(&self) -> Vec<(i64, i64)> {
        self.done.iter().map(|(start, end)| (*start, *end)).collect()
    }

    /// How many records are finished beyond what a commit of the offset alone says.
    pub(super) fn done_beyond(mark: &Mark) -> i64 {
        mark.done.iter().map(|(start, end)| end - start).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staged(offset: i64) -> Staged {
        Staged { offset, envelope: Arc::new(crate::conformance::event("a", &offset.to_string())), bytes: 1 }
    }

    /// Reads, and hands out what may be handed out: offset and attempt.
    fn read(track: &mut Track, offsets: std::ops::Range<i64>) -> Vec<(i64, u32)> {
        for offset in offsets {
            if track.read(offset) {
                track.stage(staged(offset));
            }
        }
        std::iter::from_fn(|| track.unstage()).map(|(staged, attempt)| (staged.offset, attempt)).collect()
    }

    fn commit(track: &mut Track) -> Mark {
        let mark = track.mark(100);
        track.marked(mark.limit, true);
        mark
    }

    fn resume(mark: &Mark) -> Track {
        let parsed = Mark::parse(mark.next, &mark.text());
        assert_eq!(parsed.as_ref(), Some(mark));
        Track::new(Some((mark.next, parsed)), 0, 100)
    }

    #[test]
    fn nothing_is_handed_out_beyond_what_is_committed() {
        let mut track = Track::new(None, 10, 100);
        assert_eq!(read(&mut track, 10..13), []);
        assert!(track.is_short());
        let mark = track.mark(100);
        assert_eq!(read(&mut track, 13..14), []);
        track.marked(mark.limit, false);
        assert_eq!(read(&mut track, 14..15), []);
        commit(&mut track);
        assert_eq!(read(&mut track, 15..16), (10..16).map(|offset| (offset, 1)).collect::<Vec<_>>());
        assert!(!track.is_short());
    }

    #[test]
    fn what_may_have_been_running_is_known_afterwards() {
        let mut track = Track::new(None, 0, 100);
        let mark = commit(&mut track);
        let out = read(&mut track, 0..5);
        assert_eq!(out.len(), 5);
        // Killed here: all that was committed is the first mark.
        let mut next = resume(&mark);
        let again = read(&mut next, 0..mark.limit + 3);
        assert!(again[..mark.limit as usize].iter().all(|(_, attempt)| *attempt == 2), "{again:?}");
        commit(&mut next);
        let later: Vec<_> = std::iter::from_fn(|| next.unstage()).map(|(_, attempt)| attempt).collect();
        assert_eq!(later, [1, 1, 1]);
    }

    #[test]
    fn an_orderly_end_leaves_no_doubt() {
        let mut track = Track::new(None, 0, 100);
        commit(&mut track);
        read(&mut track, 0..6);
        [0, 1, 3, 5].into_iter().for_each(|offset| track.finish(offset));
        // 2 was handed out and is not finished, 4 was never handed out.
        let mark = track.last_mark(3);
        assert_eq!(mark, Mark { next: 2, limit: 3, done: vec![(3, 4), (5, 6)] });
        let mut next = resume(&mark);
        assert_eq!(read(&mut next, 2..7), [(2, 2)]);
        commit(&mut next);
        assert_eq!(read(&mut next, 7..8), [(4, 1), (6, 1), (7, 1)]);
    }

    #[test]
    fn doubt_outlives_an_owner_that_did_not_get_to_it() {
        let mark = Mark { next: 0, limit: 3, done: Vec::new() };
        let mut track = resume(&mark);
        assert_eq!(track.last_mark(0), mark);
        for offset in 0..5 {
            assert!(track.read(offset));
            track.stage(staged(offset));
        }
        assert_eq!(track.last_mark(0), mark);
        assert_eq!(track.unstage().map(|(staged, attempt)| (staged.offset, attempt)), Some((0, 2)));
        assert_eq!(track.last_mark(1), mark);
    }

    #[test]
    fn ranges_join() {
        let mut track = Track::new(None, 0, 100);
        commit(&mut track);
        read(&mut track, 0..10);
        for (offset, next, ranges) in [
            (5, 0, vec![(5, 6)]),
            (7, 0, vec![(5, 6), (7, 8)]),
            (6, 0, vec![(5, 8)]),
            (0, 1, vec![(5, 8)]),
            (0, 1, vec![(5, 8)]),
            (4, 1, vec![(4, 8)]),
            (2, 1, vec![(2, 3), (4, 8)]),
            (3, 1, vec![(2, 8)]),
            (1, 8, vec![]),
        ] {
            track.finish(offset);
            assert_eq!((track.next(), track.ranges()), (next, ranges), "after {offset}");
        }
    }

    #[test]
    fn gaps_and_lost_records_are_passed_over() {
        let mut track = Track::new(Some((5, None)), 8, 100);
        assert_eq!((track.next(), track.position()), (8, 8));
        assert!(!track.read(7) && track.read(12));
        assert_eq!(track.next(), 12);
        track.skip_to(20);
        assert_eq!((track.next(), track.position(), track.ranges()), (12, 20, vec![(13, 20)]));
    }

    #[test]
    fn the_text_stays_short_and_what_it_drops_is_only_read_again() {
        let mark = Mark { next: 0, limit: 100_000, done: (0..10_000).map(|n| (n * 2 + 1, n * 2 + 2)).collect() };
        let text = mark.text();
        assert!(text.len() <= MAX_TEXT);
        let parsed = Mark::parse(0, &text).unwrap();
        assert!(parsed.done.len() > 500 && mark.done.starts_with(&parsed.done));
        for bad in ["", "tw2 0", "tw1", "tw1 x", "tw1 5 3", "tw1 5 -1+3", "tw1 5 1+0", "tw1 9223372036854775807 1+1"] {
            assert_eq!(Mark::parse(1, bad), None, "{bad}");
        }
    }

    /// What another program committed says nothing about what was handed out.
    #[test]
    fn a_foreign_commit_leaves_a_window_of_doubt() {
        let mut track = Track::new(Some((5, None)), 0, 3);
        assert_eq!(read(&mut track, 5..8), [(5, 2), (6, 2), (7, 2)]);
    }
}
