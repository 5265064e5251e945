//! Participants: the services that carry out a saga's steps.

mod duty;
mod part;
pub(in crate::saga) mod record;

pub use part::{Part, Reversible};

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidewire_core::handler::{Consumer, Kind};
use tidewire_core::saga::{Failure, SagaRef};
use tidewire_core::{Context, Draft, Envelope, Handler, HandlerError};

use duty::{Backward, Duty, Forward};
use record::{Ruling, StepRecord};

/// A handler that carries out the steps of sagas, with the promises a saga needs:
///
/// - a request that is repeated gets the reply that was given before; the work is not done again;
/// - an undo that overtakes its step is answered, and the step that comes after it is refused;
/// - a request older than what the saga has decided since is refused;
/// - a step that fails for good, whatever the reason, is answered so; nothing waits for a person.
///
/// Both directions of a part go through one participant, and so through one consumer: requests of one key are
/// handled in order. Requests without the saga attributes are carried out once each and replied to without them.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tidewire::saga::{Part, Participant, Reversible};
/// use tidewire_core::saga::Failure;
/// use tidewire_core::{Context, Event, EventType, HandlerError, Key};
///
/// macro_rules! event { ($ty:ident, $name:literal) => {
///     #[derive(Serialize, Deserialize)] struct $ty { order: String, code: String, reason: String }
///     impl Event for $ty {
///         const TYPE: EventType = EventType::new($name, 1);
///         fn key(&self) -> Key { Key::of("order", &self.order) }
///     }
/// } }
/// event!(ReservationRequested, "stock.reservation.requested");
/// event!(Reserved, "stock.reserved");
/// event!(ReservationFailed, "stock.reservation.failed");
/// event!(ReleaseRequested, "stock.release.requested");
/// event!(Released, "stock.released");
///
/// struct Reservation;
///
/// #[async_trait::async_trait]
/// impl Part for Reservation {
///     type Request = ReservationRequested;
///     type Done = Reserved;
///     type Failed = ReservationFailed;
///
///     async fn perform(&self, request: &ReservationRequested, cx: &mut Context<'_>) -> Result<Reserved, HandlerError> {
///         let left: u32 = cx.get("stock", "anchor").await?.unwrap_or(0);
///         let Some(left) = left.checked_sub(1) else {
///             return Err(HandlerError::permanent("stock.empty", "no anchors left"));
///         };
///         cx.put("stock", "anchor", &left)?;
///         Ok(Reserved { order: request.order.clone(), code: String::new(), reason: String::new() })
///     }
///
///     fn failed(&self, request: &ReservationRequested, failure: &Failure) -> ReservationFailed {
///         let Failure { code, reason } = failure.clone();
///         ReservationFailed { order: request.order.clone(), code, reason }
///     }
/// }
///
/// #[async_trait::async_trait]
/// impl Reversible for Reservation {
///     type UndoRequest = ReleaseRequested;
///     type Undone = Released;
///
///     async fn undo(&self, request: &ReleaseRequested, cx: &mut Context<'_>) -> Result<Released, HandlerError> {
///         # let _ = cx;
///         // Look whether there is anything to release: the reservation may never have happened.
///         Ok(Released { order: request.order.clone(), code: String::new(), reason: String::new() })
///     }
/// }
///
/// let participant = Participant::new("stock.reservation").reversible(Reservation);
/// # let _ = participant;
/// ```
pub struct Participant {
    consumer: Consumer,
    duties: Vec<Box<dyn Duty>>,
}

impl Participant {
    /// A participant without parts. `name` is its consumer name, such as `documents.extraction`, and names its
    /// records: renaming it makes it forget what it has done.
    pub fn new(name: impl Into<String>) -> Self {
        Self { consumer: Consumer { kind: Kind::Participant, ..Consumer::new(name, Vec::new()) }, duties: Vec::new() }
    }

    /// With a part that can be undone: it reads the requests for both.
    pub fn reversible(self, part: impl Reversible) -> Self {
        let part = Arc::new(part);
        self.duty(Forward(part.clone())).duty(Backward(part))
    }

    /// With a part that cannot be undone: a pivot, or a step after one.
    pub fn irreversible(self, part: impl Part) -> Self {
        self.duty(Forward(Arc::new(part)))
    }

    /// How many requests of different keys are carried out at once.
    pub fn concurrency(mut self, keys: usize) -> Self {
        self.consumer.concurrency = Some(keys);
        self
    }

