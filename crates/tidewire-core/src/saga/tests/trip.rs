//! A saga to test with: book (undoable), check (nothing to undo), seat (undoable), charge (pivot), tell (retriable).
//! Its wide shape: book and seat at once, then a person approves, then charge, then tell and mark at once.

use std::sync::LazyLock;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::backoff::Backoff;
use crate::clock::ManualClock;
use crate::draft::Draft;
use crate::envelope::Envelope;
use crate::event::{Event, SchemaError};
use crate::event_type::EventType;
use crate::key::Key;
use crate::saga::*;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    trip: String,
    pub(super) notes: Vec<String>,
}

macro_rules! events {
    ($($ty:ident = $name:literal),+ $(,)?) => {
        $(#[derive(Serialize, Deserialize)]
        pub(super) struct $ty { trip: String, note: String }
        impl Event for $ty {
            const TYPE: EventType = EventType::new($name, 1);
            fn key(&self) -> Key { Key::of("trip", &self.trip) }
        }
        impl $ty {
            #[allow(dead_code)]
            pub(super) fn of(state: &State) -> Self { Self { trip: state.trip.clone(), note: state.notes.join(",") } }
            #[allow(dead_code)]
            pub(super) fn failure(self) -> Failure { Failure::new($name, self.note) }
            #[allow(dead_code)]
            pub(super) fn absorb(state: &mut State, reply: Self) { state.notes.push(reply.note) }
        })+
    };
}

events! {
    Planned = "trip.planned", Completed = "trip.completed", Undone = "trip.undone", Stuck = "trip.stuck",
    Book = "book.requested", BookOk = "book.ok", BookFailed = "book.failed",
    BookUndo = "book.undo", BookUndone = "book.undone", BookUndoFailed = "book.undo_failed",
    Check = "check.requested", CheckOk = "check.ok", CheckFailed = "check.failed",
    Seat = "seat.requested", SeatOk = "seat.ok", SeatFailed = "seat.failed",
    SeatUndo = "seat.undo", SeatUndone = "seat.undone",
    Charge = "charge.requested", ChargeOk = "charge.ok", ChargeFailed = "charge.failed",
    Tell = "tell.requested", TellOk = "tell.ok", TellFailed = "tell.failed",
    Mark = "mark.requested", MarkOk = "mark.ok", MarkFailed = "mark.failed",
    Approved = "approve.ok",
}

#[derive(Clone, Copy, Default, PartialEq)]
pub(super) enum Trip {
    #[default]
    Plain,
    WithoutPivot,
    Wide,
}

/// How long an approval is waited for.
pub(super) const APPROVAL: Duration = Duration::from_secs(3600);

fn approved(state: &mut State, approved: Approved) -> Result<(), Failure> {
    if approved.note == "no" {
        return Err(Failure::new("trip.not_approved", "the person said no"));
    }
    state.notes.push(approved.note);
    Ok(())
}

impl Saga for Trip {
    const NAME: &'static str = "trip";
    const DEFINITION: u16 = 1;
    type State = State;
    type Start = Planned;

    fn start(&self, event: &Planned, _: &Envelope) -> Option<State> {
        (event.note != "day-dream").then(|| State { trip: event.trip.clone(), notes: Vec::new() })
    }

    fn steps(&self, plan: Plan<State>) -> Steps<State> {
        let policy = Policy {
            deadline: Duration::from_secs(60),
            attempts: 2,
            undo_attempts: 3,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(10)),
        };
        let book = Step::new("book", Book::of, BookOk::absorb, BookFailed::failure)
            .undo(BookUndo::of, BookUndone::absorb)
            .undo_failed(BookUndoFailed::failure)
            .policy(policy);
        let check = Step::new("check", Check::of, CheckOk::absorb, CheckFailed::failure).nothing_to_undo();
        let seat = Step::new("seat", Seat::of, SeatOk::absorb, SeatFailed::failure)
            .undo(SeatUndo::of, SeatUndone::absorb)
            .policy(policy);
        let charge = Step::new("charge", Charge::of, ChargeOk::absorb, ChargeFailed::failure).policy(policy);
        let tell = Step::new("tell", Tell::of, TellOk::absorb, TellFailed::failure).policy(policy);
        let mark = Step::new("mark", Mark::of, MarkOk::absorb, MarkFailed::failure).policy(policy);
        match self {
            Self::WithoutPivot => plan.then(book).then(check.policy(policy)).then(seat).end(),
            Self::Plain => plan.then(book).then(check.policy(policy)).then(seat).pivot(charge).retriable(tell).end(),
            Self::Wide => plan
                .together(Together::of(book).and(seat))
                .then(Step::wait("approve", APPROVAL, approved).nothing_to_undo())
                .pivot(charge)
                .together(Together::of(tell).and(mark))
                .end(),
        }
    }

    fn completed(&self, log: &SagaLog<State>) -> Result<Vec<Draft>, SchemaError> {
        Ok(vec![Draft::of(&Completed::of(&log.state))?])
    }

    fn undone(&self, log: &SagaLog<State>, failure: &Failure) -> Result<Vec<Draft>, SchemaError> {
        Ok(vec![Draft::of(&Undone { trip: log.state.trip.clone(), note: failure.code.clone() })?])
    }

    fn stuck(&self, log: &SagaLog<State>, step: &str, reason: &str) -> Result<Vec<Draft>, SchemaError> {
        Ok(vec![Draft::of(&Stuck { trip: log.state.trip.clone(), note: format!("{step}: {reason}") })?])
    }
}

