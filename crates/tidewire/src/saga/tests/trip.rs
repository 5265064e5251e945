//! A saga with real participants: hotel and flight (undoable), pay (pivot), mail (retriable).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tidewire_core::{
    Backoff, Consumer, Context, Draft, Envelope, Event, EventType, Handler, HandlerError, Key, SchemaError,
};

use crate::saga::*;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    trip: String,
    replies: Vec<String>,
}

macro_rules! events {
    ($($ty:ident = $name:literal),+ $(,)?) => {
        $(#[derive(Serialize, Deserialize)]
        pub(super) struct $ty { pub(super) trip: String, pub(super) reason: String }
        impl Event for $ty {
            const TYPE: EventType = EventType::new($name, 1);
            fn key(&self) -> Key { Key::of("trip", &self.trip) }
        }
        #[allow(dead_code)]
        impl $ty {
            pub(super) fn new(trip: &str) -> Self { Self { trip: trip.to_owned(), reason: String::new() } }
            fn of(state: &State) -> Self { Self::new(&state.trip) }
            fn failure(self) -> Failure { Failure::new("test.failed", self.reason) }
            fn absorb(state: &mut State, _: Self) { state.replies.push($name.to_owned()) }
        })+
    };
}

events! {
    Planned = "trip.planned", Completed = "trip.completed", Rejected = "trip.rejected", Stuck = "trip.stuck",
    HotelRequested = "hotel.requested", HotelDone = "hotel.done", HotelFailed = "hotel.failed",
    HotelUndo = "hotel.undo", HotelUndone = "hotel.undone", HotelUndoFailed = "hotel.undo_failed",
    FlightRequested = "flight.requested", FlightDone = "flight.done", FlightFailed = "flight.failed",
    FlightUndo = "flight.undo", FlightUndone = "flight.undone", FlightUndoFailed = "flight.undo_failed",
    PayRequested = "pay.requested", PayDone = "pay.done", PayFailed = "pay.failed",
    MailRequested = "mail.requested", MailDone = "mail.done", MailFailed = "mail.failed",
}

pub(super) struct Trip<const DEFINITION: u16>;

impl<const DEFINITION: u16> Saga for Trip<DEFINITION> {
    const NAME: &'static str = "trip";
    const DEFINITION: u16 = DEFINITION;
    type State = State;
    type Start = Planned;

    fn start(&self, event: &Planned, _: &Envelope) -> Option<State> {
        Some(State { trip: event.trip.clone(), replies: Vec::new() })
    }

    /// The third one takes the second's over, the fourth would put them among other steps.
    fn take_over(&self, older: SagaLog<serde_json::Value>) -> Option<SagaLog<State>> {
        if older.definition != 2 || DEFINITION < 3 {
            return None;
        }
        let mut log: SagaLog<State> = older.try_map_state(|state| serde_json::from_value(state).ok())?;
        log.state.replies.push("taken over".into());
        if DEFINITION == 4 {
            log.steps[0].name = "elsewhere".into();
        }
        Some(log)
    }

    fn steps(&self, plan: Plan<State>) -> Steps<State> {
        let policy = Policy {
            deadline: Duration::from_secs(60),
            attempts: 2,
            undo_attempts: 3,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(10)),
        };
        let hotel = Step::new("hotel", HotelRequested::of, HotelDone::absorb, HotelFailed::failure)
            .undo(HotelUndo::of, HotelUndone::absorb)
            .undo_failed(HotelUndoFailed::failure);
        let flight = Step::new("flight", FlightRequested::of, FlightDone::absorb, FlightFailed::failure)
            .undo(FlightUndo::of, FlightUndone::absorb)
            .undo_failed(FlightUndoFailed::failure);
        let pay = Step::new("pay", PayRequested::of, PayDone::absorb, PayFailed::failure);
        let mail = Step::new("mail", MailRequested::of, MailDone::absorb, MailFailed::failure);
        plan.then(hotel.policy(policy))
            .then(flight.policy(policy))
            .pivot(pay.policy(policy))
            .retriable(mail.policy(policy))
            .end()
    }

    fn completed(&self, log: &SagaLog<State>) -> Result<Vec<Draft>, SchemaError> {
        Ok(vec![Draft::of(&Completed::of(&log.state))?])
    }

    fn undone(&self, log: &SagaLog<State>, failure: &Failure) -> Result<Vec<Draft>, SchemaError> {
        Ok(vec![Draft::of(&Rejected { reason: failure.reason.clone(), ..Rejected::of(&log.state) })?])
    }

    fn stuck(&self, log: &SagaLog<State>, _: &str, reason: &str) -> Result<Vec<Draft>, SchemaError> {
        Ok(vec![Draft::of(&Stuck { reason: reason.to_owned(), ..Stuck::of(&log.state) })?])
    }
}

