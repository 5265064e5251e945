//! Lines: the entries of one key, in order.

use std::collections::VecDeque;

use tidewire_core::Key;
use tokio::time::Instant;

use super::Hand;

/// The entries of one key, ascending. Unless it is recovering, it is a front part in hand, then what follows.
#[derive(Default)]
pub(super) struct Line {
    pub queue: VecDeque<u64>,
    pub in_hand: usize,
    /// Who has the front part, while there is one.
    pub holder: u64,
    /// Something came back while other entries were still in hand: nothing goes out until those came back too.
    pub recovering: bool,
    /// How many entries it counts as ready.
    ready: usize,
    post: Option<Post>,
}

/// Where this line is found.
enum Post {
    Shared(u64),
    Own(u64, u64),
    Due(Instant, u64),
}

impl Line {
    pub(super) fn remove(&mut self, seq: u64) {
        if self.queue.front() == Some(&seq) {
            self.queue.pop_front();
        } else if let Ok(index) = self.queue.binary_search(&seq) {
            self.queue.remove(index);
        }
    }
}

impl<P> Hand<P> {
    /// Puts the line of `key` where it belongs, after anything about it changed.
    pub(super) fn settle(&mut self, key: &Key) {
        let Some(line) = self.lines.get_mut(key) else { return };
        match line.post.take() {
            Some(Post::Shared(seq)) => drop(self.shared.remove(&seq)),
            Some(Post::Own(member, seq)) => drop(self.own.remove(&(member, seq))),
            Some(Post::Due(at, seq)) => drop(self.dues.remove(&(at, seq))),
            None => {}
        }
        self.ready -= std::mem::take(&mut line.ready);
        if line.queue.is_empty() {
            self.lines.remove(key);
            return;
        }
        line.recovering &= line.in_hand > 0;
        if line.recovering {
            return;
        }
        let Some(&next) = line.queue.get(line.in_hand) else { return };
        let Some(entry) = self.entries.get(&next) else { return };
        line.post = match entry.due {
            None if line.in_hand > 0 => {
                self.own.insert((line.holder, next));
                Some(Post::Own(line.holder, next))
            }
            None => {
                self.shared.insert(next);
                line.ready = line.queue.len();
                self.ready += line.ready;
                Some(Post::Shared(next))
            }
            Some(due) if line.in_hand == 0 => {
                self.dues.insert((due, next));
                Some(Post::Due(due, next))
            }
            // Looked at again when the hand is empty.
            Some(_) => None,
        };
    }
}
