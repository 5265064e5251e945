//! A saga with a saga among its steps.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidewire_core::store::Selection;
use tidewire_core::{Draft, Envelope, Event, EventType, Handler, Key, SchemaError};

use super::trip::{
    Faults, Flight, FlightDone, FlightFailed, FlightRequested, FlightUndo, FlightUndone, Hotel, HotelDone, HotelFailed,
    HotelRequested, HotelUndo, HotelUndone,
};
use super::*;

macro_rules! events {
    ($($ty:ident = $name:literal),+ $(,)?) => {
        $(#[derive(Serialize, Deserialize)]
        struct $ty { trip: String }
        impl Event for $ty {
            const TYPE: EventType = EventType::new($name, 1);
            fn key(&self) -> Key { Key::of("trip", &self.trip) }
        })+
    };
}

events! {
    TourPlanned = "tour.planned", TourDone = "tour.done", TourRejected = "tour.rejected",
    StayRequested = "stay.requested", StayDone = "stay.done", StayFailed = "stay.failed",
    StayUndo = "stay.undo", StayUndone = "stay.undone",
}

#[derive(Clone, Serialize, Deserialize)]
struct State {
    trip: String,
}

fn drafts(event: &impl Event) -> Result<Vec<Draft>, SchemaError> {
    Ok(vec![Draft::of(event)?])
}

/// First a stay, which is a saga of its own, then a flight.
struct Tour;

impl Saga for Tour {
    const NAME: &'static str = "tour";
    const DEFINITION: u16 = 1;
    type State = State;
    type Start = TourPlanned;

    fn start(&self, event: &TourPlanned, _: &Envelope) -> Option<State> {
        Some(State { trip: event.trip.clone() })
    }

    fn steps(&self, plan: Plan<State>) -> Steps<State> {
        let stay = Step::new(
            "stay",
            |state: &State| StayRequested { trip: state.trip.clone() },
            |_, _: StayDone| {},
            |_: StayFailed| Failure::new("test.failed", "no stay"),
        );
        let flight = Step::new(
            "flight",
            |state: &State| FlightRequested::new(&state.trip),
            |_, _: FlightDone| {},
            |failed: FlightFailed| Failure::new("test.failed", failed.reason),
        );
        let stay = stay.undo(|state: &State| StayUndo { trip: state.trip.clone() }, |_, _: StayUndone| {});
        let flight = flight.undo(|state: &State| FlightUndo::new(&state.trip), |_, _: FlightUndone| {});
        plan.then(stay).then(flight).end()
    }

    fn completed(&self, log: &SagaLog<State>) -> Result<Vec<Draft>, SchemaError> {
        drafts(&TourDone { trip: log.state.trip.clone() })
    }

    fn undone(&self, log: &SagaLog<State>, _: &Failure) -> Result<Vec<Draft>, SchemaError> {
        drafts(&TourRejected { trip: log.state.trip.clone() })
    }

    fn stuck(&self, _: &SagaLog<State>, _: &str, _: &str) -> Result<Vec<Draft>, SchemaError> {
        Ok(Vec::new())
    }
}

/// The child: one step, a hotel.
struct Stay;

impl Saga for Stay {
    const NAME: &'static str = "stay";
    const DEFINITION: u16 = 1;
    type State = State;
    type Start = StayRequested;

    fn start(&self, event: &StayRequested, _: &Envelope) -> Option<State> {
        Some(State { trip: event.trip.clone() })
    }

    fn steps(&self, plan: Plan<State>) -> Steps<State> {
        let hotel = Step::new(
            "hotel",
            |state: &State| HotelRequested::new(&state.trip),
            |_, _: HotelDone| {},
            |failed: HotelFailed| Failure::new("test.failed", failed.reason),
        );
        plan.then(hotel.undo(|state: &State| HotelUndo::new(&state.trip), |_, _: HotelUndone| {})).end()
    }

    fn completed(&self, log: &SagaLog<State>) -> Result<Vec<Draft>, SchemaError> {
        drafts(&StayDone { trip: log.state.trip.clone() })
    }

    fn undone(&self, log: &SagaLog<State>, failure: &Failure) -> Result<Vec<Draft>, SchemaError> {
        let trip = log.state.trip.clone();
        if failure.code == UNDO_ASKED { drafts(&StayUndone { trip }) } else { drafts(&StayFailed { trip }) }
    }

    fn undo_request(&self) -> Option<EventType> {
        Some(StayUndo::TYPE)
    }

