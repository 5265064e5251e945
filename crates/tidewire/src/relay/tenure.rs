//! One tenure: what a relay does while it holds its lease.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidewire_core::broker::Published;
use tidewire_core::failpoint::{self, Asked};
use tidewire_core::store::{Recorded, Selection};
use tidewire_core::{BrokerError, Commit, DocumentWrite, Envelope, ExpectDocument, Fence, Position, StoreError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::cursor::{CURSORS, Cursor};
use super::watch::Watch;
use super::{RETRY, Relay};
use crate::telemetry::metrics;

/// How often the cursor is saved while events flow: what is published again after a crash, and recognised by the
/// broker. More often would only be more commits.
const SAVE_EVERY: Duration = Duration::from_millis(50);

/// A publish that takes longer has waited for a broker that was away, or is overloaded: then a look costs little.
const UNUSUAL: Duration = Duration::from_secs(1);

/// Why a tenure ended.
pub(super) enum Ended {
    /// It was told to.
    Stopped,
    /// The lease or the store is gone.
    Lost(StoreError),
}

/// One tenure.
pub(super) struct Tenure<'a> {
    pub(super) relay: &'a Relay,
    pub(super) fence: Fence,
    pub(super) cursor: Cursor,
    pub(super) watch: Watch,
    saved: SaveCursor,
    renewed: Instant,
    pub(super) failures: u32,
    /// What follows on a position, read while what comes before it was being published. Only of use while that is
    /// where the cursor is.
    ahead: Option<(Position, Vec<Recorded>)>,
}

/// The cursor in the store, which may lag behind: it only decides how much is published again.
struct SaveCursor {
    at: Position,
    /// Something besides the position is to be saved.
    stale: bool,
    /// The last save.
    begun: Instant,
    running: Option<(Position, JoinHandle<Result<(), StoreError>>)>,
}

impl<'a> Tenure<'a> {
    /// A tenure under the lease that was asked for at `since`.
    pub(super) fn new(relay: &'a Relay, epoch: u64, since: Instant, cursor: Cursor) -> Self {
        let saved = SaveCursor { at: cursor.position, stale: false, begun: Instant::now(), running: None };
        let fence = Fence { lease: relay.lease_name(), epoch };
        Self { relay, fence, cursor, watch: Watch::default(), saved, renewed: since, failures: 0, ahead: None }
    }

