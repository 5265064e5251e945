//! The handler of a subscription: sends the event, and emits what the endpoint answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use tidewire_core::handler::{Consumer, Kind};
use tidewire_core::saga::SagaRef;
use tidewire_core::store::Selection;
use tidewire_core::{Context, Draft, Envelope, Handler, HandlerError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::endpoint::{Answer, Endpoint, Outcome, Pass};
use super::subscription::{Choice, Start, Subscription, WantedError, is_among};
use super::{Admission, PushOptions, Register};
use crate::telemetry::metrics;

/// What resolving a name and connecting may take beyond the wait for the answer.
const OVERHEAD: Duration = Duration::from_secs(10);
/// How far clocks of machines may lie apart when it is told by time whether an event came before a subscription. Nearer
/// ones are looked up in the log.
const MAX_SKEW: TimeDelta = TimeDelta::minutes(2);
/// Events looked at under one id: emitters rarely share ids.
const MAX_SAME_ID: usize = 20;

/// The handler of one subscription, under the name `push.<id>`.
///
/// The endpoint gets every event at least once, in order per key; every try carries the same `webhook-id`. What it
/// answers with is emitted exactly once, with the mark of the event. A failure is the event's (counted, parked in the
/// end) or the endpoint's (the event waits, uncounted); see [`Outcome`].
pub struct PushHandler {
    subscription: Subscription,
    choice: Choice,
    consumer: Consumer,
    endpoint: Arc<Endpoint>,
    admission: Arc<dyn Admission>,
    options: PushOptions,
    signals: Signals,
}

/// What a handler and its keeper tell each other.
#[derive(Clone, Default)]
pub(super) struct Signals {
    /// From the keeper: begin nothing more.
    pub leave: CancellationToken,
    /// From the handler: the endpoint said that it is gone.
    pub gone: Arc<AtomicBool>,
    /// From the handler: look now.
    pub look: Arc<Notify>,
}

impl PushHandler {
    /// The handler of a subscription. Fails where what it asks for cannot be read any more.
    pub fn new(register: &Register, subscription: &Subscription) -> Result<Self, WantedError> {
        Self::told(register, subscription, Signals::default())
    }

    pub(super) fn told(
        register: &Register,
        subscription: &Subscription,
        signals: Signals,
    ) -> Result<Self, WantedError> {
        let (options, admission) = (register.options().clone(), register.admission().clone());
        let config = &subscription.wanted.config;
        let consumer = Consumer {
            kind: if config.reply.is_some() { Kind::Participant } else { Kind::Handler },
            concurrency: Some(config.concurrency.unwrap_or(options.concurrency)),
            timeout: Some(config.timeout(&options) + OVERHEAD),
            max_attempts: config.max_attempts,
            since: subscription.since,
            outside: Some("an HTTP endpoint"),
            ..Consumer::new(subscription.consumer_name(), subscription.wanted.reads(&admission.types()))
        };
        Ok(Self {
            choice: Choice::of(&subscription.wanted)?,
            endpoint: Arc::new(Endpoint::new(subscription, &options)),
            subscription: subscription.clone(),
            consumer,
            admission,
            options,
            signals,
        })
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Whether an event came after the subscription was made, where that matters.
    async fn is_new_enough(&self, event: &Envelope, cx: &Context<'_>) -> Result<bool, HandlerError> {
        let Subscription { created, since, wanted, .. } = &self.subscription;
        let Some(recorded) = event.recordedtime.filter(|_| wanted.config.start != Some(Start::Earliest)) else {
            return Ok(true);
        };
        if (recorded - created).abs() > MAX_SKEW {
            return Ok(recorded > *created);
        }
        let selection = Selection { id: Some(event.id.clone()), limit: MAX_SAME_ID, ..Selection::default() };
        let found = cx.store().read(&selection).await?;
        let place = found.iter().find(|recorded| recorded.envelope.source == event.source);
        Ok(place.is_none_or(|recorded| recorded.position > *since))
    }

    /// Puts what the endpoint answered with into the context.
    fn reply(&self, answer: Answer, event: &Envelope, cx: &mut Context<'_>) -> Result<(), String> {
        let Some(reply) = &self.subscription.wanted.config.reply else {
            return Err("the answer holds an event, and the subscription has no `config.reply`".into());
        };
        let Answer { headers, body } = answer;
        let admitted = self.admission.admit(&headers, body, event.key.as_str()).map_err(|error| error.to_string())?;
        let at = SagaRef::of(event);
        for envelope in admitted {
            if !is_among(&envelope.ty, &reply.types) {
                return Err(format!("`{}` is not among the types of `config.reply`", envelope.ty));
            }
            let draft = draft(envelope);
            cx.emit_draft(at.as_ref().map_or_else(|| draft.clone(), |at| at.stamp(draft.clone())));
        }
        Ok(())
    }

    /// What the outcome of a request means for its event.
    fn conclude(
        &self,
        outcome: Outcome,
        pass: Pass,
        event: &Envelope,
        cx: &mut Context<'_>,
    ) -> Result<(), HandlerError> {
        metrics::pushed(&self.consumer.name, outcome.word());
        // Of the endpoint before this request: the failure that opens the circuit still counts.
        let in_doubt = self.endpoint.is_in_doubt();
        let outcome = match outcome {
            Outcome::Taken(Some(answer)) => match self.reply(*answer, event, cx) {
                Ok(()) => Outcome::Taken(None),
                Err(reason) => Outcome::Refused { code: "push.reply_invalid", reason },
            },
            outcome => outcome,
        };
        let failure = outcome.failure();
        let told = failure.as_ref().map(|(code, reason)| (*code, reason.as_str()));
        self.endpoint.ended(pass, told, cx.now());
        let Some((code, reason)) = failure else { return Ok(()) };
        let wait = self.options.breaker_first;
        Err(match outcome {
            Outcome::Gone => {
                self.signals.gone.store(true, Ordering::Release);
                self.signals.look.notify_one();
                HandlerError::away(code, reason, wait)
            }
            Outcome::Away { after, .. } => HandlerError::away(code, reason, after.unwrap_or(wait)),
            _ if in_doubt => HandlerError::away(code, reason, wait),
            Outcome::Failed { after, .. } => HandlerError::Transient { reason, after },
            _ => HandlerError::permanent(code, reason),
        })
    }
}

/// An admitted event as something to be emitted: its id, time and source are ours.
fn draft(envelope: Envelope) -> Draft {
    Draft {
        ty: envelope.ty,
        key: envelope.key,
        data: envelope.data,
        datacontenttype: envelope.datacontenttype,
        subject: envelope.subject,
        id: None,
        correlationid: None,
        expirytime: envelope.expirytime,
        dataref: envelope.dataref,
        extensions: envelope.extensions,
    }
}

#[async_trait]
impl Handler for PushHandler {
    fn consumer(&self) -> Consumer {
        self.consumer.clone()
    }

    async fn handle(&self, event: &Envelope, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        if !self.choice.takes(event) || !self.is_new_enough(event, cx).await? {
            metrics::pushed(&self.consumer.name, "skipped");
            return Ok(());
        }
        let waiting = |reason: &str, wait| HandlerError::away("push.waiting", reason, wait);
        if self.signals.leave.is_cancelled() || self.signals.gone.load(Ordering::Acquire) {
            return Err(waiting("the subscription is being changed", self.options.refresh));
        }
        let pass = match self.endpoint.enter().await {
            Ok(pass) => pass,
            Err(wait) => return Err(waiting("the endpoint is left alone for a while", wait)),
        };
        let outcome = self.endpoint.send(event, cx.clock()).await;
        self.conclude(outcome, pass, event, cx)
    }
}