pub(super) fn definition() -> &'static Definition<Trip> {
    static DEFINITION: LazyLock<Definition<Trip>> = LazyLock::new(|| Definition::new(Trip::default()).unwrap());
    &DEFINITION
}

pub(super) fn wide() -> &'static Definition<Trip> {
    static DEFINITION: LazyLock<Definition<Trip>> = LazyLock::new(|| Definition::new(Trip::Wide).unwrap());
    &DEFINITION
}

pub(super) fn planned(note: &str) -> Envelope {
    let clock = ManualClock::new(DateTime::UNIX_EPOCH, 1);
    let start = Planned { trip: "1".into(), note: note.into() };
    Draft::of(&start).unwrap().with_id("start-1").seal(&clock, "/trips", None)
}

/// A saga and the requests it has sent.
#[derive(Clone)]
pub(super) struct Journey {
    pub(super) definition: &'static Definition<Trip>,
    pub(super) log: SagaLog<State>,
    pub(super) now: DateTime<Utc>,
    pub(super) sent: Vec<Draft>,
    replies: u32,
}

impl Journey {
    pub(super) fn start() -> Self {
        Self::of(definition())
    }

    pub(super) fn of(definition: &'static Definition<Trip>) -> Self {
        let now = DateTime::UNIX_EPOCH;
        let begun = definition.begin(&planned(""), now).unwrap().unwrap();
        Self { definition, log: begun.log, now, sent: begun.drafts, replies: 0 }
    }

    /// Advances, and holds the answer against everything that must always be true.
    pub(super) fn advance(&mut self, input: Input<'_>) -> Advanced<State> {
        let advanced = self.definition.advance(self.log.clone(), input, self.now);
        super::always::check(self, &advanced, false);
        assert_eq!(advanced, self.definition.advance(self.log.clone(), input, self.now), "not the same twice");
        self.keep(&advanced);
        advanced
    }

    /// Orders, and holds the answer against the same; what is refused changes nothing.
    pub(super) fn order(&mut self, verb: Verb) -> Result<Advanced<State>, Refused> {
        let order = Order { verb, by: "ana".into(), reason: "because".into() };
        let ordered = self.definition.order(self.log.clone(), &order, self.now);
        assert_eq!(ordered, self.definition.order(self.log.clone(), &order, self.now), "not the same twice");
        let advanced = ordered?;
        super::always::check(self, &advanced, true);
        super::always::outlook(self, &advanced);
        self.keep(&advanced);
        Ok(advanced)
    }

    fn keep(&mut self, advanced: &Advanced<State>) {
        self.log = advanced.log.clone();
        self.sent.extend(advanced.drafts.clone());
    }

    /// What a person or an event from outside says to the step called `step`.
    pub(super) fn signal(&mut self, step: &str, note: &str) -> Envelope {
        self.replies += 1;
        let state = State { trip: "1".into(), notes: vec![note.into()] };
        let draft = Draft { ty: format!("{step}.ok.v1").parse().unwrap(), ..Draft::of(&Approved::of(&state)).unwrap() };
        let draft = SagaRef::signal(self.log.id, step).stamp(draft.with_id(format!("signal-{}", self.replies)));
        draft.seal(&ManualClock::new(self.now, 1), "/outside", None)
    }

    /// The reply `kind` (`ok`, `failed`, `undone`, `undo_failed`) to `request`.
    pub(super) fn reply_to(&mut self, request: &Draft, kind: &str) -> Envelope {
        let (step, _) = request.ty.name().split_once('.').unwrap();
        self.replies += 1;
        let mut draft = Draft { id: Some(format!("reply-{}", self.replies)), ..request.clone() };
        draft.ty = format!("{step}.{kind}.v1").parse().unwrap();
        draft.data = Some(json!({"trip": "1", "note": format!("{step} {kind}")}).to_string().into());
        draft.seal(&ManualClock::new(self.now, 1), "/participant", None)
    }

    /// Moves the clock to the timer, if one is set.
    pub(super) fn wait(&mut self) {
        self.now = self.log.timer.unwrap_or(self.now + TimeDelta::hours(1)).max(self.now);
    }

    /// The `nth` request so far for `step` in the direction of a reply of `kind`; the last one without `nth`.
    pub(super) fn request(&self, step: &str, kind: &str, nth: Option<usize>) -> Draft {
        let suffix = if kind.starts_with("undo") { "undo" } else { "requested" };
        let name = format!("{step}.{suffix}");
        let mut all = self.sent.iter().filter(|draft| draft.ty.name() == name);
        let found = match nth {
            Some(nth) => all.nth(nth - 1),
            None => all.next_back(),
        };
        found.unwrap_or_else(|| panic!("no {name} was sent")).clone()
    }
}
