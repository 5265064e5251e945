//! The relay: reads the log forward from a fenced cursor and publishes to the broker. Nothing else publishes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidewire_core::failpoint::{self, Asked};
use tidewire_core::key::BUCKETS;
use tidewire_core::store::{Recorded, Selection};
use tidewire_core::{Backoff, Commit, DocumentWrite, ExpectDocument, Fence, Position, StoreError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::ports::Ports;
use crate::telemetry::metrics;

/// The collection that holds the cursors.
const CURSORS: &str = "relay_cursor";

/// How often the cursor is saved while events flow: what is published again after a crash, and recognised by the
/// broker. More often would only be more commits.
const SAVE_EVERY: Duration = Duration::from_millis(50);

/// Waits after a failed publish: for ever, while the lease is held. The oldest unpublished event is the alarm.
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));

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
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self { shard: (0, 1), batch: 512, lease_ttl: Duration::from_secs(15), lease_renew: Duration::from_secs(5) }
    }
}

#[derive(Serialize, Deserialize)]
struct Cursor {
    position: Position,
}

/// One relay: the only publisher of its buckets while it holds their lease.
///
/// Order: per key, since a key is in one bucket and the log is read forward. Duplicates: after a crash or a
/// takeover the events after the cursor are published again; the broker and the inbox know them.
pub struct Relay {
    ports: Ports,
    options: RelayOptions,
    owner: String,
}

/// Why a tenure ended.
enum Ended {
    Stopped,
    Lost(StoreError),
}

impl Relay {
    /// A relay for one shard.
    pub fn new(ports: &Ports, options: RelayOptions) -> Self {
        let owner = ports.clock.id().to_string();
        Self { ports: ports.clone(), options, owner }
    }

    fn lease_name(&self) -> String {
        format!("relay/{}of{}", self.options.shard.0, self.options.shard.1)
    }

    fn buckets(&self) -> (u8, u8) {
        let (index, count) = (u16::from(self.options.shard.0), u16::from(self.options.shard.1.max(1)));
        let all = u16::from(BUCKETS);
        let (first, end) = (index * all / count, (index + 1) * all / count);
        let clamp = |n: u16| u8::try_from(n).unwrap_or(BUCKETS - 1);
        (clamp(first), clamp(end.saturating_sub(1)))
    }

