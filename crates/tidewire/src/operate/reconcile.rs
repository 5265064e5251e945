//! Comparing log and broker on an operator's request.

use tidewire_core::Position;

use super::{OperateError, Operator};
use crate::reconcile::{Comparison, Reconciled, Scope, Since, Step};

impl Operator {
    /// Compares the log with what the broker holds, and has the relay publish again what is missing: under the same
    /// ids, in order per key. Without `since`, that is what the broker may be expected to hold: events within its
    /// retention, and older ones that a consumer has yet to handle. With `dry_run` it is only counted.
    ///
    /// Where a relay runs, in this process or another, it does the work between two batches, and publishes nothing else
    /// meanwhile; otherwise this takes its lease and does it here. Reads that part of the log and the whole broker,
    /// page by page: long work, and about 30 MiB of memory.
    pub async fn reconcile(&self, since: Option<Since>, dry_run: bool) -> Result<Reconciled, OperateError> {
        let after = match since {
            Some(since) => Some(since.after(self.ports.store.as_ref(), self.ports.clock.now()).await?),
            None => None,
        };
        if dry_run {
            return self.compare(after).await;
        }
        let request = self.ports.clock.id().to_string();
        for relay in self.relays() {
            relay.ask(&request, after).await?;
        }
        let mut all: Option<Reconciled> = None;
        for relay in self.relays() {
            let found = relay.answer(&request).await?;
            let found = found.map_err(|(code, reason)| OperateError::Relay { code, reason })?;
            all = Some(match all {
                Some(all) => all.and(found),
                None => found,
            });
        }
        Ok(all.unwrap_or_default())
    }

    async fn compare(&self, after: Option<Position>) -> Result<Reconciled, OperateError> {
        let mut until: Option<Position> = None;
        for relay in self.relays() {
            let position = relay.position().await?;
            until = Some(until.map_or(position, |until| until.min(position)));
        }
        let until = until.unwrap_or_default();
        let readers = self.readers().await?;
        let scope = match after {
            Some(after) => Scope { after: after.min(until), until, buckets: None, trusts_oldest: false },
            None => {
                let mut scope = Scope::retained(&self.ports, self.retention(), until).await?;
                for reader in &readers {
                    scope.reach_back(&self.ports, reader).await?;
                }
                scope
            }
        };
        let mut comparison = Comparison::new(&self.ports, &readers, self.retention(), scope);
        while !matches!(comparison.step().await?, Step::Done) {}
        Ok(comparison.report().clone())
    }
}