    /// How long one request may take before the run counts as failed.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.consumer.timeout = Some(timeout);
        self
    }

    /// How often a request is started before it is answered as failed.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.consumer.max_attempts = Some(attempts);
        self
    }

    fn duty(mut self, duty: impl Duty + 'static) -> Self {
        self.consumer.types.push(duty.request());
        self.duties.push(Box::new(duty));
        self
    }

    fn find(&self, request: &Envelope) -> Option<&dyn Duty> {
        self.duties.iter().find(|duty| duty.request().name() == request.ty.name()).map(AsRef::as_ref)
    }

    async fn rule(
        &self,
        at: &SagaRef,
        duty: &dyn Duty,
        cx: &mut Context<'_>,
    ) -> Result<(Ruling, Option<StepRecord>), HandlerError> {
        let record = StepRecord::load(&self.consumer.name, at, cx).await?;
        let ruling = record.as_ref().map_or(Ruling::Run, |record| record.rule(duty.direction(), at.epoch));
        Ok((ruling, record))
    }

    /// Replies what was replied before. That a newer request asked is remembered, so that older ones are refused.
    fn repeat(
        &self,
        (at, duty): (&SagaRef, &dyn Duty),
        record: Option<StepRecord>,
        reply: Draft,
        cx: &mut Context<'_>,
    ) -> Result<(), HandlerError> {
        if let Some(record) = record.filter(|record| record.is_before(at.epoch)) {
            record.repeated(duty.direction(), at.epoch).store(&self.consumer.name, at, cx)?;
        }
        cx.emit_draft(at.stamp(reply));
        Ok(())
    }

    /// Replies, and remembers the reply for when the request is repeated.
    fn settle(
        &self,
        (at, duty): (&SagaRef, &dyn Duty),
        before: Option<StepRecord>,
        done: bool,
        reply: Draft,
        cx: &mut Context<'_>,
    ) -> Result<(), HandlerError> {
        let record = StepRecord::new(at.epoch, duty.direction(), done, &reply).after(before);
        record.store(&self.consumer.name, at, cx)?;
        cx.emit_draft(at.stamp(reply));
        Ok(())
    }
}

#[async_trait]
impl Handler for Participant {
    fn consumer(&self) -> Consumer {
        self.consumer.clone()
    }

    async fn prepare(&self, events: &[&Envelope], cx: &mut Context<'_>) -> Result<(), HandlerError> {
        StepRecord::prefetch(&self.consumer.name, events, cx).await
    }

    async fn handle(&self, event: &Envelope, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        let Some(duty) = self.find(event) else { return Ok(()) };
        let Some(at) = SagaRef::of(event) else {
            let reply = duty.run(event, cx).await?;
            cx.emit_draft(reply);
            return Ok(());
        };
        match self.rule(&at, duty, cx).await? {
            (Ruling::Run, before) => {
                let reply = duty.run(event, cx).await?;
                self.settle((&at, duty), before, true, reply, cx)?;
            }
            (Ruling::Repeat(reply), record) => self.repeat((&at, duty), record, reply, cx)?,
            (Ruling::Refuse(failure), _) => {
                // Not recorded: what the record says is newer.
                if let Some(reply) = duty.failed(event, &failure)? {
                    cx.emit_draft(at.stamp(reply));
                }
            }
        }
        Ok(())
    }

    async fn give_up(
        &self,
        event: &Envelope,
        error: &HandlerError,
        cx: &mut Context<'_>,
    ) -> Result<bool, HandlerError> {
        // A newer schema is read by a later build; a request that cannot be read cannot be answered either.
        if matches!(error, HandlerError::Schema(_)) {
            return Ok(false);
        }
        let Some(duty) = self.find(event) else { return Ok(false) };
        let failure = Failure::new(error.code(), error.to_string());
        let Some(reply) = duty.failed(event, &failure)? else { return Ok(false) };
        match SagaRef::of(event) {
            None => cx.emit_draft(reply),
            Some(at) => match self.rule(&at, duty, cx).await? {
                (Ruling::Run, before) => self.settle((&at, duty), before, false, reply, cx)?,
                (Ruling::Repeat(_) | Ruling::Refuse(_), _) => cx.emit_draft(at.stamp(reply)),
            },
        }
        Ok(true)
    }
}
