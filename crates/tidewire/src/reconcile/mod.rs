//! The reconciler: compares the log with what the broker holds, so that what a broker acknowledged and then lost is
//! found and published again. Comparing is here and only reads; publishing is the [relay](crate::relay)'s alone.

mod comparison;
mod since;
mod unhandled;
mod window;

pub(crate) use comparison::{Absence, Comparison, Scope, Step};
pub use since::{Since, UnknownSince};
pub(crate) use unhandled::unhandled;

use serde::{Deserialize, Serialize};
use tidewire_core::{BrokerError, Position, StoreError};

/// Ids of missing events named in a report; the count goes on beyond.
pub(crate) const MAX_NAMED: usize = 20;

/// What a comparison of the log with the broker found, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciled {
    /// Compared were the events after this position …
    pub after: Position,
    /// … up to this one: what the relay has had acknowledged. Later ones are on their way.
    pub until: Position,
    /// Events of the log in between.
    pub compared: u64,
    /// Of these, on the broker.
    pub present: u64,
    /// Of these, neither there nor expected there: outside the broker's retention, and waited for by nobody.
    pub outside_retention: u64,
    /// Of these, not on the broker, which ought to hold them.
    pub missing: u64,
    /// Of the missing, those that a consumer has yet to handle.
    pub waited_for: u64,
    /// Of the missing, published again.
    pub published: u64,
    /// Published again, and the broker says that it holds them although it did not show them.
    pub recognised: u64,
    /// Refused by the broker for good, such as events larger than it takes now.
    pub refused: u64,
    /// The first of the missing, by id.
    pub first: Vec<String>,
}

impl Reconciled {
    /// With what another shard of the relay found.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.after = self.after.min(other.after);
        self.until = self.until.max(other.until);
        self.compared += other.compared;
        self.present += other.present;
        self.outside_retention += other.outside_retention;
        self.missing += other.missing;
        self.waited_for += other.waited_for;
        self.published += other.published;
        self.recognised += other.recognised;
        self.refused += other.refused;
        self.first.extend(other.first);
        self.first.truncate(MAX_NAMED);
        self
    }
}

/// Why log and broker could not be compared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompareError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// 128 bits of a mark's digest: enough to tell the events of one installation apart, at 16 bytes each.
pub(crate) fn fingerprint(source: &str, id: &str) -> u128 {
    use sha2::{Digest, Sha256};
    let mut digest = Sha256::new();
    digest.update(source.len().to_be_bytes());
    digest.update(source);
    digest.update(id);
    let bytes: [u8; 32] = digest.finalize().into();
    let mut half = [0; 16];
    half.copy_from_slice(&bytes[..16]);
    u128::from_be_bytes(half)
}