    /// Looks at the record when that is due, then publishes one batch, or waits for one.
    pub(super) async fn step(&mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        self.renew().await?;
        self.watch(stop).await?;
        if !self.has_looked() {
            // The record cannot be looked at, so nothing may be published behind what it may have lost.
            return Ok(());
        }
        let batch = match self.ahead.take() {
            Some((after, batch)) if after == self.cursor.position && !batch.is_empty() => batch,
            _ => self.read().await?,
        };
        if failpoint::reach("relay.after_read") == Asked::Fail {
            return Err(StoreError::Unavailable("failpoint".into()));
        }
        if batch.is_empty() {
            self.failures = 0;
            self.save(false).await?;
            let idle = (self.relay.options.lease_ttl / 3).min(Duration::from_secs(1));
            let patience = if self.is_unsaved() { SAVE_EVERY } else { idle };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.relay.ports.store.wait(self.cursor.position, patience) => {}
            }
            return Ok(());
        }
        self.publish(batch, stop).await?;
        self.save(false).await
    }

    fn selection(&self, after: Position) -> Selection {
        let options = &self.relay.options;
        Selection { after, buckets: self.relay.buckets(), limit: options.batch, ..Selection::default() }
    }

    async fn read(&mut self) -> Result<Vec<Recorded>, StoreError> {
        let store = &self.relay.ports.store;
        if self.relay.options.shard.1 > 1 {
            let head = store.head().await?;
            let batch = store.read(&self.selection(self.cursor.position)).await?;
            if batch.is_empty() {
                // Nothing of ours up to the head that was there before the read.
                self.cursor.position = self.cursor.position.max(head);
            }
            self.gauge(head);
            return Ok(batch);
        }
        let batch = store.read(&self.selection(self.cursor.position)).await?;
        // Who reads everything, and finds less than a whole batch, has found the end.
        let head = match batch.last() {
            Some(_) if batch.len() >= self.relay.options.batch => store.head().await?,
            Some(last) => last.position,
            None => self.cursor.position,
        };
        self.gauge(head);
        Ok(batch)
    }

    /// Reads on behind a full batch: where one was full there is likely more. Whatever goes wrong here goes wrong again
    /// when it is read in its turn.
    async fn read_ahead(&self, last: Position, is_full: bool) -> Option<(Position, Vec<Recorded>)> {
        if !is_full {
            return None;
        }
        Some((last, self.relay.ports.store.read(&self.selection(last)).await.ok()?))
    }

    /// Behind the cursor, not behind what was read: a batch that the broker refuses is waiting, too.
    pub(super) fn gauge(&self, head: Position) {
        metrics::relay_lag(self.relay.options.shard.0, head.0.saturating_sub(self.cursor.position.0));
    }

    /// Publishes a batch, and moves the cursor over what the broker has acknowledged without a gap. What failed
    /// stays behind the cursor and is published again, in order.
    async fn publish(&mut self, batch: Vec<Recorded>, stop: &CancellationToken) -> Result<(), StoreError> {
        let last = batch.last().map(|recorded| recorded.position).unwrap_or_default();
        let is_full = batch.len() >= self.relay.options.batch;
        let (positions, envelopes): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|recorded| (recorded.position, recorded.envelope)).unzip();
        let begun = Instant::now();
        let broker = Arc::clone(&self.relay.ports.broker);
        let (answers, ahead) = tokio::join!(broker.publish(envelopes), self.read_ahead(last, is_full));
        self.ahead = ahead;
        self.count(&answers);
        if begun.elapsed() > UNUSUAL {
            // A client that connects again by itself does not tell: the broker may have come back with less.
            self.watch.soon();
        }
        if failpoint::reach("relay.after_publish") == Asked::Fail {
            return Err(StoreError::Unavailable("failpoint".into()));
        }
        let mut failed = None;
        for (position, answer) in positions.into_iter().zip(answers) {
            match answer {
                Ok(_) if failed.is_none() => self.cursor.position = position,
                Ok(_) => {}
                Err(error) => {
                    failed.get_or_insert((position, error));
                }
            }
        }
        let Some((position, error)) = failed else {
            self.failures = 0;
            return Ok(());
        };
        // A broker that was away may have come back with less than it had.
        self.watch.soon();
        self.fail(position, &error, stop).await
    }

    /// Hands events to the broker, and counts what it stored.
    pub(super) async fn offer(&mut self, envelopes: Vec<Envelope>) -> Vec<Result<Published, BrokerError>> {
        let answers = self.relay.ports.broker.publish(envelopes).await;
        self.count(&answers);
        answers
    }

    fn count(&mut self, answers: &[Result<Published, BrokerError>]) {
        let stored = answers.iter().filter(|answer| matches!(answer, Ok(published) if !published.duplicate)).count();
        self.cursor.witness.store(stored as u64);
        metrics::published(answers.iter().filter(|answer| answer.is_ok()).count() as u64);
        for _ in answers.iter().filter(|answer| answer.is_err()) {
            metrics::publish_failed();
        }
    }

    /// An event was not taken: waits before the next try.
    pub(super) async fn fail(
        &mut self,
        position: Position,
        error: &BrokerError,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let wait = self.next_wait();
        if error.is_transient() {
            tracing::warn!(%position, code = error.code(), %error, again_in = ?wait, "the broker did not take an event");
        } else {
            tracing::error!(%position, code = error.code(), %error, again_in = ?wait, "the broker refuses an event; the relay cannot pass it");
        }
        self.pause(wait, stop).await
    }

    /// How long to wait after one more failure in a row.
    pub(super) fn next_wait(&mut self) -> Duration {
        self.failures += 1;
        RETRY.after(self.failures, self.relay.ports.clock.random())
    }

    /// Waits, and keeps the lease meanwhile.
    pub(super) async fn pause(&mut self, wait: Duration, stop: &CancellationToken) -> Result<(), StoreError> {
        let end = Instant::now() + wait;
        while Instant::now() < end && !stop.is_cancelled() {
            let slice = (end - Instant::now()).min(self.relay.options.lease_ttl / 5);
            let _ = tokio::time::timeout(slice, stop.cancelled()).await;
            self.renew().await?;
        }
        Ok(())
    }

    pub(super) async fn renew(&mut self) -> Result<(), StoreError> {
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

    /// The cursor is to be saved although it has not moved, or has moved back.
    pub(super) fn must_save(&mut self) {
        self.saved.stale = true;
    }

    fn is_unsaved(&self) -> bool {
        self.saved.stale || self.saved.at != self.cursor.position
    }

    /// Saves the cursor behind the loop's back, one write at a time and every now and then; `settle` does it now,
    /// and waits until it is saved.
    pub(super) async fn save(&mut self, settle: bool) -> Result<(), StoreError> {
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
        if is_due && self.saved.running.is_none() && self.is_unsaved() {
            self.saved.begun = Instant::now();
            self.saved.stale = false;
            let commit = self.cursor_commit()?;
            let store = Arc::clone(&self.relay.ports.store);
            let running = tokio::spawn(async move { store.commit(commit).await.map(|_| ()) });
            self.saved.running = Some((self.cursor.position, running));
            if settle {
                return Box::pin(self.save(true)).await;
            }
        }
        Ok(())
    }

    fn cursor_commit(&self) -> Result<Commit, StoreError> {
        let value = serde_json::to_vec(&self.cursor).map_err(|error| StoreError::Invalid(error.to_string()))?;
        Ok(Commit {
            documents: vec![DocumentWrite {
                collection: CURSORS.into(),
                id: self.relay.shard(),
                expect: ExpectDocument::Any,
                value: Some(value.into()),
            }],
            fence: Some(self.fence.clone()),
            ..Commit::default()
        })
    }
}
