//! The dedupe window: the identities of the newest entries.

use std::collections::{HashSet, VecDeque};

use crate::wire::Mark;

/// The last so many identities. Its memory is bounded by its limit (about 64 bytes each).
pub(super) struct Window {
    known: HashSet<Mark>,
    order: VecDeque<Mark>,
    limit: usize,
}

impl Window {
    /// A window over `newest`, oldest first.
    pub(super) fn new(limit: usize, newest: impl IntoIterator<Item = Mark>) -> Self {
        let mut window = Self { known: HashSet::new(), order: VecDeque::new(), limit };
        for mark in newest {
            window.insert(mark);
        }
        window
    }

    /// Whether the identity is new; if so it is in the window from now on.
    pub(super) fn insert(&mut self, mark: Mark) -> bool {
        if self.limit == 0 {
            return true;
        }
        if !self.known.insert(mark) {
            return false;
        }
        self.order.push_back(mark);
        if self.order.len() > self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }

    /// Whether the identity is in the window.
    pub(super) fn holds(&self, mark: &Mark) -> bool {
        self.known.contains(mark)
    }

    /// Forgets the `count` identities inserted last: they were not stored after all.
    pub(super) fn undo(&mut self, count: usize) {
        for _ in 0..count {
            if let Some(mark) = self.order.pop_back() {
                self.known.remove(&mark);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_newest_only() {
        let mut window = Window::new(2, [[1; 16], [2; 16]]);
        assert!(!window.insert([1; 16]));
        assert!(window.insert([3; 16]));
        assert!(window.insert([1; 16]), "pushed out by the third");
        window.undo(1);
        assert!(window.insert([1; 16]), "undone");
        assert!(Window::new(0, []).insert([1; 16]));
    }
}
