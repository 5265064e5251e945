//! The newest entries, in memory: whoever keeps up reads no file and decodes nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use tidewire_core::Envelope;

/// One entry of the log, in memory.
#[derive(Clone)]
pub(super) struct TailEntry {
    pub name: i64,
    pub envelope: Arc<Envelope>,
    pub bytes: usize,
}

/// A gapless run of entries up to the head of the log, bounded in bytes.
pub(super) struct Tail {
    entries: VecDeque<TailEntry>,
    head: u64,
    bytes: usize,
    limit: usize,
}

impl Tail {
    pub(super) fn new(head: u64, limit: usize) -> Self {
        Self { entries: VecDeque::new(), head, bytes: 0, limit }
    }

    /// The last entry of the log.
    pub(super) fn head(&self) -> u64 {
        self.head
    }

    /// The first entry held; one past the head when none is.
    pub(super) fn first(&self) -> u64 {
        self.head + 1 - self.entries.len() as u64
    }

    /// Takes the entry after the head, and drops the oldest beyond the limit.
    pub(super) fn push(&mut self, entry: TailEntry) {
        self.head += 1;
        self.bytes += entry.bytes;
        self.entries.push_back(entry);
        while self.bytes > self.limit {
            match self.entries.pop_front() {
                Some(oldest) => self.bytes -= oldest.bytes,
                None => break,
            }
        }
    }

    pub(super) fn get(&self, seq: u64) -> Option<&TailEntry> {
        let index = seq.checked_sub(self.first())?;
        self.entries.get(usize::try_from(index).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::event;

    #[test]
    fn holds_the_newest_within_its_limit() {
        let mut tail = Tail::new(10, 250);
        assert_eq!((tail.first(), tail.head()), (11, 10));
        for n in 0..5 {
            tail.push(TailEntry { name: n, envelope: Arc::new(event("k", "e")), bytes: 100 });
        }
        assert_eq!((tail.first(), tail.head()), (14, 15));
        assert!(tail.get(13).is_none() && tail.get(16).is_none());
        assert_eq!(tail.get(14).map(|entry| entry.name), Some(3));
    }
}