    /// Runs until `stop`: takes the lease whenever it can be had, publishes while it holds it.
    pub async fn run(self, stop: CancellationToken) {
        let name = self.lease_name();
        while !stop.is_cancelled() {
            match self.ports.store.lease(&name, &self.owner, self.options.lease_ttl).await {
                Ok(Some(epoch)) => {
                    tracing::info!(lease = name, epoch, "relaying");
                    if let Ended::Lost(error) = self.tenure(epoch, &stop).await {
                        tracing::warn!(lease = name, epoch, code = error.code(), %error, "stopped relaying");
                    }
                    if let Err(error) = self.ports.store.release(&name, &self.owner, epoch).await {
                        tracing::debug!(lease = name, %error, "the lease runs out by itself");
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(lease = name, code = error.code(), %error, "cannot take the lease yet"),
            }
            let wait = (self.options.lease_ttl / 5).min(Duration::from_secs(1));
            let _ = tokio::time::timeout(wait, stop.cancelled()).await;
        }
    }

    async fn tenure(&self, epoch: u64, stop: &CancellationToken) -> Ended {
        let cursor = match self.load_cursor().await {
            Ok(cursor) => cursor,
            Err(error) => return Ended::Lost(error),
        };
        let fence = Fence { lease: self.lease_name(), epoch };
        let mut tenure = Tenure {
            relay: self,
            fence,
            cursor,
            saved: SaveCursor { at: cursor, begun: Instant::now(), running: None },
            renewed: Instant::now(),
            failures: 0,
        };
        let ended = loop {
            if stop.is_cancelled() {
                break Ended::Stopped;
            }
            if let Err(error) = tenure.step(stop).await {
                break Ended::Lost(error);
            }
        };
        // Whatever is acknowledged need not be published again after a clean end.
        let _ = tenure.save(true).await;
        ended
    }

    fn cursor_id(&self) -> String {
        format!("{}of{}", self.options.shard.0, self.options.shard.1)
    }

    /// Its own cursor; for a shard that never ran, the lowest of all cursors, since the shards may have been
    /// cut differently before.
    async fn load_cursor(&self) -> Result<Position, StoreError> {
        let query =
            tidewire_core::store::DocumentQuery { collection: CURSORS.into(), limit: 4_096, ..Default::default() };
        let cursors = self.ports.store.list(&query).await?;
        let read =
            |bytes: &[u8]| serde_json::from_slice::<Cursor>(bytes).map(|cursor| cursor.position).unwrap_or_default();
        let own = cursors.iter().find(|cursor| cursor.id == self.cursor_id());
        Ok(match own {
            Some(own) => read(&own.value),
            None => cursors.iter().map(|cursor| read(&cursor.value)).min().unwrap_or_default(),
        })
    }
}

struct Tenure<'a> {
    relay: &'a Relay,
    fence: Fence,
    /// Everything of this shard up to here is acknowledged by the broker.
    cursor: Position,
    saved: SaveCursor,
    renewed: Instant,
    failures: u32,
}

/// The cursor in the store, which may lag behind: it only decides how much is published again.
struct SaveCursor {
    at: Position,
    /// The last save.
    begun: Instant,
    running: Option<(Position, JoinHandle<Result<(), StoreError>>)>,
}

impl Tenure<'_> {
    async fn step(&mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        self.renew().await?;
        let batch = self.read().await?;
        if failpoint::reach("relay.after_read") == Asked::Fail {
            return Err(StoreError::Unavailable("failpoint".into()));
        }
        if batch.is_empty() {
            self.save(false).await?;
            let idle = (self.relay.options.lease_ttl / 3).min(Duration::from_secs(1));
            let patience = if self.saved.at < self.cursor { SAVE_EVERY } else { idle };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.relay.ports.store.wait(self.cursor, patience) => {}
            }
            return Ok(());
        }
        self.publish(batch, stop).await?;
        self.save(false).await
    }

    async fn read(&mut self) -> Result<Vec<Recorded>, StoreError> {
        let options = &self.relay.options;
        let selection = Selection {
            after: self.cursor,
            buckets: (options.shard.1 > 1).then(|| self.relay.buckets()),
            limit: options.batch,
            ..Selection::default()
        };
        let ports = &self.relay.ports;
        let head = ports.store.head().await?;
        let batch = ports.store.read(&selection).await?;
        if batch.is_empty() && options.shard.1 > 1 {
            // Nothing of ours up to the head that was there before the read.
            self.cursor = self.cursor.max(head);
        }
        // Behind the cursor, not behind what was read: a batch that the broker refuses is waiting, too.
        metrics::relay_lag(options.shard.0, head.0.saturating_sub(self.cursor.0));
        Ok(batch)
    }

    /// Publishes a batch, and moves the cursor over what the broker has acknowledged without a gap. What failed
    /// stays behind the cursor and is published again, in order.
    async fn publish(&mut self, batch: Vec<Recorded>, stop: &CancellationToken) -> Result<(), StoreError> {
        let (positions, envelopes): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|recorded| (recorded.position, recorded.envelope)).unzip();
        let answers = self.relay.ports.broker.publish(envelopes).await;
        if failpoint::reach("relay.after_publish") == Asked::Fail {
            return Err(StoreError::Unavailable("failpoint".into()));
        }
        let mut failed = None;
        let mut published = 0;
        for (position, answer) in positions.into_iter().zip(answers) {
            match answer {
                Ok(_) if failed.is_none() => {
                    self.cursor = position;
                    published += 1;
                }
                Ok(_) => {}
                Err(error) => {
                    metrics::publish_failed();
                    failed.get_or_insert((position, error));
                }
            }
        }
        metrics::published(published);
        let Some((position, error)) = failed else {
            self.failures = 0;
            return Ok(());
        };
        self.failures += 1;
        let wait = RETRY.after(self.failures, self.relay.ports.clock.random());
        if error.is_transient() {
            tracing::warn!(%position, code = error.code(), %error, again_in = ?wait, "the broker did not take an event");
        } else {
            tracing::error!(%position, code = error.code(), %error, again_in = ?wait, "the broker refuses an event; the relay cannot pass it");
        }
        self.pause(wait, stop).await
    }

    /// Waits, and keeps the lease meanwhile.
    async fn pause(&mut self, wait: Duration, stop: &CancellationToken) -> Result<(), StoreError> {
        let end = Instant::now() + wait;
        while Instant::now() < end && !stop.is_cancelled() {
            let slice = (end - Instant::now()).min(self.relay.options.lease_ttl / 5);
            let _ = tokio::time::timeout(slice, stop.cancelled()).await;
            self.renew().await?;
        }
        Ok(())
    }

    async fn renew(&mut self) -> Result<(), StoreError> {
        let options = &self.relay.options;
        if self.renewed.elapsed() < options.lease_renew.min(options.lease_ttl / 3) {
            return Ok(());
        }
        let asked = Instant::now();
        let lease = self.fence.lease.clone();
        match self.relay.ports.store.lease(&lease, &self.relay.owner, self.relay.options.lease_ttl).await? {
            Some(epoch) if epoch == self.fence.epoch => {
                self.renewed = asked;
                Ok(())
            }
            _ => Err(StoreError::Fenced { lease, epoch: self.fence.epoch }),
        }
    }

    /// Saves the cursor behind the loop's back, one write at a time and every now and then; `settle` does it now,
    /// and waits until it is saved.
    async fn save(&mut self, settle: bool) -> Result<(), StoreError> {
        if let Some((position, running)) = self.saved.running.take_if(|(_, running)| settle || running.is_finished()) {
            match running.await {
                Ok(outcome) => outcome?,
                Err(error) => return Err(StoreError::Unknown(error.to_string())),
            }
            self.saved.at = position;
            if failpoint::reach("relay.after_cursor") == Asked::Fail {
                return Err(StoreError::Unavailable("failpoint".into()));
            }
        }
        let is_due = settle || self.saved.begun.elapsed() >= SAVE_EVERY;
        if is_due && self.saved.running.is_none() && self.saved.at < self.cursor {
            self.saved.begun = Instant::now();
            let commit = self.cursor_commit()?;
            let store = Arc::clone(&self.relay.ports.store);
            let running = tokio::spawn(async move { store.commit(commit).await.map(|_| ()) });
            self.saved.running = Some((self.cursor, running));
            if settle {
                return Box::pin(self.save(true)).await;
            }
        }
        Ok(())
    }

    fn cursor_commit(&self) -> Result<Commit, StoreError> {
        let value = serde_json::to_vec(&Cursor { position: self.cursor })
            .map_err(|error| StoreError::Invalid(error.to_string()))?;
        Ok(Commit {
            documents: vec![DocumentWrite {
                collection: CURSORS.into(),
                id: self.relay.cursor_id(),
                expect: ExpectDocument::Any,
                value: Some(value.into()),
            }],
            fence: Some(self.fence.clone()),
            ..Commit::default()
        })
    }
}
