//! The audit: every event of the log, looked for everywhere it must be.

use std::collections::HashMap;

use serde::Serialize;
use tidewire_core::Position;
use tidewire_core::handler::Consumer;
use tidewire_core::store::Recorded;

use super::{OperateError, Operator};
use crate::reconcile::{Absence, Comparison, MAX_NAMED, Scope, Step, unhandled};

/// The most unhandled events counted per consumer.
const MAX_UNHANDLED: usize = 2_000;

/// Every appended event, looked for everywhere it must be.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Audit {
    /// The head of the log when the audit began.
    pub head: Position,
    /// Events in the log up to there; without those that were retired.
    pub appended: u64,
    /// Of these, found on the broker.
    pub published: u64,
    /// Of these, no longer on the broker and waited for by nobody: brokers let go of what is old and acknowledged.
    pub released: u64,
    /// Positions that are missing from the log. Always empty, or the log is damaged.
    pub holes: u64,
    /// Events in the log that the broker ought to hold and does not.
    pub missing_on_broker: u64,
    /// The first of these, by id.
    pub missing: Vec<String>,
    /// Every consumer.
    pub consumers: Vec<AuditedConsumer>,
    /// Events that are neither handled nor parked by a consumer that reads them, holes, and events missing on
    /// the broker: counted once per place they are missing from.
    pub lost: u64,
}

/// One consumer's part of an audit.
#[derive(Clone, Debug, Serialize)]
pub struct AuditedConsumer {
    /// Its name.
    pub name: String,
    /// Events in its inbox.
    pub handled: u64,
    /// Events it has set aside.
    pub parked: u64,
    /// Events it should have handled by now and has not; at most 2,000 are counted.
    pub unhandled: u64,
}

impl Operator {
    /// Looks every event of the log up: on the broker, and in the inbox of every consumer that reads its type.
    /// Ask it once everything has settled; what is still on its way counts as missing.
    ///
    /// Reads the whole log and the whole broker, page by page: long work, and about 30 MiB of memory.
    pub async fn audit(&self) -> Result<Audit, OperateError> {
        let head = self.ports.store.head().await?;
        let first = self.ports.store.info().await?.first;
        let mut audit = Audit { head, ..Audit::default() };
        self.audit_consumers(&mut audit).await?;
        let readers = self.readers().await?;
        let after = Position(first.0.saturating_sub(1));
        let scope = Scope { after, until: head, buckets: None, trusts_oldest: true };
        let mut comparison = Comparison::new(&self.ports, &readers, self.retention(), scope);
        loop {
            match comparison.step().await? {
                Step::Working => {}
                Step::Done => break,
                Step::Absent(absent) => audit.take(absent, &readers),
            }
        }
        audit.appended = comparison.report().compared;
        audit.published = comparison.report().present;
        audit.holes = comparison.holes();
        let unhandled: u64 = audit.consumers.iter().map(|consumer| consumer.unhandled).sum();
        audit.lost = audit.holes + audit.missing_on_broker + unhandled;
        Ok(audit)
    }

    async fn audit_consumers(&self, audit: &mut Audit) -> Result<(), OperateError> {
        let parked: HashMap<String, u64> = self.ports.store.parked_counts().await?.into_iter().collect();
        for consumer in self.readers().await? {
            let store = &self.ports.store;
            let unhandled = unhandled(store.as_ref(), &consumer, audit.head, MAX_UNHANDLED).await?;
            audit.consumers.push(AuditedConsumer {
                handled: store.handled(&consumer.name).await?,
                parked: parked.get(&consumer.name).copied().unwrap_or_default(),
                unhandled: unhandled.len() as u64,
                name: consumer.name,
            });
        }
        Ok(())
    }
}

impl Audit {
    fn take(&mut self, absent: Vec<(Recorded, Absence)>, readers: &[Consumer]) {
        for (recorded, absence) in absent {
            let is_read = || {
                let name = recorded.envelope.ty.name();
                readers.iter().any(|reader| reader.types.iter().any(|ty| ty.name() == name))
            };
            // Handled, so it was there; or so old that it need not be.
            if absence == Absence::Outside || (absence == Absence::Expected && is_read()) {
                self.released += 1;
                continue;
            }
            self.missing_on_broker += 1;
            if self.missing.len() < MAX_NAMED {
                self.missing.push(recorded.envelope.id);
            }
        }
    }
}
