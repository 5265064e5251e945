//! Deciding what only the writer of SQLite is asked for: leases, starts and snapshots travel in its groups.

use bytes::Bytes;
use tidewire_core::{Key, StoreError};

use super::codec::{Any, Cells};
use super::op::{Answer, Op};
use crate::group::nanos;
use crate::group::{Lease, MarkKey};

/// A group being decided.
pub(super) type Plan<'a> = crate::group::Plan<'a, Cells>;
/// Everything a group writes.
pub(super) type Writes<'a> = crate::group::Writes<'a, Cells>;

impl<'a> Plan<'a> {
    /// Decides the next of the group.
    pub(crate) fn decide(&mut self, op: &'a Op) -> Result<Answer, StoreError> {
        match op {
            Op::Commit(prepared) => self.commit(prepared).map(Answer::Committed),
            Op::Lease { name, owner, ttl } => Ok(Answer::Epoch(self.lease(name, owner, *ttl))),
            Op::Release { name, owner, epoch } => {
                self.release(name, owner, *epoch);
                Ok(Answer::Done)
            }
            Op::Start { consumer, marks, error } => Ok(Answer::Starts(self.start(consumer, marks, error.as_deref()))),
            Op::Snapshot { aggregate, key, version, state } => {
                self.snapshot(aggregate, key, *version, state);
                Ok(Answer::Done)
            }
        }
    }

    fn lease(&mut self, name: &'a str, owner: &str, ttl: std::time::Duration) -> Option<u64> {
        let now = nanos(&self.now);
        let expires = now.saturating_add(i64::try_from(ttl.as_nanos()).unwrap_or(i64::MAX));
        let epoch = match self.current_lease(name) {
            None => 1,
            Some(lease) if lease.owner.is_none() || lease.expires <= now => lease.epoch + 1,
            Some(lease) if lease.owner.as_deref() == Some(owner) => lease.epoch,
            Some(_) => return None,
        };
        self.writes.leases.insert(name, Lease { owner: Some(owner.to_owned()), epoch, expires });
        Some(epoch)
    }

    fn release(&mut self, name: &'a str, owner: &str, epoch: u64) {
        let held = |lease: &&Lease| lease.epoch == epoch && lease.owner.as_deref() == Some(owner);
        if let Some(lease) = self.current_lease(name).filter(held) {
            let released = Lease { owner: None, ..lease.clone() };
            self.writes.leases.insert(name, released);
        }
    }

    fn start(&mut self, consumer: &str, marks: &'a [(Any, String)], error: Option<&'a str>) -> Vec<u32> {
        let consumer = self.consumer(consumer);
        let count = |(id, source): &'a (Any, String)| {
            let mark = MarkKey { consumer, id, source };
            let stored = self.known.starts.get(&mark).copied().unwrap_or(0);
            let entry = self.writes.starts.entry(mark).or_insert((stored, None));
            *entry = (entry.0.saturating_add(1), error.or(entry.1));
            entry.0
        };
        marks.iter().map(count).collect()
    }

    fn snapshot(&mut self, aggregate: &'a str, key: &'a Key, version: u64, state: &'a Bytes) {
        let kept = self.writes.snapshots.entry((aggregate, key.as_str())).or_insert((version, state));
        if kept.0 <= version {
            *kept = (version, state);
        }
    }
}
