//! What happens to an event whose handling failed: again later, its handler's last word, or parked.

use std::any::Any;
use std::time::Duration;

use tidewire_core::failpoint::{self, Asked};
use tidewire_core::{Commit, Consumer, Delivery, Envelope, HandlerError, Mark, Park, SchemaError, Seen, Unit};
use tokio_util::sync::CancellationToken;

use super::ConsumeLoop;
use crate::telemetry::metrics;

/// The longest reason kept with a parked event, in bytes: enough for a chain of causes, not for a dump.
const MAX_REASON_BYTES: usize = 4_096;

/// Why handling an event failed, with the code operators see.
#[derive(Debug)]
pub struct Failure {
    /// The stable code.
    pub code: String,
    /// The error.
    pub error: HandlerError,
}

impl From<HandlerError> for Failure {
    fn from(error: HandlerError) -> Self {
        Self { code: error.code().to_owned(), error }
    }
}

impl Failure {
    pub(super) fn panicked(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".into());
        let error = HandlerError::transient(format!("the handler panicked: {text}"));
        Self { code: "handler.panicked".into(), error }
    }

    pub(super) fn timed_out(limit: Duration) -> Self {
        let error = HandlerError::transient(format!("the handler took longer than {limit:?}"));
        Self { code: "handler.timeout".into(), error }
    }

    pub(super) fn crashed(starts: u32) -> Self {
        let reason = format!("the process ended {starts} times while the event was being handled");
        HandlerError::permanent("handler.crashed", reason).into()
    }

    pub(super) fn newer(envelope: &Envelope, consumer: &Consumer) -> Self {
        let known = consumer.types.iter().find(|ty| ty.name() == envelope.ty.name()).map_or(0, |ty| ty.version());
        HandlerError::Schema(SchemaError::Newer { found: envelope.ty.clone(), known }).into()
    }

    fn reason(&self) -> String {
        let mut reason = self.error.to_string();
        if reason.len() > MAX_REASON_BYTES {
            let end = (0..=MAX_REASON_BYTES).rev().find(|&at| reason.is_char_boundary(at)).unwrap_or(0);
            reason.truncate(end);
        }
        reason
    }
}

impl ConsumeLoop {
    pub(super) fn max_attempts(&self) -> u32 {
        self.consumer.max_attempts.unwrap_or(self.options.max_attempts)
    }

    /// Decides about an event that failed: handed back with backoff, given up, or parked. `starts` as in
    /// [`ConsumeLoop::run_all`].
    pub(super) async fn fail(
        &self,
        delivery: Delivery,
        failure: Failure,
        starts: Option<u32>,
        stop: &CancellationToken,
    ) {
        let name = &self.consumer.name;
        if let HandlerError::Away { after, .. } = failure.error {
            // Whoever is away is reported by the handler that found it out, not by every event that waits for him.
            tracing::debug!(consumer = name, event = delivery.envelope.id, code = failure.code, error = %failure.error, "waits");
            metrics::retried(name, 1);
            self.hand_back([delivery], after);
            return;
        }
        if !failure.error.is_counted() {
            tracing::warn!(consumer = name, event = delivery.envelope.id, code = failure.code, error = %failure.error, "not now; the event comes again");
            metrics::retried(name, 1);
            self.pause(1, stop).await;
            self.hand_back([delivery], self.options.backoff.first);
            return;
        }
        let Some(attempts) = self.count(&delivery, &failure, starts, stop).await else {
            self.retry(delivery, self.options.backoff.first);
            return;
        };
        if failure.error.is_transient() && attempts < self.max_attempts() {
            let asked = match failure.error {
                HandlerError::Transient { after, .. } => after.unwrap_or_default(),
                _ => Duration::ZERO,
            };
            let after = self.options.backoff.after(attempts, self.ports.clock.random()).max(asked);
            tracing::warn!(
                consumer = name, event = delivery.envelope.id, ty = %delivery.envelope.ty, key = %delivery.envelope.key,
                attempt = attempts, code = failure.code, error = %failure.error, again_in = ?after, "handling failed"
            );
            metrics::retried(name, 1);
            self.retry(delivery, after);
            return;
        }
        self.give_up(delivery, failure, attempts, stop).await;
    }

