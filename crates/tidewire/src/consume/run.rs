//! One run: events handled in order, committed together.

use std::collections::{HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures::FutureExt;
use tidewire_core::failpoint::{self, Asked};
use tidewire_core::handler::Kind;
use tidewire_core::{Committed, Delivery, Envelope, Fence, HandlerError, Key, Mark, ReadAhead, Seen, StoreError, Unit};
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::{ConsumeLoop, Fresh, Suspected, envelopes};
use crate::telemetry::metrics;

/// How often a run is done again at once after losing a race, before its events are handed back.
const MAX_CONFLICTS: u32 = 20;

/// How soon events come again whose generation was swapped under them.
const AFTER_SWAP: Duration = Duration::from_millis(50);

/// What was read ahead of several runs, and under which epoch of the projection's lease: of another one, it may be of
/// another generation.
#[derive(Clone)]
pub(super) struct Ahead {
    read: ReadAhead,
    epoch: Option<u64>,
}

/// What handling came to, before the commit.
struct Handled {
    unit: Unit,
    done: Vec<Delivery>,
    failed: Vec<(Delivery, Failure)>,
    /// Behind a failed event of the same key.
    behind: Vec<Delivery>,
}

impl ConsumeLoop {
    /// Runs events, in order, as one unit. An event that fails takes only those behind it on its key with it.
    /// `starts` is how often the handler was started for the (then only) event, where that is counted already;
    /// `ahead` what was read for it together with others. Answers whether every event is done with.
    pub(super) async fn run_all(
        &self,
        deliveries: Vec<Delivery>,
        starts: Option<u32>,
        mut ahead: Option<Ahead>,
        stop: &CancellationToken,
    ) -> bool {
        let mut waiting = VecDeque::from([deliveries]);
        let mut conflicts = 0;
        let mut all_done = true;
        while let Some(run) = waiting.pop_front() {
            if run.is_empty() {
                continue;
            }
            let fence = match self.fence().await {
                Ok(fence) => fence,
                Err(error) => {
                    all_done = false;
                    self.commit_failed(run, error, starts, stop).await;
                    continue;
                }
            };
            let epoch = fence.as_ref().map(|fence| fence.epoch);
            let ahead = ahead.take().filter(|ahead| ahead.epoch == epoch).map(|ahead| ahead.read);
            let Handled { unit, done, failed, behind } = self.handle_all(run, ahead).await;
            all_done &= failed.is_empty();
            match self.commit(unit, &done, fence).await {
                Ok(Committed::Applied { .. }) => {
                    metrics::handled(&self.consumer.name, done.len() as u64);
                    done.into_iter().for_each(Delivery::ack);
                }
                // Some were handled by somebody else meanwhile: drop those, run the others again.
                Ok(Committed::Duplicate) => {
                    let fresh = self.drop_done(done, stop).await;
                    waiting.push_front(fresh);
                }
                Err(StoreError::Conflict(conflict)) => {
                    conflicts += 1;
                    tracing::debug!(consumer = self.consumer.name, %conflict, "somebody was faster; running again");
                    if conflicts > MAX_CONFLICTS {
                        all_done = false;
                        self.hand_back(done, Duration::from_millis(100));
                    } else {
                        waiting.push_front(done);
                    }
                }
                Err(StoreError::Fenced { .. }) if self.tenure.is_some() => {
                    all_done = false;
                    self.lost();
                    self.hand_back(done, AFTER_SWAP);
                }
                // One event's wish spoils the commit: run them one by one to find out whose.
                Err(StoreError::Invalid(_)) if done.len() > 1 => {
                    for delivery in done.into_iter().rev() {
                        waiting.push_front(vec![delivery]);
                    }
                }
                Err(error) => {
                    all_done = false;
                    self.commit_failed(done, error, starts, stop).await;
                }
            }
            for (delivery, failure) in failed {
                self.fail(delivery, failure, starts, stop).await;
            }
            // The failed event decides when its key comes again; these only have to be back by then.
            self.hand_back(behind, Duration::ZERO);
        }
        all_done
    }

    /// Runs events of one key one by one. Those whose earlier run failed, or may have been under way when a
    /// process died, are counted before they start.
    pub(super) async fn run_singly(&self, run: Vec<Suspected>, stop: &CancellationToken) {
        let mut run = run.into_iter();
        for (delivery, is_suspect) in run.by_ref() {
            let done = match is_suspect {
                true => self.run_suspect(delivery, stop).await,
                false => self.run_all(vec![delivery], None, None, stop).await,
            };
            if !done {
                break;
            }
        }
        self.hand_back(run.map(|(delivery, _)| delivery), Duration::ZERO);
    }

    async fn run_suspect(&self, delivery: Delivery, stop: &CancellationToken) -> bool {
        let marks = [Mark::of(&delivery.envelope)];
        let name = &self.consumer.name;
        let counted = self
            .through_outages(stop, || async {
                match self.store().start(name, &marks, None).await?.first() {
                    // The first start was never recorded, because first starts are not.
                    Some(1) => Ok(self.store().start(name, &marks, None).await?.first().copied()),
                    count => Ok(count.copied()),
                }
            })
            .await
            .flatten();
        let Some(starts) = counted else {
            self.retry(delivery, Duration::ZERO);
            return false;
        };
        if starts > self.max_attempts() {
            self.fail(delivery, Failure::crashed(starts - 1), Some(starts - 1), stop).await;
            return false;
        }
        self.run_all(vec![delivery], Some(starts), None, stop).await
    }

    fn unit(&self) -> Unit {
        Unit::new(self.ports.store.clone(), self.ports.clock.clone(), &self.consumer.name, &self.source)
    }

    /// Lets the handler read with one look-up what several runs need. `None` where it cannot: then each run
    /// reads for itself.
    pub(super) async fn read_ahead(&self, deliveries: Vec<&Delivery>) -> Option<Ahead> {
        let epoch = self.fence().await.ok()?.map(|fence| fence.epoch);
        let events: Vec<&Envelope> = deliveries.into_iter().map(|delivery| &delivery.envelope).collect();
        let mut unit = self.unit();
        self.prepare(&events, &mut unit).await.then(|| Ahead { read: unit.into_read_ahead(), epoch })
    }

    /// What commits of a projection carry, so that none of them lands in a generation that was swapped meanwhile. To be
    /// asked for before anything is read.
    pub(crate) async fn fence(&self) -> Result<Option<Fence>, StoreError> {
        match &self.tenure {
            Some(tenure) => tenure.fence(self.store().as_ref()).await.map(Some),
            None => Ok(None),
        }
    }

    /// A fence of ours was refused.
    pub(crate) fn lost(&self) {
        if let Some(tenure) = &self.tenure {
            tenure.lost();
        }
    }

    async fn prepare(&self, events: &[&Envelope], unit: &mut Unit) -> bool {
        let mut cx = unit.context(None, 1);
        let prepared = self.guard(self.handler.prepare(events, &mut cx)).await;
        if let Err(failure) = &prepared {
            // What could not be read ahead is read, and reported, event by event.
            tracing::debug!(consumer = self.consumer.name, error = %failure.error, "could not read ahead");
        }
        prepared.is_ok()
    }

    async fn handle_all(&self, deliveries: Vec<Delivery>, ahead: Option<ReadAhead>) -> Handled {
        // Never closed, so this cannot fail; without a turn it would only be faster than asked.
        let _turn = self.handlers.acquire().await.ok();
        let unit = match ahead {
            Some(ahead) => self.unit().with(ahead),
            None => {
                let mut unit = self.unit();
                self.prepare(&envelopes(&deliveries), &mut unit).await;
                unit
            }
        };
        let mut handled = Handled { unit, done: Vec::new(), failed: Vec::new(), behind: Vec::new() };
        let mut blocked: HashSet<Key> = HashSet::new();
        for delivery in deliveries {
            if blocked.contains(&delivery.envelope.key) {
                handled.behind.push(delivery);
                continue;
            }
            let outcome = self.handle_one(&mut handled.unit, &delivery.envelope, delivery.attempt).await;
            match outcome {
                Ok(()) => handled.done.push(delivery),
                Err(failure) => {
                    blocked.insert(delivery.envelope.key.clone());
                    handled.failed.push((delivery, failure));
                }
            }
        }
        handled
    }

    /// Runs the handler for one event on top of `unit`. What it asks for counts only if it succeeds.
    pub(crate) async fn handle_one(&self, unit: &mut Unit, envelope: &Envelope, attempt: u32) -> Result<(), Failure> {
        if self.consumer.is_newer(&envelope.ty) {
            return Err(Failure::newer(envelope, &self.consumer));
        }
        if envelope.expirytime.is_some_and(|expiry| expiry <= self.ports.clock.now()) {
            // Its emitter said so: after this moment nobody needs it. It counts as handled.
            metrics::expired(&self.consumer.name, 1);
            return Ok(());
        }
        if failpoint::reach("consume.before_handler") == Asked::Fail {
            return Err(HandlerError::transient("failpoint").into());
        }
        let started = Instant::now();
        let mut cx = unit.context(Some(envelope), attempt);
        let outcome = self.guard(self.handler.handle(envelope, &mut cx)).await;
        metrics::handler_seconds(&self.consumer.name, started.elapsed());
        outcome.map(|()| cx.keep())
    }

    /// Runs a handler's future within its time, and turns a panic into a failure.
    pub(crate) async fn guard<T>(&self, run: impl Future<Output = Result<T, HandlerError>>) -> Result<T, Failure> {
        let limit = self.consumer.timeout.unwrap_or(self.options.handler_timeout);
        match tokio::time::timeout(limit, AssertUnwindSafe(run).catch_unwind()).await {
            Ok(Ok(outcome)) => outcome.map_err(Failure::from),
            Ok(Err(panic)) => Err(Failure::panicked(panic.as_ref())),
            Err(_) => Err(Failure::timed_out(limit)),
        }
    }

    async fn commit(&self, unit: Unit, done: &[Delivery], fence: Option<Fence>) -> Result<Committed, StoreError> {
        if done.is_empty() {
            return Ok(Committed::Applied { last: tidewire_core::Position(0) });
        }
        let mut commit = unit.into_commit();
        commit.fence = fence;
        commit.seen = done
            .iter()
            .map(|delivery| Seen { consumer: self.consumer.name.clone(), mark: Mark::of(&delivery.envelope) })
            .collect();
        let (before, after) = self.failpoints();
        if failpoint::reach(before) == Asked::Fail {
            return Err(StoreError::Unavailable("failpoint".into()));
        }
        let committed = self.store().commit(commit).await?;
        if failpoint::reach(after) == Asked::Fail {
            return Err(StoreError::Unknown("failpoint".into()));
        }
        Ok(committed)
    }

    fn failpoints(&self) -> (&'static str, &'static str) {
        match self.consumer.kind {
            Kind::Handler => ("consume.before_commit", "consume.after_commit"),
            Kind::Projection => ("project.before_commit", "project.after_commit"),
            Kind::Saga => ("saga.before_commit", "saga.after_commit"),
            Kind::Participant => ("participant.before_commit", "participant.after_commit"),
        }
    }

    async fn drop_done(&self, deliveries: Vec<Delivery>, stop: &CancellationToken) -> Vec<Delivery> {
        let deliveries: Vec<Suspected> = deliveries.into_iter().map(|delivery| (delivery, false)).collect();
        let found = self.look_up(&deliveries, stop).await;
        let Fresh { deliveries, parked } = self.drop_seen(deliveries, found);
        let fresh = deliveries.into_iter().map(|(delivery, _)| delivery);
        let (behind, fresh) = fresh.partition(|delivery| parked.contains(&delivery.envelope.key));
        self.hand_back::<Vec<Delivery>>(behind, Duration::ZERO);
        fresh
    }

    /// The commit failed for a reason that is no race. Nothing was written, or (unknown) the inbox will say so
    /// when the events come again.
    async fn commit_failed(
        &self,
        done: Vec<Delivery>,
        error: StoreError,
        starts: Option<u32>,
        stop: &CancellationToken,
    ) {
        if error.is_transient() {
            tracing::warn!(consumer = self.consumer.name, code = error.code(), %error, "could not commit; the events come again");
            self.pause(1, stop).await;
            self.hand_back(done, Duration::from_millis(200));
            return;
        }
        let reason = error.to_string();
        for delivery in done {
            let failure = Failure::from(HandlerError::permanent(error.code(), &reason));
            self.fail(delivery, failure, starts, stop).await;
        }
    }
}
