//! The consume loop: deliveries in, commits out, acknowledgements last.
//!
//! For every batch: what the inbox knows is acknowledged; what follows a parked key is parked behind it; what
//! may have been running when a process died runs alone, counted before it starts; the rest runs, key by key
//! in order, and is committed together with its inbox marks. Only then is anything acknowledged. Batches overlap
//! where that changes no order (`batches`).

mod batches;
mod failure;
pub(crate) mod pauses;
mod run;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use tidewire_core::broker::{Pulse, Subscribe};
use tidewire_core::handler::Run;
use tidewire_core::{
    Backoff, BrokerError, Commit, Committed, Consumer, Delivery, Envelope, Handler, Key, Mark, Park, Store, StoreError,
    Subscription,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::ports::Ports;
use crate::replay::Tenure;
use crate::telemetry::metrics;

pub use failure::Failure;
pub use pauses::Paused;
use pauses::Pauses;
use run::Ahead;

/// How a consume loop behaves; see `consume.*` and `broker.*` in the configuration.
#[derive(Clone, Debug)]
pub struct ConsumeOptions {
    /// At most so many events per batch, which is also the most in one commit.
    pub batch: usize,
    /// At most about so many bytes per batch.
    pub batch_bytes: usize,
    /// So many keys at once, for handlers that run per key.
    pub concurrency: usize,
    /// Starts of a handler for one event before it is given up.
    pub max_attempts: u32,
    /// Events that may be parked before those that fail stay with the broker.
    pub parked_max: u64,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// One event may take so long.
    pub handler_timeout: Duration,
    /// Unacknowledged deliveries at once.
    pub max_in_flight: usize,
    /// When the broker takes a silent delivery for lost.
    pub ack_wait: Duration,
}

impl Default for ConsumeOptions {
    fn default() -> Self {
        Self {
            batch: 512,
            batch_bytes: 4 << 20,
            concurrency: 32,
            max_attempts: 8,
            parked_max: 100_000,
            backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(300)),
            handler_timeout: Duration::from_secs(10),
            max_in_flight: 2_048,
            ack_wait: Duration::from_secs(30),
        }
    }
}

/// Waits while the store or the broker is away: short, because nothing is counted and nothing is lost.
const OUTAGE: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// The loop of one consumer.
pub struct ConsumeLoop {
    pub(crate) ports: Ports,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) consumer: Consumer,
    pub(crate) source: String,
    pub(crate) options: ConsumeOptions,
    /// Of projections: what keeps them from writing a generation that is no longer the live one.
    pub(crate) tenure: Option<Tenure>,
    /// Who is paused; nobody is, where nobody is asked.
    pauses: Option<Pauses>,
    /// Turns of handlers: so many keys at once.
    handlers: Semaphore,
    /// Events this loop handed back without having run them, or for reasons that are not theirs.
    untouched: Mutex<HashSet<Mark>>,
    /// Keys of which something was handed back or set aside since the last batch was asked for.
    troubled: Mutex<HashSet<Key>>,
}

/// A delivery, and whether an earlier run of it may have done harm.
type Suspected = (Delivery, bool);

/// What is new in a batch.
#[derive(Default)]
struct Fresh {
    deliveries: Vec<Suspected>,
    /// Keys that are parked.
    parked: BTreeSet<Key>,
}

impl ConsumeLoop {
    /// A loop for `handler`, whose events are emitted as `source`.
    pub fn new(ports: &Ports, handler: Arc<dyn Handler>, source: &str, options: ConsumeOptions) -> Self {
        let consumer = handler.consumer();
        let handlers = Semaphore::new(consumer.concurrency.unwrap_or(options.concurrency).max(1));
        let source = source.to_owned();
        let (untouched, troubled) = (Mutex::default(), Mutex::default());
        let tenure = Tenure::of(&consumer);
        Self {
            ports: ports.clone(),
            handler,
            consumer,
            source,
            options,
            tenure,
            pauses: None,
            handlers,
            untouched,
            troubled,
        }
    }

    /// One that stops while its consumer is paused.
    pub(crate) fn obeying(self, pauses: &Pauses) -> Self {
        Self { pauses: Some(pauses.clone()), ..self }
    }

