//! Lines: the open entries of one key, in order.

use std::collections::VecDeque;

use tidewire_core::Key;
use tokio::time::Instant;

use super::{Scheduler, Stage, State};

/// The open entries of one key, ascending. Unless it is recovering, it is a front part in hand, then what is to be
/// handed out, then what waits.
#[derive(Default)]
pub(super) struct Line {
    pub queue: VecDeque<u64>,
    pub in_hand: usize,
    pub waiting: usize,
    /// Who has the front part, while there is one.
    pub holder: u64,
    /// Something came back while other entries were still in hand: nothing goes out until those came back too.
    pub recovering: bool,
    post: Option<Post>,
}

/// Where the scheduler looks for this line.
enum Post {
    Shared(u64),
    Member(u64, u64),
    Due(Instant, u64),
    Releasable(u64),
}

impl Scheduler {
    /// Puts the line of `key` where it belongs, after anything about it changed.
    pub(super) fn settle(&mut self, key: Option<Key>) {
        let Some(key) = key else { return };
        let Some(line) = self.lines.get_mut(&key) else { return };
        match line.post.take() {
            Some(Post::Shared(seq)) => drop(self.shared.remove(&seq)),
            Some(Post::Member(member, seq)) => {
                if let Some(member) = self.members.get_mut(&member) {
                    member.offers.remove(&seq);
                }
            }
            Some(Post::Due(at, seq)) => drop(self.dues.remove(&(at, seq))),
            Some(Post::Releasable(seq)) => drop(self.releasable.remove(&seq)),
            None => {}
        }
        if line.queue.is_empty() {
            self.lines.remove(&key);
            return;
        }
        line.recovering &= line.in_hand > 0;
        if line.recovering {
            return;
        }
        let Some(&next) = line.queue.get(line.in_hand) else { return };
        let Some(slot) = self.slots.get(&next) else { return };
        line.post = match (&slot.state, slot.due) {
            (State::Ready(_), _) if line.in_hand > 0 => {
                if let Some(member) = self.members.get_mut(&line.holder) {
                    member.offers.insert(next);
                }
                Some(Post::Member(line.holder, next))
            }
            (State::Ready(_), _) => {
                self.shared.insert(next);
                Some(Post::Shared(next))
            }
            (State::Waiting(_), Some(due)) if line.in_hand == 0 => {
                self.dues.insert((due, next));
                Some(Post::Due(due, next))
            }
            (State::Waiting(_), None) if line.in_hand == 0 => {
                self.releasable.insert(next);
                Some(Post::Releasable(next))
            }
            _ => None,
        };
    }

    /// Holds back whatever of the line is in nobody's hands.
    pub(super) fn hold(&mut self, key: &Key) {
        let Some(line) = self.lines.get_mut(key) else { return };
        for seq in &line.queue {
            let Some(slot) = self.slots.get_mut(seq) else { continue };
            let stage = match slot.state {
                State::Wanted => {
                    self.wanted.remove(seq);
                    Stage::Fresh
                }
                State::Ready(_) => {
                    self.ready_bytes -= slot.bytes;
                    Stage::Fresh
                }
                State::Releasing => Stage::Unsure,
                State::InHand { .. } | State::Waiting(_) | State::Damaged => continue,
            };
            slot.state = State::Waiting(stage);
            line.waiting += 1;
            self.waiting += 1;
            self.ledger.fresh += 1;
        }
    }

    /// Lets waiting lines go on, oldest first, as far as there is room.
    pub(super) fn release(&mut self) {
        // One long line must leave room for the others.
        let quota = (self.window / 4).max(1);
        while self.open < self.window
            && let Some(first) = self.releasable.pop_first()
        {
            let Some(key) = self.slots.get(&first).and_then(|slot| slot.key.clone()) else { continue };
            self.release_line(&key, quota);
            self.settle(Some(key));
        }
    }

    fn release_line(&mut self, key: &Key, quota: usize) {
        let Some(line) = self.lines.get_mut(key) else { return };
        for seq in line.queue.iter().take(quota) {
            let Some(slot) = self.slots.get_mut(seq) else { continue };
            let State::Waiting(stage) = slot.state else { break };
            if slot.due.is_some() || stage == Stage::Durable && self.open >= self.window {
                break;
            }
            match stage {
                Stage::Fresh => {
                    slot.state = State::Wanted;
                    self.wanted.insert(*seq);
                    self.ledger.fresh = self.ledger.fresh.saturating_sub(1);
                }
                Stage::Persisting | Stage::Durable | Stage::Unsure => {
                    slot.state = State::Releasing;
                    self.open += usize::from(stage == Stage::Durable);
                    self.ledger.releasing.push(*seq);
                }
            }
            line.waiting -= 1;
            self.waiting -= 1;
        }
    }

    /// Makes room for `member`, who has nothing to do while the group is full of what only others may have: that
    /// goes back to wait.
    pub(in crate::embedded) fn demote(&mut self, member: u64) {
        let more = self.beyond > 0 || !self.releasable.is_empty() || !self.saved.is_empty();
        if self.has_offers_for(member) || self.open < self.window || !more {
            return;
        }
        let crowded: Vec<Key> = (self.lines.iter())
            .filter(|(_, line)| line.in_hand > 0 && line.holder != member)
            .filter(|(_, line)| line.queue.len() > line.in_hand + line.waiting)
            .map(|(key, _)| key.clone())
            .collect();
        for key in crowded {
            self.hold(&key);
            self.settle(Some(key));
        }
    }

    fn has_offers_for(&self, member: u64) -> bool {
        !self.shared.is_empty() || self.members.get(&member).is_some_and(|member| !member.offers.is_empty())
    }
}
