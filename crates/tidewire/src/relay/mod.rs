//! The relay: reads the log forward from a fenced cursor and publishes to the broker. Nothing else publishes.
//!
//! It also watches the record that it publishes to ([`Broker::extent`](tidewire_core::Broker::extent)). Where the
//! record has lost its newest events, the cursor goes back to the last moment that is still true, and they are
//! published again; where it is another record, log and broker are [compared](crate::reconcile).

mod cursor;
mod request;
mod tenure;
#[cfg(test)]
mod tests;
mod watch;
mod witness;

use std::time::{Duration, Instant};

use tidewire_core::handler::Consumer;
use tidewire_core::key::BUCKETS;
use tidewire_core::{Backoff, Position, StoreError};
use tokio_util::sync::CancellationToken;

use crate::ports::Ports;
use crate::reconcile::Reconciled;
use cursor::Cursor;
use request::Request;
use tenure::{Ended, Tenure};

/// Waits after a failed publish: for ever, while the lease is held. The oldest unpublished event is the alarm.
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));

/// How often it is looked whether an operator's request was answered by whoever relays.
const ANSWER_POLL: Duration = Duration::from_millis(250);

/// How a relay behaves; see `relay.*` in the configuration.
#[derive(Clone, Debug)]
pub struct RelayOptions {
    /// Which of how many equal ranges of buckets: (index, count). Several relays share the work so.
    pub shard: (u8, u8),
    /// Events per publish.
    pub batch: usize,
    /// How long the lease lasts without renewal.
    pub lease_ttl: Duration,
    /// How often it is renewed; at least three times within its life, whatever is asked for.
    pub lease_renew: Duration,
    /// How long the broker keeps events: what is older is not expected there. Default 7 days.
    pub retention: Duration,
    /// Who reads: what one of them has yet to handle is expected on the broker however old it is.
    pub readers: Vec<Consumer>,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            shard: (0, 1),
            batch: 512,
            lease_ttl: Duration::from_secs(15),
            lease_renew: Duration::from_secs(5),
            retention: Duration::from_secs(7 * 24 * 60 * 60),
            readers: Vec::new(),
        }
    }
}

/// One relay: the only publisher of its buckets while it holds their lease.
///
/// Order: per key, since a key is in one bucket and the log is read forward. Duplicates: after a crash or a
/// takeover the events after the cursor are published again; the broker and the inbox know them.
///
/// What a broker acknowledged and then lost is published again under its own id. Consumers that have handled it drop
/// it; one that has not gets it late, possibly after newer events of its key, which its `sequence` shows.
pub struct Relay {
    ports: Ports,
    options: RelayOptions,
    owner: String,
}

impl Relay {
    /// A relay for one shard.
    pub fn new(ports: &Ports, options: RelayOptions) -> Self {
        let owner = ports.clock.id().to_string();
        Self { ports: ports.clone(), options, owner }
    }

    fn lease_name(&self) -> String {
        format!("relay/{}", self.shard())
    }

    /// The shard as cursors and requests are filed under it.
    pub(crate) fn shard(&self) -> String {
        format!("{}of{}", self.options.shard.0, self.options.shard.1)
    }

    fn buckets(&self) -> Option<(u8, u8)> {
        let (index, count) = (u16::from(self.options.shard.0), u16::from(self.options.shard.1.max(1)));
        let all = u16::from(BUCKETS);
        let (first, end) = (index * all / count, (index + 1) * all / count);
        let clamp = |n: u16| u8::try_from(n).unwrap_or(BUCKETS - 1);
        (count > 1).then(|| (clamp(first), clamp(end.saturating_sub(1))))
    }

    /// Runs until `stop`: takes the lease whenever it can be had, publishes while it holds it.
    pub async fn run(self, stop: CancellationToken) {
        let name = self.lease_name();
        while !stop.is_cancelled() {
            match self.ports.store.lease(&name, &self.owner, self.options.lease_ttl).await {
                Ok(Some(epoch)) => {
                    tracing::info!(lease = name, epoch, "relaying");
                    let asked = Instant::now();
                    if let Ended::Lost(error) = self.tenure(epoch, asked, &stop, false).await {
                        tracing::warn!(lease = name, epoch, code = error.code(), %error, "stopped relaying");
                    }
                    self.release(epoch).await;
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(lease = name, code = error.code(), %error, "cannot take the lease yet"),
            }
            let wait = (self.options.lease_ttl / 5).min(Duration::from_secs(1));
            let _ = tokio::time::timeout(wait, stop.cancelled()).await;
        }
    }

    async fn release(&self, epoch: u64) {
        if let Err(error) = self.ports.store.release(&self.lease_name(), &self.owner, epoch).await {
            tracing::debug!(lease = self.lease_name(), %error, "the lease runs out by itself");
        }
    }

    /// Publishes under the lease until `stop`; with `once`, only looks at the record and answers what was asked.
    async fn tenure(&self, epoch: u64, since: Instant, stop: &CancellationToken, once: bool) -> Ended {
        let cursor = match Cursor::load(self.ports.store.as_ref(), &self.shard()).await {
            Ok(cursor) => cursor,
            Err(error) => return Ended::Lost(error),
        };
        let mut tenure = Tenure::new(self, epoch, since, cursor);
        let ended = loop {
            if stop.is_cancelled() {
                break Ended::Stopped;
            }
            let step = if once { tenure.watch(stop).await } else { tenure.step(stop).await };
            match step {
                Err(error) => break Ended::Lost(error),
                Ok(()) if once && tenure.has_looked() => break Ended::Stopped,
                Ok(()) => {}
            }
        };
        // Whatever is acknowledged need not be published again after a clean end.
        let _ = tenure.save(true).await;
        ended
    }

    /// The position up to which this shard is on the broker, as far as the store knows.
    pub(crate) async fn position(&self) -> Result<Position, StoreError> {
        Ok(Cursor::load(self.ports.store.as_ref(), &self.shard()).await?.position)
    }

    /// Asks whoever relays this shard to compare log and broker after a position (without one: what the broker may be
    /// expected to hold), and to publish again what is missing. `request` is the same for all shards.
    pub(crate) async fn ask(&self, request: &str, after: Option<Position>) -> Result<(), StoreError> {
        let request =
            Request { id: request.to_owned(), asked: self.ports.clock.now(), after, answer: None, error: None };
        request.ask(self.ports.store.as_ref(), &self.shard()).await
    }

    /// The answer to a request. Where nobody relays, this takes the lease and answers itself. The error of an answer
    /// is a code and a text.
    pub(crate) async fn answer(&self, request: &str) -> Result<Result<Reconciled, (String, String)>, StoreError> {
        let name = self.lease_name();
        loop {
            let store = self.ports.store.as_ref();
            let Some((_, found)) = Request::load(store, &self.shard()).await?.filter(|(_, found)| found.id == request)
            else {
                let text = "another request to compare log and broker took the place of this one";
                return Ok(Err(("reconcile.replaced".into(), text.into())));
            };
            match (found.answer, found.error) {
                (Some(answer), _) => return Ok(Ok(answer)),
                (None, Some(error)) => return Ok(Err(error)),
                (None, None) => {}
            }
            match store.lease(&name, &self.owner, self.options.lease_ttl).await? {
                Some(epoch) => {
                    let ended = self.tenure(epoch, Instant::now(), &CancellationToken::new(), true).await;
                    self.release(epoch).await;
                    if let Ended::Lost(error) = ended {
                        return Err(error);
                    }
                }
                None => tokio::time::sleep(ANSWER_POLL).await,
            }
        }
    }
}
