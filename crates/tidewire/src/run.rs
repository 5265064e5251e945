//! Services on ports, running: every loop of a process, and its end.

use std::sync::Arc;
use std::time::Duration;

use tidewire_core::{Backoff, Handler};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::consume::ConsumeOptions;
use crate::effects::{Caller, EffectLoop, EffectOptions, HttpCaller, MailError, Mailer};
use crate::gauges;
use crate::ports::Ports;
use crate::replay::{Elsewhere, Replays};
use crate::roster::Roster;
use crate::service::Service;
use crate::timers::TimerLoop;

/// A loop that ended by itself is started again after this long.
const RESTART_AFTER: Duration = Duration::from_millis(500);

/// How the loops of a process behave.
pub struct RunOptions {
    /// The consume loops.
    pub consume: ConsumeOptions,
    /// The effect loop.
    pub effects: EffectOptions,
    /// What carries out effects. Without any, this process leaves effects to others: whoever takes one for which he has
    /// no caller gives it up.
    pub callers: Vec<Arc<dyn Caller>>,
}

impl RunOptions {
    /// From the configuration. Fails where the mail server's URL or the sender cannot be used.
    pub fn from_config(config: &Config) -> Result<Self, MailError> {
        let mut callers: Vec<Arc<dyn Caller>> =
            vec![Arc::new(HttpCaller::new(config.effects.http_timeout, config.effects.allow_private_targets))];
        if !config.smtp.url.is_empty() {
            callers.push(Arc::new(Mailer::new(config.smtp.url.expose(), &config.smtp.from)?));
        }
        let effects = EffectOptions {
            concurrency: config.effects.concurrency,
            max_attempts: config.effects.max_attempts,
            ..EffectOptions::default()
        };
        Ok(Self { consume: consume_options(config), effects, callers })
    }
}

/// The consume loops' part of the configuration.
pub fn consume_options(config: &Config) -> ConsumeOptions {
    ConsumeOptions {
        batch: config.consume.batch,
        batch_bytes: usize::try_from(config.consume.batch_bytes).unwrap_or(usize::MAX),
        concurrency: config.consume.concurrency,
        max_attempts: config.consume.max_attempts,
        parked_max: config.consume.parked_max as u64,
        backoff: Backoff::new(config.consume.backoff_initial, config.consume.backoff_max),
        handler_timeout: config.consume.handler_timeout,
        max_in_flight: config.broker.max_in_flight,
        ack_wait: config.broker.ack_wait,
    }
}

/// The handlers of services, each with the source its events are emitted as.
pub fn handlers_of(services: &[Service]) -> Vec<(Arc<dyn Handler>, String)> {
    let of = |service: &Service| {
        let source = format!("/{}", service.name);
        service.handlers.iter().map(move |handler| (handler.clone(), source.clone())).collect::<Vec<_>>()
    };
    services.iter().flat_map(of).collect()
}

/// The projections of services that are not documents.
pub fn elsewhere_of(services: &[Service]) -> Vec<Arc<dyn Elsewhere>> {
    services.iter().flat_map(|service| service.elsewhere.clone()).collect()
}

/// The running loops of a process.
pub struct Running {
    ports: Ports,
    roster: Roster,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Starts everything `services` need: a consume loop per handler, timers, effects (where there are callers), their
/// background work, and the keepers of consumers that come and go.
/// Routes are the gateway's business.
pub fn start(ports: &Ports, services: Vec<Service>, options: RunOptions) -> Running {
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let roster = Roster::new(ports, options.consume, stop.clone(), tasks.clone());
    for (handler, source) in handlers_of(&services) {
        let name = handler.consumer().name;
        if !roster.enroll(handler, &source) {
            tracing::error!(consumer = name, "two handlers have one name; the second one does not run");
        }
    }
    let timers = roster.clone();
    supervise(&tasks, &stop, "timers".into(), move |stop| TimerLoop::new(timers.clone()).run(stop));
    let replays =
        Replays::new(ports, handlers_of(&services), roster.options().clone()).with_elsewhere(elsewhere_of(&services));
    supervise(&tasks, &stop, "replay".into(), move |stop| replays.clone().run(stop));
    if !options.callers.is_empty() {
        let (effect_ports, callers, effects) = (ports.clone(), options.callers, options.effects);
        supervise(&tasks, &stop, "effects".into(), move |stop| {
            EffectLoop::new(&effect_ports, callers.clone(), effects.clone()).run(stop)
        });
    }
    let gauged = roster.clone();
    supervise(&tasks, &stop, "gauges".into(), move |stop| gauges::keep_reading(gauged.clone(), stop));
    for service in services {
        for background in service.background {
            tasks.spawn((background.run)(stop.clone()));
        }
        for keeper in service.keepers {
            tasks.spawn((keeper.run)(roster.clone(), stop.clone()));
        }
    }
    tasks.close();
    Running { ports: ports.clone(), roster, stop, tasks }
}

impl Running {
    /// Cancelled when the process is to end.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Who consumes here. Consumers may be added and stopped while the process runs.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Stops taking work, finishes what is in hand within `deadline`, closes broker and store. Answers whether
    /// everything ended in time; if not, nothing is lost either: what was not acknowledged comes again.
    pub async fn shutdown(self, deadline: Duration) -> bool {
        self.stop.cancel();
        let in_time = tokio::time::timeout(deadline, self.tasks.wait()).await.is_ok();
        if !in_time {
            tracing::warn!(?deadline, "some work did not end in time; it is done again after the next start");
        }
        self.ports.broker.close().await;
        self.ports.store.close().await;
        in_time
    }
}

/// Runs a loop, and again should it end by itself: a defect in one loop must not silence a consumer.
pub(crate) fn supervise<F, R>(tasks: &TaskTracker, stop: &CancellationToken, name: String, make: F) -> JoinHandle<()>
where
    F: Fn(CancellationToken) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let stop = stop.clone();
    tasks.spawn(async move {
        while !stop.is_cancelled() {
            let ended = tokio::spawn(make(stop.clone())).await;
            if stop.is_cancelled() {
                return;
            }
            let error = ended.err().map(|error| error.to_string()).unwrap_or_else(|| "it returned".into());
            tracing::error!(name, error, "a loop ended unexpectedly; starting it again");
            let _ = tokio::time::timeout(RESTART_AFTER, stop.cancelled()).await;
        }
    })
}