    /// Runs until `stop`, then finishes what is in hand. Outages of the store or the broker are waited out.
    pub async fn run(self, stop: CancellationToken) {
        let mut outage = 0;
        while self.is_due(&stop).await {
            match self.join().await {
                Ok(mut subscription) => {
                    outage = 0;
                    if let Err(error) = self.serve_until_paused(subscription.as_mut(), &stop).await {
                        tracing::warn!(consumer = self.consumer.name, code = error.code(), %error, "the subscription broke; joining again");
                    }
                }
                Err(error) => {
                    tracing::warn!(consumer = self.consumer.name, code = error.code(), %error, "cannot subscribe yet");
                }
            }
            outage += 1;
            self.pause(outage, &stop).await;
        }
    }

    /// Waits while the consumer is paused. `false`: told to stop.
    async fn is_due(&self, stop: &CancellationToken) -> bool {
        if let Some(pauses) = &self.pauses {
            let _ = stop.run_until_cancelled(pauses.until_free(&self.consumer.name)).await;
        }
        !stop.is_cancelled()
    }

    /// [`ConsumeLoop::serve`], which a pause ends like a stop: what is in hand is finished.
    async fn serve_until_paused(
        &self,
        subscription: &mut dyn Subscription,
        stop: &CancellationToken,
    ) -> Result<(), BrokerError> {
        let Some(pauses) = &self.pauses else { return self.serve(subscription, stop).await };
        let turn = stop.child_token();
        let paused = async {
            pauses.until_paused(&self.consumer.name).await;
            tracing::info!(
                consumer = self.consumer.name,
                "paused: what is in hand is finished, and nothing more taken"
            );
            turn.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            served = self.serve(subscription, &turn) => served,
            () = paused => Ok(()),
        }
    }

    async fn join(&self) -> Result<Box<dyn Subscription>, BrokerError> {
        let request = Subscribe {
            group: self.consumer.name.clone(),
            names: self.consumer.names(),
            max_in_flight: self.options.max_in_flight,
            ack_wait: self.options.ack_wait,
        };
        self.ports.broker.subscribe(request).await
    }

    /// Runs what is new: `ahead` is what was read ahead for the first keys.
    async fn sort_and_run(&self, fresh: Fresh, ahead: Option<Ahead>, stop: &CancellationToken) {
        let mut runs: Vec<Vec<Delivery>> = Vec::new();
        let mut suspects: Vec<Vec<Suspected>> = Vec::new();
        for run in by_key(fresh.deliveries) {
            let is_suspect = run.iter().any(|(_, is_suspect)| *is_suspect);
            if run.first().is_some_and(|(delivery, _)| fresh.parked.contains(&delivery.envelope.key)) {
                self.park_followers(run.into_iter().map(|(delivery, _)| delivery).collect(), stop).await;
            } else if is_suspect {
                suspects.push(run);
            } else {
                runs.push(run.into_iter().map(|(delivery, _)| delivery).collect());
            }
        }
        // Alone and one after the other: whatever killed the last process must not take others with it again.
        for run in suspects {
            self.run_singly(run, stop).await;
        }
        match self.consumer.run {
            Run::Batch => {
                self.run_all(runs.into_iter().flatten().collect(), None, ahead, stop).await;
            }
            Run::PerKey => {
                let first = &runs[..runs.len().min(self.at_once())];
                let ahead = match ahead {
                    None if first.len() > 1 => self.read_ahead(first.iter().flatten().collect()).await,
                    ahead => ahead,
                };
                let aheads = std::iter::repeat_n(ahead, first.len()).chain(std::iter::repeat(None));
                let runs: Vec<_> = runs.into_iter().zip(aheads).collect();
                // Handlers take turns (`handlers`); commits do not, so that they share their flushes.
                futures::stream::iter(runs)
                    .for_each_concurrent(None, |(run, ahead)| async {
                        self.run_all(run, None, ahead, stop).await;
                    })
                    .await;
            }
        }
    }

