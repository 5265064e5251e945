//! The effect loop: carries out what handlers asked for, outside the database, at least once, each time with
//! the same idempotency key.

mod http;
mod mail;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use futures::StreamExt;
use tidewire_core::effect::{DueEffect, EffectOutcome, EffectState};
use tidewire_core::failpoint::{self, Asked};
use tidewire_core::{Backoff, Call, Commit, Effect, Fence, StoreError};
use tokio_util::sync::CancellationToken;

pub use http::HttpCaller;
pub use mail::{MailError, Mailer};

use crate::ports::Ports;
use crate::telemetry::metrics;

const LEASE: &str = "effects";
const LEASE_TTL: Duration = Duration::from_secs(15);
/// The longest sleep: an effect asked for by another process is seen this late at the worst.
const MAX_SLEEP: Duration = Duration::from_millis(500);
/// One attempt may take so long, below the lease's life, so that nobody else repeats it meanwhile.
pub const MAX_ATTEMPT: Duration = Duration::from_secs(10);

/// How effects are tried; see `effects.*` in the configuration.
#[derive(Clone, Debug)]
pub struct EffectOptions {
    /// So many at once.
    pub concurrency: usize,
    /// Tries before an effect is given up, which is logged as an error and counted.
    pub max_attempts: u32,
    /// Waits between tries.
    pub backoff: Backoff,
}

impl Default for EffectOptions {
    fn default() -> Self {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(600));
        Self { concurrency: 8, max_attempts: 12, backoff }
    }
}

/// Carries out one kind of effect.
#[async_trait]
pub trait Caller: Send + Sync {
    /// `mail` or `http`, as [`Call::kind`] names it.
    fn kind(&self) -> &'static str;

    /// Does it, handing [`Effect::id`] on as the idempotency key.
    async fn call(&self, effect: &Effect) -> Result<(), CallError>;
}

/// Why an effect did not happen.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// May work later.
    #[error("{0}")]
    Transient(String),
    /// Will never work.
    #[error("{0}")]
    Permanent(String),
}

/// Carries out due effects, one process at a time.
pub struct EffectLoop {
    ports: Ports,
    callers: Vec<Arc<dyn Caller>>,
    options: EffectOptions,
    owner: String,
}

impl EffectLoop {
    /// A loop with a caller per kind of effect.
    pub fn new(ports: &Ports, callers: Vec<Arc<dyn Caller>>, options: EffectOptions) -> Self {
        let owner = ports.clock.id().to_string();
        Self { ports: ports.clone(), callers, options, owner }
    }

    /// Runs until `stop`. The lease is taken only when there is something to do: an idle process writes nothing.
    pub async fn run(self, stop: CancellationToken) {
        let mut held = None;
        while !stop.is_cancelled() {
            match self.round(&mut held).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::warn!(code = error.code(), %error, "effects have to wait"),
            }
            let _ = tokio::time::timeout(self.sleep().await, stop.cancelled()).await;
        }
        if let Some(epoch) = held {
            let _ = self.ports.store.release(LEASE, &self.owner, epoch).await;
        }
    }

    /// One round. Answers whether something was carried out.
    async fn round(&self, held: &mut Option<u64>) -> Result<bool, StoreError> {
        if self.ports.store.due_effects(self.ports.clock.now(), 1).await?.is_empty() {
            return Ok(false);
        }
        *held = self.ports.store.lease(LEASE, &self.owner, LEASE_TTL).await?;
        match *held {
            Some(epoch) => self.carry_out(epoch).await,
            None => Ok(false),
        }
    }

    async fn sleep(&self) -> Duration {
        let next = self.ports.store.next_due(&[]).await.ok().and_then(|(_, effect)| effect);
        let until = next.map(|due| (due - self.ports.clock.now()).to_std().unwrap_or_default());
        until.unwrap_or(MAX_SLEEP).clamp(Duration::from_millis(5), MAX_SLEEP)
    }

    /// Carries out what is due, under the lease; read again, because somebody may just have done it.
    async fn carry_out(&self, epoch: u64) -> Result<bool, StoreError> {
        let due = self.ports.store.due_effects(self.ports.clock.now(), self.options.concurrency).await?;
        if due.is_empty() {
            return Ok(false);
        }
        let outcomes: Vec<EffectOutcome> = futures::stream::iter(due)
            .map(|due| self.attempt(due))
            .buffer_unordered(self.options.concurrency)
            .collect()
            .await;
        if failpoint::reach("effect.after_call") == Asked::Fail {
            return Err(StoreError::Unavailable("failpoint".into()));
        }
        let fence = Some(Fence { lease: LEASE.into(), epoch });
        self.ports.store.commit(Commit { settled: outcomes, fence, ..Commit::default() }).await?;
        Ok(true)
    }

    async fn attempt(&self, due: DueEffect) -> EffectOutcome {
        let DueEffect { effect, attempts } = due;
        let _ = failpoint::reach("effect.before_call");
        let kind = effect.call.kind();
        let outcome = match self.callers.iter().find(|caller| caller.kind() == kind) {
            None => Err(CallError::Permanent(format!("nothing here carries out `{kind}` effects: configure it"))),
            Some(caller) => tokio::time::timeout(MAX_ATTEMPT, caller.call(&effect))
                .await
                .unwrap_or_else(|_| Err(CallError::Transient(format!("no answer within {MAX_ATTEMPT:?}")))),
        };
        let tried = attempts + 1;
        let (state, error, word) = match outcome {
            Ok(()) => (EffectState::Done, None, "done"),
            Err(CallError::Transient(reason)) if tried < self.options.max_attempts => {
                let wait = self.options.backoff.after(tried, self.ports.clock.random());
                let due = self.ports.clock.now() + TimeDelta::from_std(wait).unwrap_or(TimeDelta::minutes(10));
                tracing::warn!(
                    consumer = effect.consumer,
                    effect = effect.id,
                    kind,
                    attempt = tried,
                    error = reason,
                    "an effect failed; trying again"
                );
                (EffectState::Pending(due), Some(reason), "retried")
            }
            Err(error) => {
                tracing::error!(
                    code = "effect.failed",
                    consumer = effect.consumer,
                    effect = effect.id,
                    kind,
                    attempt = tried,
                    %error,
                    "an effect is given up"
                );
                (EffectState::Failed, Some(error.to_string()), "failed")
            }
        };
        metrics::effect(kind, word);
        EffectOutcome { id: effect.id, state, error }
    }
}

/// Whether a call is an e-mail, for callers that take only one kind.
fn unexpected(call: &Call) -> CallError {
    CallError::Permanent(format!("a `{}` effect came to the wrong place", call.kind()))
}