    /// How often the handler was started for this event. First starts are recorded only when they fail.
    async fn count(
        &self,
        delivery: &Delivery,
        failure: &Failure,
        starts: Option<u32>,
        stop: &CancellationToken,
    ) -> Option<u32> {
        if starts.is_some() || !failure.error.is_transient() {
            return Some(starts.unwrap_or(1));
        }
        let marks = [Mark::of(&delivery.envelope)];
        let reason = failure.reason();
        let started =
            self.through_outages(stop, || self.store().start(&self.consumer.name, &marks, Some(&reason))).await?;
        started.first().copied()
    }

    /// The handler's last word, else parked. Acknowledged once either is committed.
    async fn give_up(&self, delivery: Delivery, failure: Failure, attempts: u32, stop: &CancellationToken) {
        let name = &self.consumer.name;
        let envelope = &delivery.envelope;
        let last_word = self.last_word(envelope, &failure, attempts).await;
        let (commit, parked) = match last_word {
            Some(commit) => (commit, false),
            None if self.is_parking_full(stop).await => {
                self.retry(delivery, self.options.backoff.max);
                return;
            }
            None => (self.park(envelope, &failure, attempts), true),
        };
        let outcome = self.through_outages(stop, || self.store().commit(commit.clone())).await;
        if failpoint::reach("consume.after_park") == Asked::Fail || outcome.is_none() {
            self.retry(delivery, self.options.backoff.first);
            return;
        }
        if parked {
            self.trouble(&envelope.key);
            tracing::error!(
                consumer = name, event = envelope.id, ty = %envelope.ty, key = %envelope.key, attempts,
                code = failure.code, error = %failure.error, "parked; what follows on this key waits behind it"
            );
            metrics::parked(name, 1);
        } else {
            tracing::warn!(
                consumer = name, event = envelope.id, ty = %envelope.ty, key = %envelope.key, attempts,
                code = failure.code, error = %failure.error, "given up, as the handler decided"
            );
            metrics::handled(name, 1);
        }
        delivery.ack();
    }

    async fn last_word(&self, envelope: &Envelope, failure: &Failure, attempts: u32) -> Option<Commit> {
        if matches!(failure.error, HandlerError::Schema(SchemaError::Newer { .. })) {
            return None;
        }
        let fence = match self.fence().await {
            Ok(fence) => fence,
            Err(error) => {
                tracing::warn!(consumer = self.consumer.name, event = envelope.id, %error, "the handler has no last word");
                return None;
            }
        };
        let mut unit = Unit::new(self.ports.store.clone(), self.ports.clock.clone(), &self.consumer.name, &self.source);
        let mut cx = unit.context(Some(envelope), attempts);
        match self.guard(self.handler.give_up(envelope, &failure.error, &mut cx)).await {
            Ok(true) => {
                cx.keep();
                let mut commit = unit.into_commit();
                commit.fence = fence;
                commit.seen.push(Seen { consumer: self.consumer.name.clone(), mark: Mark::of(envelope) });
                Some(commit)
            }
            Ok(false) => None,
            Err(worse) => {
                tracing::error!(consumer = self.consumer.name, event = envelope.id, error = %worse.error, "giving up failed as well");
                None
            }
        }
    }

    pub(crate) fn park(&self, envelope: &Envelope, failure: &Failure, attempts: u32) -> Commit {
        let park = Park {
            consumer: self.consumer.name.clone(),
            envelope: envelope.clone(),
            code: failure.code.clone(),
            reason: failure.reason(),
            attempts,
            follower: false,
            place: None,
        };
        Commit { park: vec![park], ..Commit::default() }
    }
}
