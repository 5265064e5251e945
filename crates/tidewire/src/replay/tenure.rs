//! The right to write a projection's live generation: what a swap takes away from everybody at once.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tidewire_core::handler::{Consumer, Kind};
use tidewire_core::{Fence, Store, StoreError};

/// What the leases that fence projections begin with.
pub(crate) const LEASE_PREFIX: &str = "generation/";
/// Everybody who handles live events has the lease together.
const LIVE: &str = "live";
/// A lease that nobody takes over needs no renewing: commits ask who has it, not for how long.
const LIVE_TTL: Duration = Duration::from_secs(3_600);

/// The name of the lease that fences a projection.
pub(crate) fn lease_of(consumer: &str) -> String {
    format!("{LEASE_PREFIX}{consumer}")
}

/// The fence under which a consume loop commits what a projection asked for. All loops of a consumer, in all
/// processes, share one epoch of its lease. Whoever swaps generations takes the lease over: from then on no commit under
/// that epoch succeeds anywhere, until the swap has happened or was given up and the loops have taken the next one.
pub(crate) struct Tenure {
    lease: String,
    epoch: Mutex<Option<u64>>,
}

impl Tenure {
    /// For consumers whose generations may be swapped: those that keep collections.
    pub fn of(consumer: &Consumer) -> Option<Self> {
        let swaps = consumer.kind == Kind::Projection && !consumer.keeps.is_empty();
        swaps.then(|| Self { lease: lease_of(&consumer.name), epoch: Mutex::default() })
    }

    /// The fence for what is read from now on. [`StoreError::Unavailable`] while generations are being swapped: try
    /// again in a moment.
    pub async fn fence(&self, store: &dyn Store) -> Result<Fence, StoreError> {
        let known = *self.epoch();
        if let Some(epoch) = known {
            return Ok(Fence { lease: self.lease.clone(), epoch });
        }
        let Some(epoch) = store.lease(&self.lease, LIVE, LIVE_TTL).await? else {
            return Err(StoreError::Unavailable(format!("`{}` is being swapped", self.lease)));
        };
        *self.epoch() = Some(epoch);
        Ok(Fence { lease: self.lease.clone(), epoch })
    }

    /// A commit under its fence was refused: the next one needs another epoch.
    pub fn lost(&self) {
        *self.epoch() = None;
    }

    fn epoch(&self) -> std::sync::MutexGuard<'_, Option<u64>> {
        self.epoch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same lease in the hands of whoever swaps: no live event is handled meanwhile.
pub(crate) struct Hold {
    lease: String,
    owner: String,
    pub epoch: u64,
}

/// How long a swap may stand still before live events are handled again without it.
const HOLD_TTL: Duration = Duration::from_secs(15);

impl Hold {
    /// Takes the lease away from the loops. `None`: they took it back at once; try again.
    pub async fn take(store: &dyn Store, consumer: &str, owner: &str) -> Result<Option<Self>, StoreError> {
        let lease = lease_of(consumer);
        // Sharing it for a moment tells under which epoch they have it.
        if let Some(epoch) = store.lease(&lease, LIVE, LIVE_TTL).await? {
            store.release(&lease, LIVE, epoch).await?;
        }
        let epoch = store.lease(&lease, owner, HOLD_TTL).await?;
        Ok(epoch.map(|epoch| Self { lease, owner: owner.to_owned(), epoch }))
    }

    /// Keeps it for longer; [`StoreError::Fenced`] when it was lost.
    pub async fn renew(&self, store: &dyn Store) -> Result<(), StoreError> {
        match store.lease(&self.lease, &self.owner, HOLD_TTL).await? {
            Some(epoch) if epoch == self.epoch => Ok(()),
            _ => Err(StoreError::Fenced { lease: self.lease.clone(), epoch: self.epoch }),
        }
    }

    /// What commits under it carry.
    pub fn fence(&self) -> Fence {
        Fence { lease: self.lease.clone(), epoch: self.epoch }
    }

    /// Gives it back.
    pub async fn release(self, store: &dyn Store) -> Result<(), StoreError> {
        store.release(&self.lease, &self.owner, self.epoch).await
    }
}
