//! Who consumes in a process, while it runs: consumers may come and go.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tidewire_core::handler::Consumer;
use tidewire_core::store::ParkedQuery;
use tidewire_core::{Handler, StoreError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::consume::pauses::Pauses;
use crate::consume::{ConsumeLoop, ConsumeOptions};
use crate::operate::redrive_one;
use crate::ports::Ports;
use crate::run::supervise;

/// A handler, and the source its events are emitted as.
pub type Enrolled = (Arc<dyn Handler>, String);

/// Consumers that are not part of the build but come and go with what is stored: asked again whenever somebody wants
/// to know who there is, in every process, whether it runs them or not.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Those there are now. Also those whose loop runs nowhere, because somebody paused them: what they have yet to
    /// handle is still waited for.
    async fn enrolled(&self) -> Result<Vec<Enrolled>, StoreError>;
}

/// The consume loops of a process: one per consumer, started and stopped one by one, all of them stopped with the
/// process. Cheap to clone.
///
/// Several processes may run the same consumer: its broker group shares the work among them, and stopping the loop here
/// hands what it had not finished to the others.
#[derive(Clone)]
pub struct Roster(Arc<Inner>);

struct Inner {
    ports: Ports,
    options: ConsumeOptions,
    stop: CancellationToken,
    tasks: TaskTracker,
    pauses: Pauses,
    seats: Mutex<BTreeMap<String, Seat>>,
}

/// One running consumer.
struct Seat {
    /// For its timers, which fire beside its loop.
    runner: Arc<ConsumeLoop>,
    leave: CancellationToken,
    left: CancellationToken,
}

impl Roster {
    /// An empty one whose loops run among `tasks` until `stop`.
    pub(crate) fn new(ports: &Ports, options: ConsumeOptions, stop: CancellationToken, tasks: TaskTracker) -> Self {
        let (pauses, watching) = Pauses::watching(ports, stop.clone());
        tasks.spawn(watching);
        Self(Arc::new(Inner { ports: ports.clone(), options, stop, tasks, pauses, seats: Mutex::default() }))
    }

    /// The ports the loops run on.
    pub fn ports(&self) -> &Ports {
        &self.0.ports
    }

    /// How loops behave that are not asked to behave otherwise.
    pub fn options(&self) -> &ConsumeOptions {
        &self.0.options
    }

    /// Starts the loop of a handler, whose events are emitted as `source`. `false`, and nothing happens, when a consumer
    /// of its name runs here already, or is only just leaving: dismiss it first.
    pub fn enroll(&self, handler: Arc<dyn Handler>, source: &str) -> bool {
        self.enroll_with(handler, source, self.0.options.clone())
    }

    /// [`Roster::enroll`] for a loop with options of its own.
    pub fn enroll_with(&self, handler: Arc<dyn Handler>, source: &str, options: ConsumeOptions) -> bool {
        let (ports, consumer, source) = (self.0.ports.clone(), handler.consumer(), source.to_owned());
        let (leave, left) = (self.0.stop.child_token(), CancellationToken::new());
        let runner = Arc::new(ConsumeLoop::new(&ports, handler.clone(), &source, options.clone()));
        let name = consumer.name.clone();
        let pauses = self.0.pauses.clone();
        {
            let mut seats = self.seats();
            if seats.contains_key(&name) {
                return false;
            }
            seats.insert(name.clone(), Seat { runner, leave: leave.clone(), left: left.clone() });
        }
        let ended = supervise(&self.0.tasks, &leave, name, move |stop| {
            let consumer_loop = ConsumeLoop::new(&ports, handler.clone(), &source, options.clone()).obeying(&pauses);
            let (ports, consumer) = (ports.clone(), consumer.clone());
            async move {
                readmit_newer(&ports, &consumer, &consumer_loop).await;
                consumer_loop.run(stop).await;
            }
        });
        self.0.tasks.spawn(async move {
            let _ = ended.await;
            left.cancel();
        });
        true
    }

    /// Stops the loop of a consumer: it finishes what it has in hand, at most the time of the handlers at work, and keeps
    /// its place. Answers once it has ended; `false` when it does not run here.
    pub async fn dismiss(&self, consumer: &str) -> bool {
        let Some(left) = self.seats().get(consumer).map(|seat| {
            seat.leave.cancel();
            seat.left.clone()
        }) else {
            return false;
        };
        left.cancelled().await;
        let mut seats = self.seats();
        // Whoever waited longer must not take away the seat of a loop that was started since.
        if seats.get(consumer).is_some_and(|seat| seat.left.is_cancelled()) {
            seats.remove(consumer);
        }
        true
    }

    /// Whether a consumer runs here.
    pub fn runs(&self, consumer: &str) -> bool {
        self.seats().contains_key(consumer)
    }

    /// The consumers that run here, in the order of their names.
    pub fn consumers(&self) -> Vec<String> {
        self.seats().keys().cloned().collect()
    }

    /// Who runs here and can be woken.
    pub(crate) fn runners(&self) -> BTreeMap<String, Arc<ConsumeLoop>> {
        let seats = self.seats();
        let staying = seats.iter().filter(|(name, seat)| !seat.leave.is_cancelled() && !self.0.pauses.is_paused(name));
        staying.map(|(name, seat)| (name.clone(), seat.runner.clone())).collect()
    }

    fn seats(&self) -> MutexGuard<'_, BTreeMap<String, Seat>> {
        // Every state of it is a valid one.
        self.0.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Events that were parked because an older build did not know their version: this build may.
async fn readmit_newer(ports: &Ports, consumer: &Consumer, runner: &ConsumeLoop) {
    let mut query = ParkedQuery { consumer: Some(consumer.name.clone()), key: None, after: 0, limit: 100 };
    let mut readmitted = std::collections::HashSet::new();
    loop {
        let page = match ports.store.parked(&query).await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(consumer = consumer.name, %error, "cannot look for parked events of newer versions");
                return;
            }
        };
        let Some(last) = page.last() else { return };
        query.after = last.ordinal;
        for parked in page {
            let key = parked.envelope.key.clone();
            let waited_for_us = parked.code == "event.newer_version" && !consumer.is_newer(&parked.envelope.ty);
            let behind_such = parked.code == "parked.behind" && readmitted.contains(&key);
            if !(waited_for_us || behind_such) {
                readmitted.remove(&key);
                continue;
            }
            match redrive_one(ports, runner, &parked).await {
                Ok(None) => {
                    readmitted.insert(key);
                }
                outcome => {
                    readmitted.remove(&key);
                    tracing::warn!(consumer = consumer.name, event = parked.envelope.id, ?outcome, "stays parked");
                }
            }
        }
    }
}
