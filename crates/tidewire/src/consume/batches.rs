//! The batches in hand: who runs beside whom, and who waits.
//!
//! While one batch is being committed the next one is taken and looked up. It runs beside the first if they have
//! no key in common and their events share no documents; otherwise it waits for the first to end. What waited and
//! follows an event that was handed back, or set aside, is handed back as well: it must not overtake it.

use std::collections::HashSet;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use tidewire_core::handler::{Kind, Run};
use tidewire_core::{BrokerError, Key, Subscription};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{ConsumeLoop, Fresh, Suspected, keep_alive};

/// Batches in hand at once: one that is being committed, one that gathers for the commit after, and one on its way
/// to either. More would only be smaller.
const MAX_BATCHES: usize = 3;

/// A batch under way.
struct InHand {
    keys: HashSet<Key>,
    /// It holds what may have killed a process: nothing runs beside it.
    is_alone: bool,
    /// Batches it waits for.
    before: Vec<CancellationToken>,
    started: CancellationToken,
    ended: CancellationToken,
}

/// A batch's place among the others: whom it waits for, and what it tells those who wait for it.
struct Place {
    before: Vec<CancellationToken>,
    started: DropGuard,
    ended: DropGuard,
}

impl ConsumeLoop {
    /// Takes batches until told to stop or the subscription breaks, then finishes those in hand.
    pub(super) async fn serve(
        &self,
        subscription: &mut dyn Subscription,
        stop: &CancellationToken,
    ) -> Result<(), BrokerError> {
        let mut running = FuturesUnordered::new();
        let mut in_hand: Vec<InHand> = Vec::new();
        let ended = loop {
            in_hand.retain(|batch| !batch.ended.is_cancelled());
            // Nothing is taken beyond a batch that waits: whoever overtook it could hold it up for ever.
            let waiting = in_hand.iter().find(|batch| !batch.started.is_cancelled()).map(|batch| batch.started.clone());
            let has_room = in_hand.len() < MAX_BATCHES && waiting.is_none();
            if has_room {
                self.troubled().clear();
            }
            let deliveries = tokio::select! {
                biased;
                () = stop.cancelled() => break Ok(()),
                Some(()) = running.next(), if !running.is_empty() => continue,
                () = waiting.unwrap_or_default().cancelled_owned(), if !has_room => continue,
                next = subscription.next(self.options.batch, self.options.batch_bytes), if has_room => next,
            };
            match deliveries {
                Ok(deliveries) => {
                    let deliveries = self.suspect(deliveries);
                    let batch = self.in_hand(&deliveries, &in_hand);
                    let place = batch.place();
                    in_hand.push(batch);
                    running.push(self.take(deliveries, place, stop));
                }
                Err(BrokerError::Corrupt(reason)) => {
                    // The broker has set the record aside; the log still holds the event.
                    tracing::error!(
                        consumer = self.consumer.name,
                        code = "broker.corrupt",
                        reason,
                        "a record of the broker is damaged"
                    );
                }
                Err(error) => break Err(error),
            }
        };
        while running.next().await.is_some() {}
        ended
    }

    /// A batch about to be taken in hand, which waits for those it may not run beside.
    fn in_hand(&self, deliveries: &[Suspected], others: &[InHand]) -> InHand {
        let keys: HashSet<Key> = deliveries.iter().map(|(delivery, _)| delivery.envelope.key.clone()).collect();
        let is_alone = deliveries.iter().any(|(_, is_suspect)| *is_suspect);
        // A batch in one commit is for events that share documents; of sagas each has its own.
        let is_apart = self.consumer.run == Run::PerKey || self.consumer.kind == Kind::Saga;
        let is_before = |other: &&InHand| !is_apart || is_alone || other.is_alone || !other.keys.is_disjoint(&keys);
        let before: Vec<_> = others.iter().filter(is_before).map(|other| other.ended.clone()).collect();
        let started = CancellationToken::new();
        if before.is_empty() {
            started.cancel();
        }
        InHand { keys, is_alone, before, started, ended: CancellationToken::new() }
    }

    /// Deals with one batch: every delivery in it is acknowledged, handed back or (its broker gone) lost to be
    /// delivered again.
    async fn take(&self, deliveries: Vec<Suspected>, place: Place, stop: &CancellationToken) {
        let pulses = deliveries.iter().map(|(delivery, _)| delivery.pulse()).collect();
        tokio::select! {
            () = self.wait_and_run(deliveries, place, stop) => {}
            () = keep_alive(pulses, self.options.ack_wait / 3) => {}
        }
    }

    async fn wait_and_run(&self, deliveries: Vec<Suspected>, place: Place, stop: &CancellationToken) {
        // Told when this is dropped, however it ends.
        let Place { before, started, ended: _ended } = place;
        if before.is_empty() {
            // Not read ahead where others come before: what they write would be out of date.
            let ahead = self.read_ahead(self.first_keys(&deliveries));
            let (found, ahead) = tokio::join!(self.look_up(&deliveries, stop), ahead);
            return self.sort_and_run(self.drop_seen(deliveries, found), ahead, stop).await;
        }
        let found = self.look_up(&deliveries, stop).await;
        let fresh = self.drop_seen(deliveries, found);
        join_all(before.iter().map(CancellationToken::cancelled)).await;
        let fresh = self.drop_troubled(fresh, stop);
        drop(started);
        self.sort_and_run(fresh, None, stop).await;
    }

    /// After waiting for other batches: hands back what may not come after them any more.
    fn drop_troubled(&self, fresh: Fresh, stop: &CancellationToken) -> Fresh {
        let troubled = std::mem::take(&mut *self.troubled());
        let Fresh { deliveries, parked } = fresh;
        let mut kept = Vec::with_capacity(deliveries.len());
        for (delivery, is_suspect) in deliveries {
            if !stop.is_cancelled() && !troubled.contains(&delivery.envelope.key) {
                kept.push((delivery, is_suspect));
            } else if is_suspect {
                // It stays one whose earlier run may have done harm.
                self.retry(delivery, Duration::ZERO);
            } else {
                self.hand_back([delivery], Duration::ZERO);
            }
        }
        Fresh { deliveries: kept, parked }
    }

    /// Notes that an event of this key was handed back or set aside: what follows it must not overtake it.
    pub(super) fn trouble(&self, key: &Key) {
        self.troubled().insert(key.clone());
    }

    fn troubled(&self) -> MutexGuard<'_, HashSet<Key>> {
        self.troubled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InHand {
    fn place(&self) -> Place {
        let (started, ended) = (self.started.clone().drop_guard(), self.ended.clone().drop_guard());
        Place { before: self.before.clone(), started, ended }
    }
}
