//! Totality: whatever comes in, in whatever order, a saga stays sound and comes to an end.

use super::trip::Journey;
use crate::clock::{Clock, ManualClock};
use crate::saga::*;

/// Mostly good news, or no saga would get far.
const KINDS: [&str; 9] = ["ok", "ok", "ok", "ok", "ok", "failed", "undone", "undone", "undo_failed"];

fn pick<T: Clone>(random: &ManualClock, from: &[T]) -> T {
    from[usize::try_from(random.random() % from.len() as u64).unwrap()].clone()
}

/// A reply to any request ever sent, of any kind, sometimes damaged.
fn reply(journey: &mut Journey, random: &ManualClock) -> crate::Envelope {
    let requests: Vec<_> =
        journey.sent.iter().filter(|draft| draft.extensions.contains_key(SAGA_ID)).cloned().collect();
    let last = requests.len().saturating_sub(random.random() as usize % 2 + 1);
    let request = if random.random().is_multiple_of(3) { pick(random, &requests) } else { requests[last].clone() };
    let mut reply = journey.reply_to(&request, pick(random, &KINDS));
    match random.random() % 24 {
        0 => reply.data = Some("[]".into()),
        1 => reply.data = None,
        2 => drop(reply.extensions.remove(SAGA_ID)),
        3 => drop(reply.extensions.insert(SAGA_ID.into(), saga_id("trip", "other").to_string().into())),
        4 => drop(reply.extensions.insert(SAGA_STEP.into(), pick(random, &["tell", "book", "", "nowhere"]).into())),
        5 => {
            drop(reply.extensions.insert(SAGA_EPOCH.into(), pick(random, &["0", "2", "-1", "4294967295", "x"]).into()))
        }
        6 => reply.ty = reply.ty.at(9),
        _ => {}
    }
    reply
}

fn verb(random: &ManualClock) -> Verb {
    let steps =
        [None, None, Some("book"), Some("seat"), Some("approve"), Some("charge"), Some("tell"), Some("nowhere")];
    let step = pick(random, &steps).map(str::to_owned);
    let output = pick(random, &[None, Some(r#"{"trip": "1", "note": "supplied"}"#), Some("[]")]).map(Into::into);
    match random.random() % 6 {
        0 => Verb::Skip { step, output },
        1 => Verb::Done { step, output },
        2 => Verb::Compensate,
        3 => Verb::Forward,
        4 => Verb::Cancel,
        _ => Verb::Retry { step },
    }
}

#[test]
fn any_input_in_any_order() {
    let mut ends = [0u32; 3];
    for seed in 0..300 {
        let random = ManualClock::new(Default::default(), seed);
        let mut journey = if seed % 2 == 0 { Journey::start() } else { Journey::of(super::trip::wide()) };
        let people = if seed % 3 == 0 { 12 } else { 8 };
        for _ in 0..random.random() % 60 {
            match random.random() % people {
                0 => {
                    journey.wait();
                    journey.advance(Input::Wake);
                }
                1 => drop(journey.advance(Input::Wake)),
                2 => drop(journey.advance(Input::Started(&super::trip::planned("")))),
                3 => {
                    let signal = journey.signal("approve", pick(&random, &["yes", "yes", "no"]));
                    journey.advance(Input::Reply(&signal));
                }
                8.. => {
                    let before = journey.log.clone();
                    if journey.order(verb(&random)).is_err() {
                        assert_eq!(journey.log, before);
                    }
                }
                _ => {
                    let reply = reply(&mut journey, &random);
                    journey.advance(Input::Reply(&reply));
                }
            }
        }
        // From here on nobody answers: time alone must bring it to an end.
        let mut waits = 0;
        while matches!(journey.log.status, Status::Running | Status::Compensating) {
            journey.wait();
            journey.advance(Input::Wake);
            waits += 1;
            assert!(waits < 120, "seed {seed} never ends: {:#?}", journey.log);
        }
        match journey.log.status {
            Status::Completed => ends[0] += 1,
            Status::Undone => ends[1] += 1,
            Status::Stuck => ends[2] += 1,
            other => panic!("seed {seed} ends {other:?}"),
        }
    }
    assert!(ends.iter().all(|count| *count > 5), "the run did not reach every end: {ends:?}");
}

#[test]
fn the_history_is_bounded() {
    let mut journey = Journey::start();
    for _ in 0..150 {
        journey.advance(Input::Started(&super::trip::planned("")));
    }
    assert_eq!(journey.log.history.entries.len(), history::MAX_HISTORY);
    assert_eq!(journey.log.history.entries[0].what, history::What::Started);
    assert_eq!(journey.log.ignored, 150);
}
