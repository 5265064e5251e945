//! What each input does in each situation.

use super::play;
use crate::saga::*;

pub(super) const ALL: &[(&str, &str)] = &[
    (
        "everything happens",
        "book ok   => check.requested
         check ok  => seat.requested
         seat ok   => charge.requested
         charge ok => tell.requested
         tell ok   => trip.completed [completed]
         wait      => (over)",
    ),
    (
        "a step fails: what happened is undone in reverse",
        "book ok     => check.requested
         check ok    => seat.requested
         seat ok     => charge.requested
         charge failed => seat.undo [compensating]
         seat undone => book.undo
         book undone => trip.undone [undone]",
    ),
    ("the first step fails: nothing is undone", "book failed => trip.undone [undone]"),
    (
        "a failed step itself is not undone",
        "book ok     => check.requested
         check ok    => seat.requested
         seat failed => book.undo [compensating]
         book undone => trip.undone [undone]",
    ),
    (
        "no reply: asked again, then undone as if it had happened",
        "wait        => book.requested
         wait        => book.undo [compensating]
         book ok #1  => (late)
         book ok #2  => (late)
         book undone => trip.undone [undone]
         book ok #1  => (late)",
    ),
    (
        "no reply to a step that leaves no trace",
        "book ok     => check.requested
         wait        => check.requested
         wait        => book.undo [compensating]
         check ok    => (late)
         book undone => trip.undone [undone]",
    ),
    (
        "a reply after the question was repeated counts, whichever it answers",
        "wait        => book.requested
         book ok #1  => check.requested
         book ok #2  => (repeated)",
    ),
    (
        "replies are repeated",
        "book ok     => check.requested
         book ok     => (repeated)
         check ok    => seat.requested
         seat failed => book.undo [compensating]
         seat failed => (repeated)
         book undone => trip.undone [undone]
         book undone => (repeated)
         start       => (started_before)",
    ),
    (
        "replies contradict each other",
        "book ok     => check.requested
         book failed => (late)
         check ok    => seat.requested
         seat failed => book.undo [compensating]
         seat ok     => (late)
         book failed #1 => (late)
         book undone => trip.undone [undone]
         book undo_failed => (late)",
    ),
    (
        "an undo fails, and is tried again",
        "book ok          => check.requested
         check failed     => book.undo [compensating]
         book undo_failed =>
         book undo_failed => (repeated)
         wait             => book.undo
         book undo_failed #1 => (late)
         book undone      => trip.undone [undone]",
    ),
    (
        "an undo fails too often",
        "book ok          => check.requested
         check failed     => book.undo [compensating]
         book undo_failed =>
         wait             => book.undo
         book undo_failed =>
         wait             => book.undo
         book undo_failed => trip.stuck [stuck]
         book undo_failed => (repeated)
         wait             => (early)",
    ),
    (
        "nobody answers an undo; a late reply sets the stuck saga going again",
        "book ok      => check.requested
         check ok     => seat.requested
         seat failed  => book.undo [compensating]
         wait         => book.undo
         wait         => book.undo
         wait         => trip.stuck [stuck]
         book undone #1 => trip.undone [undone]",
    ),
    (
        "the pivot is not answered: nobody knows, so nothing is undone",
        "book ok   => check.requested
         check ok  => seat.requested
         seat ok   => charge.requested
         wait      => charge.requested
         wait      => trip.stuck [stuck]
         charge ok => tell.requested [running]",
    ),
    (
        "the pivot answers late that it did not happen",
        "book ok       => check.requested
         check ok      => seat.requested
         seat ok       => charge.requested
         wait          => charge.requested
         wait          => trip.stuck [stuck]
         charge failed => seat.undo [compensating]",
    ),
    (
        "past the pivot there is only forward",
        "book ok     => check.requested
         check ok    => seat.requested
         seat ok     => charge.requested
         charge ok   => tell.requested
         tell failed =>
         tell failed => (repeated)
         wait        => tell.requested
         tell failed => trip.stuck [stuck]
         tell ok     => (late)",
    ),
    (
        "past the pivot a late reply still completes",
        "book ok     => check.requested
         check ok    => seat.requested
         seat ok     => charge.requested
         charge ok   => tell.requested
         wait        => tell.requested
         wait        => trip.stuck [stuck]
         tell ok #1  => trip.completed [completed]",
    ),
];

#[test]
fn every_situation() {
    for (name, script) in ALL {
        println!("{name}");
        play(script);
    }
}

#[test]
fn what_is_learnt_travels_and_the_reason_stays() {
    let journey = play(
        "book ok       => check.requested
         check ok      => seat.requested
         seat ok       => charge.requested
         charge failed => seat.undo [compensating]
         seat undone   => book.undo
         book undone   => trip.undone [undone]",
    );
    assert_eq!(journey.log.state.notes, ["book ok", "check ok", "seat ok", "seat undone", "book undone"]);
    assert_eq!(journey.log.failure, Some(Failure::new("charge.failed", "charge failed")));
    let undo = journey.request("book", "undone", None);
    assert!(String::from_utf8_lossy(undo.data.as_deref().unwrap()).contains("seat undone"));
    let epochs: Vec<String> = journey.sent[..6].iter().map(|draft| draft.extensions[SAGA_EPOCH].to_text()).collect();
    assert_eq!(epochs, ["1", "1", "1", "1", "2", "3"]);
}

#[test]
fn a_timer_is_moved_only_when_it_must() {
    let mut journey = super::Journey::start();
    let first = journey.log.timer;
    let reply = journey.reply_to(&journey.request("book", "ok", None), "ok");
    journey.now += chrono::TimeDelta::seconds(5);
    let advanced = journey.advance(Input::Reply(&reply));
    assert_eq!((advanced.timer, advanced.log.timer), (None, first));
    journey.wait();
    let woken = journey.advance(Input::Wake);
    assert_eq!(woken.ignored, Some(Ignored::Early));
    assert_eq!(woken.timer, Some(TimerWish::Set(woken.log.due().unwrap())));
}

#[test]
fn a_reply_that_cannot_be_read_counts_as_having_happened() {
    let mut journey = play("book ok => check.requested\n check ok => seat.requested");
    let mut reply = journey.reply_to(&journey.request("seat", "ok", None), "ok");
    reply.data = Some("{}".into());
    let advanced = journey.advance(Input::Reply(&reply));
    assert_eq!(advanced.drafts[0].ty.name(), "seat.undo");
    assert_eq!(advanced.log.failure.unwrap().code, "event.schema_invalid");
}