    /// How many keys are handled at once.
    fn at_once(&self) -> usize {
        self.consumer.concurrency.unwrap_or(self.options.concurrency).max(1)
    }

    /// What the first runs of a batch will be about, unless it is known already or may do harm.
    fn first_keys<'a>(&self, deliveries: &'a [Suspected]) -> Vec<&'a Delivery> {
        let at_once = if self.consumer.run == Run::Batch { usize::MAX } else { self.at_once() };
        let mut keys = HashSet::new();
        let mut is_first = |delivery: &Delivery| {
            keys.contains(&delivery.envelope.key) || keys.len() < at_once && keys.insert(delivery.envelope.key.clone())
        };
        deliveries.iter().filter(|(delivery, is_suspect)| !is_suspect && is_first(delivery)).map(|(d, _)| d).collect()
    }

    /// Which of these may have done harm: an earlier run failed, or began and never said how it ended. That is a
    /// redelivery that this loop did not bring about by handing an untouched event back. To be asked once per
    /// delivery.
    fn suspect(&self, deliveries: Vec<Delivery>) -> Vec<Suspected> {
        let mut untouched = self.untouched.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_untouched =
            |delivery: &Delivery| !untouched.is_empty() && untouched.remove(&Mark::of(&delivery.envelope));
        let suspect = |delivery: Delivery| {
            let is_suspect = !is_untouched(&delivery) && delivery.attempt > 1;
            (delivery, is_suspect)
        };
        deliveries.into_iter().map(suspect).collect()
    }

    /// Hands back deliveries that were not tried, or whose failing says nothing about them.
    pub(crate) fn hand_back<I: IntoIterator<Item = Delivery>>(&self, deliveries: I, after: Duration) {
        for delivery in deliveries {
            let mut untouched = self.untouched.lock().unwrap_or_else(PoisonError::into_inner);
            untouched.insert(Mark::of(&delivery.envelope));
            drop(untouched);
            self.retry(delivery, after);
        }
    }

    /// Hands a delivery back whose earlier run counts, to come again after `after`.
    fn retry(&self, delivery: Delivery, after: Duration) {
        self.trouble(&delivery.envelope.key);
        delivery.retry(after);
    }

    /// Which of these this consumer has handled, and which of their keys are parked. `None` when told to stop
    /// meanwhile.
    async fn look_up(&self, deliveries: &[Suspected], stop: &CancellationToken) -> Option<(Vec<bool>, BTreeSet<Key>)> {
        let name = &self.consumer.name;
        let marks: Vec<Mark> = deliveries.iter().map(|(delivery, _)| Mark::of(&delivery.envelope)).collect();
        let keys: BTreeSet<&Key> = deliveries.iter().map(|(delivery, _)| &delivery.envelope.key).collect();
        let keys: Vec<Key> = keys.into_iter().cloned().collect();
        let store = &self.ports.store;
        let found = || async { futures::try_join!(store.seen(name, &marks), store.parked_keys(name, &keys)) };
        self.through_outages(stop, found).await
    }

    /// What is new to this consumer, by what was looked up; the rest is acknowledged. Nothing, if that failed.
    fn drop_seen(&self, deliveries: Vec<Suspected>, found: Option<(Vec<bool>, BTreeSet<Key>)>) -> Fresh {
        let Some((seen, parked)) = found else {
            self.hand_back(deliveries.into_iter().map(|(delivery, _)| delivery), Duration::ZERO);
            return Fresh::default();
        };
        let mut fresh = Vec::with_capacity(deliveries.len());
        let mut duplicates = 0;
        for ((delivery, is_suspect), seen) in deliveries.into_iter().zip(seen) {
            if seen {
                duplicates += 1;
                delivery.ack();
            } else {
                fresh.push((delivery, is_suspect));
            }
        }
        metrics::duplicates(&self.consumer.name, duplicates);
        Fresh { deliveries: fresh, parked }
    }

    /// Parks what follows on a parked key. If the key is free again by the time of the commit, the events are
    /// handed back and come as ordinary ones.
    async fn park_followers(&self, run: Vec<Delivery>, stop: &CancellationToken) {
        if self.is_parking_full(stop).await {
            self.hand_back(run, self.options.backoff.max);
            return;
        }
        let parks: Vec<Park> = run
            .iter()
            .map(|delivery| Park {
                consumer: self.consumer.name.clone(),
                envelope: delivery.envelope.clone(),
                code: "parked.behind".into(),
                reason: "an earlier event of the same key is parked".into(),
                attempts: 0,
                follower: true,
                place: None,
            })
            .collect();
        let count = parks.len();
        let commit = Commit { park: parks, ..Commit::default() };
        let outcome = self.through_outages(stop, || self.ports.store.commit(commit.clone())).await;
        match outcome {
            Some(Committed::Applied { .. }) => {
                metrics::parked(&self.consumer.name, count as u64);
                run.into_iter().for_each(Delivery::ack);
            }
            // One of them was dealt with meanwhile, and so none was written: the look-up will tell which.
            Some(Committed::Duplicate) | None => self.hand_back(run, Duration::ZERO),
        }
    }

    /// Whether this consumer has set aside as much as it may. Then something is wrong with it rather than with a
    /// key, and what it cannot handle stays with the broker until somebody looks.
    pub(crate) async fn is_parking_full(&self, stop: &CancellationToken) -> bool {
        let name = &self.consumer.name;
        let Some(counts) = self.through_outages(stop, || self.ports.store.parked_counts()).await else { return false };
        let parked = counts.iter().find(|(consumer, _)| consumer == name).map_or(0, |(_, parked)| *parked);
        let is_full = parked >= self.options.parked_max;
        if is_full {
            tracing::error!(
                consumer = name,
                parked,
                code = "parked.full",
                "too much is parked; what fails now stays with the broker. Mend the handler and redrive"
            );
        }
        is_full
    }

    /// Repeats a call while the store is away. `None` when told to stop, or when trying again cannot help (the
    /// caller hands its deliveries back and they come again).
    pub(crate) async fn through_outages<T, F>(&self, stop: &CancellationToken, call: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut outage = 0;
        loop {
            match call().await {
                Ok(value) => return Some(value),
                Err(error) if error.is_transient() && !stop.is_cancelled() => {
                    outage += 1;
                    tracing::warn!(consumer = self.consumer.name, code = error.code(), %error, "the store is away; waiting");
                    self.pause(outage, stop).await;
                }
                Err(StoreError::Conflict(_)) => return None,
                Err(StoreError::Fenced { .. }) if self.tenure.is_some() => {
                    self.lost();
                    return None;
                }
                Err(error) => {
                    tracing::error!(consumer = self.consumer.name, code = error.code(), %error, "the store refuses");
                    self.pause(outage + 1, stop).await;
                    return None;
                }
            }
        }
    }

    pub(crate) async fn pause(&self, outage: u32, stop: &CancellationToken) {
        let wait = OUTAGE.after(outage, self.ports.clock.random());
        let _ = tokio::time::timeout(wait, stop.cancelled()).await;
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.ports.store
    }
}

/// Deliveries grouped by key, keys in the order of their first delivery, each key in order.
fn by_key(deliveries: Vec<Suspected>) -> Vec<Vec<Suspected>> {
    let mut at = std::collections::HashMap::new();
    let mut runs: Vec<Vec<Suspected>> = Vec::new();
    for (delivery, is_suspect) in deliveries {
        let index = *at.entry(delivery.envelope.key.clone()).or_insert_with(|| {
            runs.push(Vec::new());
            runs.len() - 1
        });
        runs[index].push((delivery, is_suspect));
    }
    runs
}

async fn keep_alive(pulses: Vec<Pulse>, every: Duration) {
    let mut ticks = tokio::time::interval(every.max(Duration::from_millis(10)));
    ticks.tick().await;
    loop {
        ticks.tick().await;
        pulses.iter().for_each(Pulse::progress);
    }
}

/// The events of deliveries, for [`tidewire_core::Handler::prepare`].
pub(crate) fn envelopes(deliveries: &[Delivery]) -> Vec<&Envelope> {
    deliveries.iter().map(|delivery| &delivery.envelope).collect()
}
