//! Groups of steps, and steps that wait for the outside.

use super::{Journey, play_on, trip};
use crate::saga::*;

pub(super) const ALL: &[(&str, &str)] = &[
    (
        "everything happens, in whatever order",
        "seat ok            =>
         book ok            =>
         signal approve yes => charge.requested
         charge ok          => tell.requested mark.requested
         mark ok            =>
         tell ok            => trip.completed [completed]
         signal approve yes => (repeated)",
    ),
    (
        "one of a group fails: the other is undone, answered or not",
        "book failed => seat.undo [compensating]
         seat ok     => (late)
         seat undone => trip.undone [undone]",
    ),
    (
        "one of a group fails after the other happened",
        "seat ok     =>
         book failed => seat.undo [compensating]
         seat undone => trip.undone [undone]",
    ),
    (
        "nobody answers in a group: both are asked again, both are undone together",
        "wait        => book.requested seat.requested
         wait        => seat.undo book.undo [compensating]
         book undone =>
         seat undone => trip.undone [undone]",
    ),
    (
        "a person says no",
        "book ok           =>
         seat ok           =>
         signal approve no => seat.undo book.undo [compensating]
         seat undone       =>
         book undone       => trip.undone [undone]",
    ),
    (
        "a person says nothing",
        "book ok            =>
         seat ok            =>
         wait               => seat.undo book.undo [compensating]
         signal approve yes => (late)",
    ),
    (
        "a signal comes before its step, and a second one counts for nothing",
        "signal approve yes =>
         signal approve no  => (repeated)
         book ok            =>
         seat ok            => charge.requested",
    ),
    (
        "an early no ends it when its step comes",
        "signal approve no =>
         book ok           =>
         seat ok           => seat.undo book.undo [compensating]",
    ),
    (
        "one of a group behind the pivot fails too often, the other goes on",
        "signal approve yes =>
         book ok            =>
         seat ok            => charge.requested
         charge ok          => tell.requested mark.requested
         tell failed        =>
         wait               => tell.requested
         tell failed        => trip.stuck [stuck]
         mark ok            =>
         !retry             => tell.requested [running]
         tell ok            => trip.completed [completed]",
    ),
    (
        "both of a group are stuck: one answer does not heal it",
        "signal approve yes =>
         book ok            =>
         seat ok            => charge.requested
         charge ok          => tell.requested mark.requested
         wait               => tell.requested mark.requested
         wait               => trip.stuck trip.stuck [stuck]
         tell ok            =>
         mark ok            => trip.completed [completed]",
    ),
    (
        "two undos of a group fail on their own",
        "book ok     =>
         seat failed => book.undo [compensating]
         book undo_failed =>
         wait        => book.undo",
    ),
];

#[test]
fn every_situation() {
    for (name, script) in ALL {
        println!("{name}");
        play_on(Journey::of(trip::wide()), script);
    }
}

#[test]
fn a_signal_that_cannot_be_read_did_not_come() {
    let mut journey = play_on(Journey::of(trip::wide()), "book ok =>\n seat ok =>");
    let mut signal = journey.signal("approve", "yes");
    signal.data = Some("{}".into());
    let advanced = journey.advance(Input::Reply(&signal));
    assert_eq!((advanced.drafts.len(), advanced.log.ignored), (0, 1));
    assert_eq!(advanced.log.steps[2].status, StepStatus::Waiting);
    play_on(journey, "signal approve yes => charge.requested");
}

#[test]
fn a_wait_ends_when_it_says_and_not_before() {
    let journey = play_on(Journey::of(trip::wide()), "book ok =>\n seat ok =>");
    let due = journey.log.due().unwrap();
    assert_eq!((due - journey.now).to_std().unwrap(), trip::APPROVAL);
}
