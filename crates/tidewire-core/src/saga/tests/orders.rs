//! What people may order, when, and what follows.

use super::{Journey, play, play_on, trip};
use crate::saga::*;

const STUCK_UNDO: &str = "book ok          => check.requested
     check failed     => book.undo [compensating]
     book undo_failed =>
     wait             => book.undo
     book undo_failed =>
     wait             => book.undo
     book undo_failed => trip.stuck [stuck]";

const STUCK_PIVOT: &str = "book ok  => check.requested
     check ok => seat.requested
     seat ok  => charge.requested
     wait     => charge.requested
     wait     => trip.stuck [stuck]";

const STUCK_BEHIND: &str = "book ok     => check.requested
     check ok    => seat.requested
     seat ok     => charge.requested
     charge ok   => tell.requested
     tell failed =>
     wait        => tell.requested
     tell failed => trip.stuck [stuck]";

#[test]
fn an_undo_that_is_stuck() {
    play(&format!("{STUCK_UNDO}\n !retry => book.undo [compensating]\n book undone => trip.undone [undone]"));
    play(&format!("{STUCK_UNDO}\n !retry book => book.undo [compensating]\n book undo_failed =>\n wait => book.undo"));
    play(&format!("{STUCK_UNDO}\n !done => trip.undone [undone]\n !retry => <over>"));
    play(&format!("{STUCK_UNDO}\n !done book x => <output>\n !skip => <same_way>\n !compensate => <same_way>"));
    // The failed check is asked for again, and the booking, which may be half undone.
    play(&format!(
        "{STUCK_UNDO}\n !forward => book.requested [running]\n book ok => check.requested\n !forward => <same_way>"
    ));
}

#[test]
fn a_point_of_no_return_in_doubt() {
    play(&format!("{STUCK_PIVOT}\n !retry => charge.requested [running]\n charge ok => tell.requested"));
    play(&format!("{STUCK_PIVOT}\n !done charge paid => tell.requested [running]\n charge ok #1 => (late)"));
    play(&format!("{STUCK_PIVOT}\n !cancel => <in_doubt>\n !done charge [] => <output>\n !done seat => <settled>"));
    let journey = play(&format!(
        "{STUCK_PIVOT}\n !compensate => seat.undo [compensating]\n charge ok #2 => (late)\n seat undone => book.undo\n book undone => trip.undone [undone]"
    ));
    assert_eq!(journey.log.failure, Some(Failure::new("saga.compensated", "because")));
    let ordered: Vec<_> = journey.log.history.entries.iter().filter(|e| e.what == history::What::Ordered).collect();
    assert_eq!(ordered[0].reason.as_deref(), Some("compensate by ana: because"));
}

#[test]
fn behind_the_point_of_no_return_only_forward() {
    play(&format!("{STUCK_BEHIND}\n !compensate => <past_recall>\n !cancel => <past_recall>\n !forward => <same_way>"));
    play(&format!("{STUCK_BEHIND}\n !retry => tell.requested [running]\n tell failed =>\n wait => tell.requested"));
    play(&format!("{STUCK_BEHIND}\n !skip => trip.completed [completed]"));
    let journey = play(&format!("{STUCK_BEHIND}\n !skip tell told => trip.completed [completed]"));
    assert_eq!(journey.log.state.notes.last().map(String::as_str), Some("told"));
    assert_eq!(journey.log.steps[4].status, StepStatus::Skipped);
}

#[test]
fn a_saga_under_way() {
    play(
        "!retry => book.requested\n book ok #1 => check.requested\n !retry nowhere => <no_step>\n !retry book => <settled>",
    );
    play(
        "book ok => check.requested\n !cancel => book.undo [compensating]\n check ok => (late)\n book undone => trip.undone [undone]",
    );
    // Skipped: whoever was asked may have done it, so it is undone like a step of which nobody heard.
    play(
        "!skip => check.requested\n book ok => (late)\n check failed => book.undo [compensating]\n !forward => book.requested [running]",
    );
    play(
        "book ok => check.requested\n check ok => seat.requested\n seat failed => book.undo [compensating]\n !done => trip.undone [undone]",
    );
}

#[test]
fn people_decide_about_steps_of_a_group() {
    let journey = || Journey::of(trip::wide());
    play_on(
        journey(),
        "!skip => <which_step>\n !skip seat => \n book ok =>\n signal approve yes => charge.requested\n !cancel => <in_doubt>",
    );
    play_on(
        journey(),
        "book ok =>\n !cancel => seat.undo book.undo [compensating]\n seat undone =>\n book undone => trip.undone [undone]",
    );
    play_on(
        journey(),
        "book ok =>\n seat ok =>\n !done approve => charge.requested\n !compensate => seat.undo book.undo [compensating]",
    );
    let waiting = play_on(
        journey(),
        "book ok =>\n seat ok =>\n !retry =>\n !retry approve =>\n !cancel => seat.undo book.undo [compensating]",
    );
    assert_eq!(waiting.log.failure.unwrap().code, "saga.cancelled");
}

#[test]
fn an_outlook_names_what_will_be_undone_and_what_cannot() {
    let order = |verb| Order { verb, by: "ana".into(), reason: "why".into() };
    let journey = play(STUCK_PIVOT);
    let after = trip::definition().order(journey.log.clone(), &order(Verb::Compensate), journey.now).unwrap();
    let outlook = trip::definition().outlook(&journey.log, &after);
    assert_eq!(
        (outlook.undos, outlook.without_undo),
        (vec!["seat".to_owned(), "book".into()], vec!["check".to_owned()])
    );
    assert_eq!((outlook.in_doubt, outlook.past_recall), (vec!["charge".to_owned()], vec![]));
    assert_eq!((outlook.emits[0].step.as_deref(), outlook.emits[0].ty.as_str()), (Some("seat"), "seat.undo.v1"));
    assert_eq!((outlook.waits.len(), outlook.waits[0].direction), (1, Direction::Undo));

    let journey = play(STUCK_BEHIND);
    let after = trip::definition().order(journey.log.clone(), &order(Verb::Retry { step: None }), journey.now).unwrap();
    let outlook = trip::definition().outlook(&journey.log, &after);
    assert_eq!((outlook.past_recall, outlook.remaining), (vec!["charge".to_owned()], vec!["tell".to_owned()]));
}

#[test]
fn an_order_finds_a_stalled_saga_where_it_was() {
    let journey = Journey::start();
    let (raw, _) = stall::stall(serde_json::to_value(&journey.log).unwrap(), "why", None, journey.now).unwrap();
    let Ok(Some(stall::Stored::Known(log))) = trip::definition().read(&raw) else { panic!("not read") };
    let order = Order { verb: Verb::Cancel, by: "ana".into(), reason: "why".into() };
    let after = trip::definition().order(*log, &order, journey.now).unwrap();
    assert_eq!((after.log.status, after.log.stall), (Status::Compensating, None));
}