/// What goes wrong, by request: how many runs fail, and how (permanently or not).
pub(super) type Faults = Arc<Mutex<BTreeMap<&'static str, (u32, bool)>>>;

fn fault(faults: &Faults, request: &'static str) -> Result<(), HandlerError> {
    let mut faults = faults.lock().unwrap();
    match faults.get_mut(request) {
        Some((left, permanent)) if *left > 0 => {
            *left -= 1;
            Err(match permanent {
                true => HandlerError::permanent("test.broken", format!("{request} is broken")),
                false => HandlerError::transient(format!("{request} is shaky")),
            })
        }
        _ => Ok(()),
    }
}

/// The collection in which each step keeps how often it is applied: 0 or 1, or somebody broke a promise.
pub(super) const APPLIED: &str = "applied";

async fn apply(trip: &str, step: &str, by: i64, cx: &mut Context<'_>) -> Result<(), HandlerError> {
    let id = format!("{trip}/{step}");
    let before: i64 = cx.get(APPLIED, &id).await?.unwrap_or(0);
    // An undo of what never happened changes nothing.
    let after = if by < 0 { (before + by).max(0) } else { before + by };
    assert!(after <= 1, "{id} is applied twice");
    cx.put(APPLIED, &id, &after)
}

macro_rules! parts {
    ($($part:ident $step:literal: $request:ident, $done:ident, $failed:ident $(/ $undo:ident, $undone:ident, $undo_failed:ident)?);+ $(;)?) => {
        $(pub(super) struct $part(pub(super) Faults);

        #[async_trait]
        impl Part for $part {
            type Request = $request;
            type Done = $done;
            type Failed = $failed;
            async fn perform(&self, request: &$request, cx: &mut Context<'_>) -> Result<$done, HandlerError> {
                // Half done when it fails: nothing of it may stay.
                apply(&request.trip, $step, 1, cx).await?;
                fault(&self.0, $request::TYPE_NAME)?;
                Ok($done::new(&request.trip))
            }
            fn failed(&self, request: &$request, failure: &Failure) -> $failed {
                $failed { trip: request.trip.clone(), reason: failure.reason.clone() }
            }
        }
        impl $request { pub(super) const TYPE_NAME: &'static str = concat!($step, ".requested"); }

        $(#[async_trait]
        impl Reversible for $part {
            type UndoRequest = $undo;
            type Undone = $undone;
            async fn undo(&self, request: &$undo, cx: &mut Context<'_>) -> Result<$undone, HandlerError> {
                apply(&request.trip, $step, -1, cx).await?;
                fault(&self.0, concat!($step, ".undo"))?;
                Ok($undone::new(&request.trip))
            }
            fn undo_failed(&self, request: &$undo, failure: &Failure) -> Result<Option<Draft>, SchemaError> {
                Draft::of(&$undo_failed { trip: request.trip.clone(), reason: failure.reason.clone() }).map(Some)
            }
        })?)+
    };
}

parts! {
    Hotel "hotel": HotelRequested, HotelDone, HotelFailed / HotelUndo, HotelUndone, HotelUndoFailed;
    Flight "flight": FlightRequested, FlightDone, FlightFailed / FlightUndo, FlightUndone, FlightUndoFailed;
    Pay "pay": PayRequested, PayDone, PayFailed;
    Mail "mail": MailRequested, MailDone, MailFailed;
}

/// What a participant would be without records: proof that the checks notice.
pub(super) struct Forgetful(pub(super) Hotel);

#[async_trait]
impl Handler for Forgetful {
    fn consumer(&self) -> Consumer {
        Consumer::new("forgetful", vec![HotelRequested::TYPE])
    }

    async fn handle(&self, event: &Envelope, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        let reply = self.0.perform(&HotelRequested::decode(event)?, cx).await?;
        let at = SagaRef::of(event).unwrap();
        cx.emit_draft(at.stamp(Draft::of(&reply)?));
        Ok(())
    }
}
