//! Services on ports, running: every loop of a process, and its end.

use std::sync::Arc;
use std::time::Duration;

use tidewire_core::handler::Consumer;
use tidewire_core::store::ParkedQuery;
use tidewire_core::{Backoff, Handler};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::consume::{ConsumeLoop, ConsumeOptions};
use crate::effects::{Caller, EffectLoop, EffectOptions, HttpCaller, MailError, Mailer};
use crate::gauges;
use crate::operate::redrive_one;
use crate::ports::Ports;
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

/// The running loops of a process.
pub struct Running {
    ports: Ports,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Starts everything `services` need: a consume loop per handler, timers, effects (where there are callers), their
/// background work.
/// Routes are the gateway's business.
pub fn start(ports: &Ports, services: Vec<Service>, options: RunOptions) -> Running {
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let handlers = handlers_of(&services);
    let consumers: Vec<String> = handlers.iter().map(|(handler, _)| handler.consumer().name).collect();
    for (handler, source) in &handlers {
        let (ports, handler, source) = (ports.clone(), handler.clone(), source.clone());
        let (consume, consumer) = (options.consume.clone(), handler.consumer());
        supervise(&tasks, &stop, consumer.name.clone(), move |stop| {
            let consumer_loop = ConsumeLoop::new(&ports, handler.clone(), &source, consume.clone());
            let (ports, consumer) = (ports.clone(), consumer.clone());
            async move {
                readmit_newer(&ports, &consumer, &consumer_loop).await;
                consumer_loop.run(stop).await;
            }
        });
    }
    if !handlers.is_empty() {
        let (ports, consume) = (ports.clone(), options.consume.clone());
        supervise(&tasks, &stop, "timers".into(), move |stop| TimerLoop::new(&ports, &handlers, &consume).run(stop));
    }
    if !options.callers.is_empty() {
        let (effect_ports, callers, effects) = (ports.clone(), options.callers, options.effects);
        supervise(&tasks, &stop, "effects".into(), move |stop| {
            EffectLoop::new(&effect_ports, callers.clone(), effects.clone()).run(stop)
        });
    }
    let gauge_ports = ports.clone();
    supervise(&tasks, &stop, "gauges".into(), move |stop| {
        gauges::keep_reading(gauge_ports.clone(), consumers.clone(), stop)
    });
    for background in services.into_iter().flat_map(|service| service.background) {
        tasks.spawn((background.run)(stop.clone()));
    }
    tasks.close();
    Running { ports: ports.clone(), stop, tasks }
}

impl Running {
    /// Cancelled when the process is to end.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
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
fn supervise<F, R>(tasks: &TaskTracker, stop: &CancellationToken, name: String, make: F)
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
    });
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
