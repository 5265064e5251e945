//! Whose turn it is to work on the parked events of a consumer: one operator at a time.

use std::time::{Duration, Instant};

use tidewire_core::Fence;

use super::OperateError;
use crate::consume::ConsumeLoop;
use crate::ports::Ports;

/// How long somebody waits for the turn of somebody else: a few events, not a whole redrive.
const PATIENCE: Duration = Duration::from_secs(5);
/// The wait between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// What a turn lasts beyond the time a handler may take: for the commit, on a slow disk.
const MARGIN: Duration = Duration::from_secs(30);

/// The turn, while it lasts. It ends by itself a while after its holder is gone.
pub(super) struct Turn {
    ports: Ports,
    lease: String,
    owner: String,
    epoch: u64,
    ttl: Duration,
    taken: Instant,
}

impl Turn {
    /// Waits for the turn at `consumer`, whose handler takes at most `longest`. [`OperateError::Busy`] when somebody else
    /// keeps it for more than five seconds.
    pub(super) async fn take(ports: &Ports, consumer: &str, longest: Duration) -> Result<Self, OperateError> {
        let (lease, owner) = (format!("parked/{consumer}"), ports.clock.id().to_string());
        let (ttl, since) = (longest + MARGIN, Instant::now());
        loop {
            if let Some(epoch) = ports.store.lease(&lease, &owner, ttl).await? {
                return Ok(Self { ports: ports.clone(), lease, owner, epoch, ttl, taken: Instant::now() });
            }
            if since.elapsed() > PATIENCE {
                return Err(OperateError::Busy { consumer: consumer.to_owned() });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// To be asked before each event: the turn lasts for another one.
    pub(super) async fn renew(&mut self, consumer: &str) -> Result<(), OperateError> {
        if self.taken.elapsed() < MARGIN / 3 {
            return Ok(());
        }
        match self.ports.store.lease(&self.lease, &self.owner, self.ttl).await? {
            Some(epoch) => {
                (self.epoch, self.taken) = (epoch, Instant::now());
                Ok(())
            }
            None => Err(OperateError::Busy { consumer: consumer.to_owned() }),
        }
    }

    /// What a commit carries that may happen only in this turn.
    pub(super) fn fence(&self) -> Fence {
        Fence { lease: self.lease.clone(), epoch: self.epoch }
    }

    /// Gives the turn to whoever waits.
    pub(super) async fn end(self) {
        // Should that fail, it ends by itself.
        let _ = self.ports.store.release(&self.lease, &self.owner, self.epoch).await;
    }
}

/// The longest that a handler may take.
pub(super) fn longest(runner: &ConsumeLoop) -> Duration {
    runner.consumer.timeout.unwrap_or(runner.options.handler_timeout)
}
