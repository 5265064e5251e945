//! The reducer, as tables of what comes in and what goes out.

mod always;
mod child;
mod orders;
mod prefixes;
mod random;
mod stalled;
mod tables;
mod trip;
mod wide;

use super::*;
use crate::event::Event;
use trip::{Journey, Trip};

/// Plays a script. Each line is an input and, after `=>`, what is emitted, what was ignored, and the status
/// when it changed. Inputs: `wait` (until something is due), `STEP KIND` (a reply to the step's last request),
/// `STEP KIND #N` (to its N-th request), `start` (the starting event once more), `signal STEP NOTE`, and orders:
/// `!VERB [STEP [NOTE]]`, with the note as the output of a reply.
fn play(script: &str) -> Journey {
    play_on(Journey::start(), script)
}

fn play_on(mut journey: Journey, script: &str) -> Journey {
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        step(&mut journey, line);
    }
    journey
}

fn step(journey: &mut Journey, line: &str) {
    let (input, expected) = line.split_once("=>").unwrap_or_else(|| panic!("no `=>` in `{line}`"));
    let before = journey.log.status;
    if let Some(verb) = input.trim().strip_prefix('!').map(verb_of)
        && let Err(refused) = journey.clone().order(verb.clone())
    {
        let text = serde_json::to_value(&refused).unwrap();
        assert_eq!(format!("<{}>", text["refused"].as_str().unwrap()), expected.trim(), "`{line}`: {refused}");
        return;
    }
    let advanced = input_of(journey, input.trim());
    let mut found: Vec<String> = advanced.drafts.iter().map(|draft| draft.ty.name().to_owned()).collect();
    found.extend(advanced.ignored.map(|ignored| format!("({})", ignored.as_str())));
    if advanced.log.status != before {
        found.push(format!("[{}]", advanced.log.status.as_str()));
    }
    assert_eq!(found.join(" "), expected.trim(), "after `{}`: {:#?}", input.trim(), journey.log);
}

fn verb_of(order: &str) -> Verb {
    let mut words = order.split_whitespace();
    let (verb, step) = (words.next().unwrap_or_default(), words.next().map(str::to_owned));
    let note = |note: &str| serde_json::json!({"trip": "1", "note": note}).to_string().into();
    let output = words.next().map(|word| if word == "[]" { "[]".into() } else { note(word) });
    match verb {
        "retry" => Verb::Retry { step },
        "skip" => Verb::Skip { step, output },
        "done" => Verb::Done { step, output },
        "compensate" => Verb::Compensate,
        "forward" => Verb::Forward,
        "cancel" => Verb::Cancel,
        other => panic!("no such verb: {other}"),
    }
}

fn input_of(journey: &mut Journey, input: &str) -> Advanced<trip::State> {
    if let Some(order) = input.strip_prefix('!') {
        journey.now += chrono::TimeDelta::seconds(1);
        return journey.order(verb_of(order)).unwrap();
    }
    let words: Vec<&str> = input.split_whitespace().collect();
    match words.as_slice() {
        ["wait"] => loop {
            journey.wait();
            let woken = journey.advance(Input::Wake);
            if woken.ignored != Some(Ignored::Early) || woken.log.timer.is_none() {
                return woken;
            }
        },
        ["signal", step, note] => {
            let signal = journey.signal(step, note);
            journey.advance(Input::Reply(&signal))
        }
        ["start"] => journey.advance(Input::Started(&trip::planned(""))),
        [step, kind, nth @ ..] => {
            let nth = nth.first().map(|nth| nth.trim_start_matches('#').parse().unwrap());
            let request = journey.request(step, kind, nth);
            let reply = journey.reply_to(&request, kind);
            journey.now += chrono::TimeDelta::seconds(1);
            journey.advance(Input::Reply(&reply))
        }
        _ => panic!("no such input: {input}"),
    }
}

#[test]
fn a_definition_is_read_from_its_types() {
    let definition = trip::definition();
    assert_eq!(definition.types().len(), 1 + 2 + 2 + 2 + 2 + 2 + 3);
    assert_eq!(definition.fingerprint(), trip::definition().fingerprint());
    let other = Definition::new(Trip::WithoutPivot).unwrap();
    assert_ne!(definition.fingerprint(), other.fingerprint());
    // Frozen: it is pinned to instances, which would stall.
    assert_eq!(definition.fingerprint(), "423b0460a37214ec");
    assert_eq!(trip::wide().fingerprint(), "fa27104296d6c608");
    assert_eq!(trip::wide().signal("approve").unwrap().name(), "approve.ok");
    assert_eq!((trip::wide().signal("book"), trip::wide().signal("nowhere")), (None, None));
    assert_eq!(definition.id_for(&trip::planned("")), Some(saga_id("trip", "start-1")));
    assert!(definition.begin(&trip::planned("day-dream"), Default::default()).unwrap().is_none());
}

#[test]
fn nonsense_is_refused_at_registration() {
    struct Odd(&'static [&'static str], u32);
    impl Saga for Odd {
        const NAME: &'static str = "odd";
        const DEFINITION: u16 = 1;
        type State = trip::State;
        type Start = trip::Planned;
        fn start(&self, _: &trip::Planned, _: &crate::Envelope) -> Option<trip::State> {
            None
        }
        fn steps(&self, plan: Plan<trip::State>) -> Steps<trip::State> {
            let policy = Policy { attempts: self.1, ..Policy::default() };
            let steps = self.0.iter().map(|name| {
                Step::new(name, trip::Check::of, trip::CheckOk::absorb, trip::CheckFailed::failure)
                    .nothing_to_undo()
                    .policy(policy)
            });
            steps.fold(plan, Plan::then).end()
        }
        fn completed(&self, _: &SagaLog<trip::State>) -> Result<Vec<crate::Draft>, crate::SchemaError> {
            Ok(vec![])
        }
        fn undone(&self, _: &SagaLog<trip::State>, _: &Failure) -> Result<Vec<crate::Draft>, crate::SchemaError> {
            Ok(vec![])
        }
        fn stuck(&self, _: &SagaLog<trip::State>, _: &str, _: &str) -> Result<Vec<crate::Draft>, crate::SchemaError> {
            Ok(vec![])
        }
    }
    assert!(Definition::new(Odd(&["a", "b"], 1)).is_ok());
    assert!(matches!(Definition::new(Odd(&[], 1)), Err(InvalidDefinition::Steps { found: 0, .. })));
    assert!(matches!(Definition::new(Odd(&["a", "a"], 1)), Err(InvalidDefinition::Twice { step: "a", .. })));
    assert!(matches!(Definition::new(Odd(&["A b"], 1)), Err(InvalidDefinition::Name { found: "A b" })));
    assert!(matches!(Definition::new(Odd(&["a"], 0)), Err(InvalidDefinition::Attempts { step: "a", .. })));
    assert_eq!(trip::Planned::TYPE.name(), "trip.planned");
}

#[test]
fn ids_never_move() {
    // Frozen: sagas in flight are found by them.
    assert_eq!(saga_id("trip", "start-1").to_string(), "97c3d437-ae07-5ed6-998a-2e67c2fc7665");
}
