//! A saga that is a step of another.

use std::sync::LazyLock;

use chrono::DateTime;

use super::trip::{Book, BookFailed, BookOk, BookUndo, BookUndone, Planned, State};
use crate::clock::ManualClock;
use crate::draft::Draft;
use crate::envelope::Envelope;
use crate::event::{Event, SchemaError};
use crate::event_type::EventType;
use crate::saga::*;

struct Leg;

impl Saga for Leg {
    const NAME: &'static str = "leg";
    const DEFINITION: u16 = 1;
    type State = State;
    type Start = Planned;

    fn start(&self, _: &Planned, _: &Envelope) -> Option<State> {
        Some(State::default())
    }

    fn steps(&self, plan: Plan<State>) -> Steps<State> {
        let book = Step::new("book", Book::of, BookOk::absorb, BookFailed::failure);
        plan.then(book.undo(BookUndo::of, BookUndone::absorb)).end()
    }

    fn completed(&self, _: &SagaLog<State>) -> Result<Vec<Draft>, SchemaError> {
        Ok(vec![named("leg.ok")])
    }

    fn undone(&self, _: &SagaLog<State>, failure: &Failure) -> Result<Vec<Draft>, SchemaError> {
        Ok(vec![named(if failure.code == UNDO_ASKED { "leg.undone" } else { "leg.failed" })])
    }

    fn undo_request(&self) -> Option<EventType> {
        Some(EventType::new("leg.undo", 1))
    }

    fn never_began(&self, _: &Envelope) -> Result<Vec<Draft>, SchemaError> {
        Ok(vec![named("leg.undone")])
    }

    fn stuck(&self, _: &SagaLog<State>, _: &str, _: &str) -> Result<Vec<Draft>, SchemaError> {
        Ok(Vec::new())
    }
}

fn named(name: &str) -> Draft {
    let draft = Draft::of(&Planned::of(&State::default())).unwrap();
    Draft { ty: format!("{name}.v1").parse().unwrap(), ..draft }
}

fn definition() -> &'static Definition<Leg> {
    static DEFINITION: LazyLock<Definition<Leg>> = LazyLock::new(|| Definition::new(Leg).unwrap());
    &DEFINITION
}

/// What the parent's step asks for, in an epoch.
fn asked(name: &str, id: &str, epoch: u32) -> Envelope {
    let at = SagaRef { id: saga_id("tour", "1"), step: "leg".into(), epoch };
    at.stamp(named(name).with_id(id)).seal(&ManualClock::new(DateTime::UNIX_EPOCH, 1), "/parent", None)
}

struct Child(SagaLog<State>);

impl Child {
    fn begin() -> Self {
        let begun =
            definition().begin(&asked(Planned::TYPE.name(), "ask-1", 1), DateTime::UNIX_EPOCH).unwrap().unwrap();
        Self(begun.log)
    }

    /// What it says, each with the epoch it says it for.
    fn take(&mut self, input: Input<'_>) -> Vec<(String, u32)> {
        let advanced = definition().advance(self.0.clone(), input, DateTime::UNIX_EPOCH);
        self.0 = advanced.log;
        let said =
            |draft: &Draft| (draft.ty.name().to_owned(), draft.extensions[SAGA_EPOCH].to_text().parse().unwrap());
        advanced.drafts.iter().map(said).collect()
    }

    fn reply(&mut self, name: &str) -> Vec<(String, u32)> {
        let step = &self.0.steps[0];
        let at = SagaRef { id: self.0.id, step: step.name.clone(), epoch: step.epoch };
        let clock = ManualClock::new(DateTime::UNIX_EPOCH, 1);
        let reply = at.stamp(named(name)).seal(&clock, "/participant", None);
        self.take(Input::Reply(&reply))
    }
}

fn said(name: &str, epoch: u32) -> Vec<(String, u32)> {
    vec![(name.to_owned(), epoch)]
}

#[test]
fn its_end_is_the_reply_of_the_step_and_is_given_again() {
    let mut child = Child::begin();
    assert_eq!(child.reply("book.ok"), said("leg.ok", 1));
    assert_eq!(child.0.parent.as_ref().unwrap().step, "leg");
    // The same request is the same event; another one of the same step has not heard.
    assert_eq!(child.take(Input::Started(&asked("trip.planned", "ask-1", 1))), []);
    assert_eq!(child.take(Input::Started(&asked("trip.planned", "ask-2", 1))), said("leg.ok", 1));
    assert_eq!(child.take(Input::Started(&asked("trip.planned", "ask-3", 4))), said("leg.ok", 4));
    assert_eq!(child.0.status, Status::Completed);
    let one = definition().id_for(&asked("trip.planned", "ask-1", 1));
    assert_eq!(one, definition().id_for(&asked("trip.planned", "ask-2", 9)), "one step, one child");
}

#[test]
fn it_is_undone_on_request_also_after_its_end() {
    for completes in [false, true] {
        let mut child = Child::begin();
        if completes {
            child.reply("book.ok");
        }
        assert_eq!(child.take(Input::Undo(&asked("leg.undo", "u-1", 2))), said("book.undo", 2));
        assert_eq!(child.take(Input::Undo(&asked("leg.undo", "u-2", 2))), [], "asked twice");
        assert_eq!(child.reply("book.undone"), said("leg.undone", 2));
        assert_eq!(child.take(Input::Undo(&asked("leg.undo", "u-3", 2))), said("leg.undone", 2));
        assert_eq!(child.take(Input::Started(&asked("trip.planned", "late", 1))), [], "withdrawn stays withdrawn");
        assert_eq!(child.0.status, Status::Undone);
    }
}

#[test]
fn it_fails_by_itself_and_is_then_as_good_as_undone() {
    let mut child = Child::begin();
    assert_eq!(child.reply("book.failed"), said("leg.failed", 1));
    assert_eq!(child.take(Input::Started(&asked("trip.planned", "again", 1))), said("leg.failed", 1));
    assert_eq!(child.take(Input::Undo(&asked("leg.undo", "u", 2))), said("leg.undone", 2));
    assert_eq!(child.take(Input::Undo(&asked("leg.undo", "old", 1))), [], "an older request is late");
}

#[test]
fn an_undo_that_overtakes_its_start_is_answered() {
    let undo = asked("leg.undo", "u", 2);
    let replies = definition().never_began(&undo).unwrap();
    assert_eq!(replies[0].ty.name(), "leg.undone");
    assert_eq!(replies, definition().never_began(&undo).unwrap(), "the same twice");
    assert_eq!(definition().undone_by(&undo), definition().id_for(&asked("trip.planned", "1", 1)));
    assert_eq!(definition().undone_by(&asked("trip.planned", "1", 1)), None);
    assert!(definition().types().iter().any(|ty| ty.name() == "leg.undo"));
}
