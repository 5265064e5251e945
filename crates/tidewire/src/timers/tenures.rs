//! Whose timers this process fires.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tidewire_core::store::Leases;
use tidewire_core::{Fence, StoreError};
use tokio::time::Instant;

/// How long a process that died or stands still keeps others from firing a consumer's timers. They are late by that much
/// at the worst; a shorter one would be lost to a busy disk.
const TTL: Duration = Duration::from_secs(5);
/// Renewed when a third is over, so that two renewals may fail.
const RENEW_AFTER: Duration = Duration::from_secs(TTL.as_secs() / 3);
/// How soon a consumer is looked at again whose timers somebody else fires.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The leases under which one process fires timers, one for each consumer that has any due. A lease is asked for only
/// then: what sleeps costs nobody anything.
pub(super) struct Tenures {
    process: String,
    pub(super) held: HashMap<String, Tenure>,
    pub(super) elsewhere: HashMap<String, Instant>,
}

#[derive(Clone, Copy)]
pub(super) struct Tenure {
    epoch: u64,
    renewed: Instant,
}

fn lease_of(consumer: &str) -> String {
    format!("timers/{consumer}")
}

impl Tenures {
    /// Those of the process called so.
    pub fn new(process: String) -> Self {
        Self { process, held: HashMap::new(), elsewhere: HashMap::new() }
    }

    /// Of these consumers, those whose timers somebody else fires for now are left out.
    pub fn ours(&mut self, consumers: impl Iterator<Item = String>) -> Vec<String> {
        let now = Instant::now();
        self.elsewhere.retain(|_, until| *until > now);
        consumers.filter(|consumer| !self.elsewhere.contains_key(consumer)).collect()
    }

    /// The fences for these consumers, each as far as its lease can be had.
    pub async fn fences(
        &mut self,
        store: &(impl Leases + ?Sized),
        consumers: HashSet<&str>,
    ) -> Result<HashMap<String, Fence>, StoreError> {
        let mut fences = HashMap::new();
        for consumer in consumers {
            let lease = lease_of(consumer);
            let known = self.held.get(consumer).filter(|tenure| tenure.renewed.elapsed() < RENEW_AFTER);
            let epoch = match known {
                Some(tenure) => Some(tenure.epoch),
                None => {
                    let renewed = Instant::now();
                    let epoch = store.lease(&lease, &self.process, TTL).await?;
                    match epoch {
                        Some(epoch) => drop(self.held.insert(consumer.to_owned(), Tenure { epoch, renewed })),
                        None => self.lost(consumer),
                    }
                    epoch
                }
            };
            if let Some(epoch) = epoch {
                fences.insert(consumer.to_owned(), Fence { lease, epoch });
            }
        }
        Ok(fences)
    }

    /// Somebody else fires this consumer's timers now.
    pub fn lost(&mut self, consumer: &str) {
        self.held.remove(consumer);
        self.elsewhere.insert(consumer.to_owned(), Instant::now() + LOOK_AGAIN);
    }

    /// Gives all of them back, so that others need not wait.
    pub async fn release(self, store: &(impl Leases + ?Sized)) {
        for (consumer, tenure) in self.held {
            if let Err(error) = store.release(&lease_of(&consumer), &self.process, tenure.epoch).await {
                tracing::debug!(consumer, %error, "the lease on the timers ends by itself");
            }
        }
    }
}