    fn never_began(&self, request: &Envelope) -> Result<Vec<Draft>, SchemaError> {
        drafts(&StayUndone { trip: StayUndo::decode(request)?.trip })
    }

    fn stuck(&self, _: &SagaLog<State>, _: &str, _: &str) -> Result<Vec<Draft>, SchemaError> {
        Ok(Vec::new())
    }
}

fn all(faults: &Faults) -> Vec<Arc<dyn Handler>> {
    vec![
        Arc::new(SagaRunner::new(Tour).unwrap()),
        Arc::new(SagaRunner::new(Stay).unwrap()),
        Arc::new(Participant::new("hotel").reversible(Hotel(faults.clone()))),
        Arc::new(Participant::new("flight").reversible(Flight(faults.clone()))),
    ]
}

async fn tour(trip: &str, fault: Option<&'static str>) -> (House, Uuid) {
    let mut house = House::open().await;
    let handlers = all(&house.faults);
    house.replace(handlers);
    house.faults.lock().unwrap().extend(fault.map(|name| (name, (1, true))));
    let start = Draft::of(&TourPlanned { trip: trip.into() }).unwrap().seal(house.clock.as_ref(), "/test", None);
    let id = saga_id("tour", &start.id);
    house.append(start).await;
    house.settle(true).await.unwrap();
    (house, id)
}

#[tokio::test]
async fn a_child_completes_and_its_parent_with_it() {
    let (house, id) = tour("good", None).await;
    assert_eq!(house.view(id).await.summary.status, Status::Completed);
    let done = house.emitted("stay.done").await.remove(0);
    assert_eq!(SagaRef::of(&done), Some(SagaRef { id, step: "stay".into(), epoch: 1 }));
    let start = house.emitted("stay.requested").await.remove(0);
    let child = Definition::new(Stay).unwrap().id_for(&start).unwrap();
    let child = house.view(child).await;
    assert_eq!((child.summary.status, child.parent.unwrap().id), (Status::Completed, id));
    assert_eq!(child.correlationid, house.view(id).await.correlationid);
    assert_eq!((house.applied("good").await["hotel"], house.applied("good").await["flight"]), (1, 1));
}

#[tokio::test]
async fn a_completed_child_is_undone_when_its_parent_turns_back() {
    let (house, id) = tour("undone", Some("flight.requested")).await;
    assert_eq!(house.view(id).await.summary.status, Status::Undone);
    let child = Definition::new(Stay).unwrap().id_for(&house.emitted("stay.requested").await[0]).unwrap();
    let child = house.view(child).await;
    assert_eq!((child.summary.status, child.failure.unwrap().code.as_str()), (Status::Undone, UNDO_ASKED));
    assert!(house.applied("undone").await.values().all(|times| *times == 0));
    assert_eq!((house.emitted("stay.undone").await.len(), house.emitted("tour.rejected").await.len()), (1, 1));
}

#[tokio::test]
async fn a_child_that_fails_turns_its_parent_back() {
    let (house, id) = tour("failed", Some("hotel.requested")).await;
    let view = house.view(id).await;
    assert_eq!((view.summary.status, view.failure.unwrap().reason.as_str()), (Status::Undone, "no stay"));
    assert_eq!(house.emitted("flight.requested").await.len(), 0);
}

#[tokio::test]
async fn a_child_whose_undo_overtakes_its_start_never_begins() {
    let mut house = House::open().await;
    let handlers = all(&house.faults);
    house.replace(handlers);
    let parent = saga_id("tour", "1");
    let ask = |name: &str, epoch: u32| {
        let at = SagaRef { id: parent, step: "stay".into(), epoch };
        let draft =
            Draft { ty: format!("{name}.v1").parse().unwrap(), ..Draft::of(&StayUndo { trip: "x".into() }).unwrap() };
        at.stamp(draft).seal(house.clock.as_ref(), "/test", None)
    };
    let (undo, late) = (ask("stay.undo", 2), ask("stay.requested", 1));
    house.append(undo).await;
    house.settle(true).await.unwrap();
    let replies = house.emitted("stay.undone").await;
    assert_eq!(SagaRef::of(&replies[0]), Some(SagaRef { id: parent, step: "stay".into(), epoch: 2 }));
    house.append(late).await;
    house.settle(true).await.unwrap();
    let selection = Selection { names: vec!["hotel.requested".into()], limit: 10, ..Selection::default() };
    assert!(house.store.read(&selection).await.unwrap().is_empty(), "it must not begin");
}
