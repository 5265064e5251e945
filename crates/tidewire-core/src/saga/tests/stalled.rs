//! Sagas of a definition that this build does not know.

use serde_json::{Value, json};

use super::trip::{Journey, definition};
use crate::saga::stall::{MAX_WAITING, StallError, Stored, stall};
use crate::saga::*;

fn raw(journey: &Journey) -> Value {
    serde_json::to_value(&journey.log).unwrap()
}

fn reason(raw: &Value) -> String {
    match definition().read(raw).unwrap() {
        Some(Stored::Unknown(reason)) => reason,
        Some(Stored::Known(_)) => panic!("known"),
        None => panic!("somebody else's"),
    }
}

#[test]
fn only_what_is_surely_known_is_advanced() {
    let journey = Journey::start();
    assert!(matches!(definition().read(&raw(&journey)), Ok(Some(Stored::Known(log))) if *log == journey.log));
    let change = |name: &str, value: Value| {
        let mut raw = raw(&journey);
        raw[name] = value;
        raw
    };
    assert!(reason(&change("definition", json!(2))).contains("definition 2"));
    assert!(reason(&change("fingerprint", json!("00"))).contains("other steps"));
    assert!(reason(&change("state", json!(7))).contains("state"));
    assert!(matches!(definition().read(&change("saga", json!("other"))), Ok(None)));
    assert!(matches!(definition().read(&json!(7)), Err(StallError::Unreadable(_))));
}

#[test]
fn what_arrives_meanwhile_is_kept_and_taken_in_later() {
    let mut journey = Journey::start();
    let reply = journey.reply_to(&journey.request("book", "ok", None), "ok");
    let mut foreign = raw(&journey);
    foreign["added by another build"] = json!({"a": 1});
    let (stalled, was) = stall(foreign, "of another build", None, journey.now).unwrap();
    assert_eq!((was, &stalled["status"]), (Status::Running, &json!("stalled")));
    let (stalled, was) = stall(stalled, "still", Some(&reply), journey.now).unwrap();
    assert_eq!((was, &stalled["added by another build"]), (Status::Stalled, &json!({"a": 1})));
    assert_eq!(stalled["stall"]["reason"], "of another build");

    let Ok(Some(Stored::Known(log))) = definition().read(&stalled) else { panic!("not read") };
    journey.log = *log;
    let resumed = definition().advance(journey.log.clone(), Input::Wake, journey.now);
    assert_eq!(resumed.drafts[0].ty.name(), "check.requested");
    assert_eq!((resumed.log.status, resumed.log.stall), (Status::Running, None));
    assert!(matches!(resumed.timer, Some(TimerWish::Set(_))), "the timer was moved by the stall");
}

#[test]
fn a_stall_has_limits_and_an_end_has_none() {
    let mut journey = Journey::start();
    let reply = journey.reply_to(&journey.request("book", "ok", None), "ok");
    let mut stalled = raw(&journey);
    for _ in 0..MAX_WAITING {
        stalled = stall(stalled, "why", Some(&reply), journey.now).unwrap().0;
    }
    assert_eq!(stall(stalled, "why", Some(&reply), journey.now), Err(StallError::Full));

    let failed = journey.reply_to(&journey.request("book", "failed", None), "failed");
    journey.advance(Input::Reply(&failed));
    let over = raw(&journey);
    assert_eq!(stall(over.clone(), "why", Some(&reply), journey.now), Ok((over, Status::Undone)));
}
