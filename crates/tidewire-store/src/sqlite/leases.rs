//! The leases port. Time is the store's clock: one process has the store, so its clock is the only one.

use std::time::Duration;

use async_trait::async_trait;
use tidewire_core::StoreError;
use tidewire_core::store::Leases;

use super::op::{Answer, Op};
use super::store::SqliteStore;

#[async_trait]
impl Leases for SqliteStore {
    async fn lease(&self, name: &str, owner: &str, ttl: Duration) -> Result<Option<u64>, StoreError> {
        match self.ask(Op::Lease { name: name.to_owned(), owner: owner.to_owned(), ttl }).await? {
            Answer::Epoch(epoch) => Ok(epoch),
            other => Err(StoreError::Unknown(format!("the writer answered {other:?} to a lease"))),
        }
    }

    async fn release(&self, name: &str, owner: &str, epoch: u64) -> Result<(), StoreError> {
        self.ask(Op::Release { name: name.to_owned(), owner: owner.to_owned(), epoch }).await.map(drop)
    }
}
