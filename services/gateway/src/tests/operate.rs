use serde_json::json;
use tidewire::handler::Consumer;
use tidewire::{Commit, EventType, Mark, Park, Seen};

use super::*;

#[tokio::test]
async fn operators_see_what_is_there() {
    let house = House::new().await;
    let status = house.get("/v1/status").await.json();
    assert_eq!((&status["store"]["backend"], &status["parked"]), (&json!("sqlite"), &json!(0)));
    assert_eq!(house.get("/v1/consumers").await.json(), json!({"items": [], "cursor": null}));
    assert_eq!(house.get("/v1/consumers/none").await.problem(), (404, "consumer.not_found".into()));
}

#[tokio::test]
async fn parked_events_are_listed_and_shown() {
    let house = House::new().await;
    house.emit(&super::events::followed("1", "7", "42")).await;
    let envelope =
        house.ports.store.stream(&tidewire::Key::new("user/42").unwrap(), 0, 1).await.unwrap().remove(0).envelope;
    for n in 0..3 {
        let mut envelope = envelope.clone();
        envelope.id = format!("p{n}");
        let park = Park {
            consumer: "social.followers".into(),
            envelope,
            code: "handler.failed".into(),
            reason: "no".into(),
            attempts: 8,
            follower: n > 0,
            place: None,
        };
        house.ports.store.commit(Commit { park: vec![park], ..Default::default() }).await.unwrap();
    }
    let first = house.get("/v1/parked?limit=2&consumer=social.followers").await.json();
    let cursor = first["cursor"].as_str().unwrap();
    let second = house.get(&format!("/v1/parked?limit=2&cursor={cursor}")).await.json();
    assert_eq!((first["items"].as_array().unwrap().len(), second["items"].as_array().unwrap().len()), (2, 1));
    assert_eq!(second["cursor"], Value::Null);
    let ordinal = &first["items"][0]["ordinal"];
    assert_eq!(house.get(&format!("/v1/parked/{ordinal}")).await.json()["envelope"]["id"], "p0");
    assert_eq!(house.get("/v1/parked/999").await.problem(), (404, "http.not_found".into()));
    assert_eq!(house.get("/v1/parked?key=").await.problem(), (400, "http.invalid".into()));
}

#[tokio::test]
async fn retiring_says_who_needs_what_and_takes_no_nonsense() {
    let house = House::new().await;
    let json = [("content-type", "application/json")];
    for n in 0..3 {
        house.emit(&super::events::followed(&n.to_string(), "7", "42")).await;
    }
    let plan = house.post("/v1/log/retire", &json, r#"{"before":"100","dry_run":true}"#).await.json();
    let found = ["first", "asked", "until", "head", "removed"].map(|member| plan[member].as_u64());
    assert_eq!(found, [Some(1), Some(2), Some(0), Some(3), Some(0)], "{plan}");
    assert_eq!(plan["held"], json!([{"by": "relay 0of1", "position": 1}]));
    // What is needed stays, also without a dry run.
    let done = house.post("/v1/log/retire", &json, r#"{"before":"100"}"#).await.json();
    assert_eq!((&done["removed"], &done["first"]), (&json!(0), &json!(1)));
    for (body, code) in [
        (r#"{"before":"yesterday"}"#, "http.invalid"),
        (r#"{"before":"9","limit":0}"#, "http.invalid"),
        (r#"{"before":"9","limit":50001}"#, "http.invalid"),
        (r#"{"before":"9","force":true}"#, "http.invalid"),
        ("{}", "http.invalid"),
    ] {
        assert_eq!(house.post("/v1/log/retire", &json, body).await.problem(), (400, code.to_owned()), "{body}");
    }
}

#[tokio::test]
async fn redriving_needs_a_consumer_there_is() {
    let house = House::new().await;
    let json = [("content-type", "application/json")];
    for (body, status, code) in [
        (r#"{"consumer":"none"}"#, 404, "consumer.not_found"),
        (r#"{"consumer":"none","limit":0}"#, 400, "http.invalid"),
        (r#"{"consumer":"none","keys":[]}"#, 400, "http.invalid"),
        (r#"{"consumer":"a","consumer":"b"}"#, 400, "http.duplicate_member"),
        ("", 400, "http.empty_body"),
    ] {
        assert_eq!(house.post("/v1/parked/redrive", &json, body).await.problem(), (status, code.to_owned()), "{body}");
    }
}

#[tokio::test]
async fn an_audit_finds_what_is_missing() {
    let house = House::new().await;
    assert_eq!(house.get("/v1/audit").await.json()["lost"], 0);
    house.emit(&super::events::followed("1", "7", "42")).await;
    let audit = house.get("/v1/audit").await.json();
    assert_eq!((&audit["appended"], &audit["published"], &audit["lost"]), (&json!(1), &json!(0), &json!(1)), "{audit}");
    assert_eq!(audit["missing"], json!(["1"]));
}

/// Brokers let go of what is old and acknowledged; that is no loss.
#[tokio::test]
async fn what_everybody_has_handled_need_not_be_on_the_broker() {
    let house = House::new().await;
    house.emit(&super::events::followed("1", "7", "42")).await;
    let idle = super::edge::Idle(Consumer::new("test.idle", vec![EventType::new("user.followed", 1)]));
    let operator = Operator::new(&house.ports, vec![(Arc::new(idle), "/test".into())], Default::default());
    let audit = operator.audit().await.unwrap();
    assert_eq!((audit.missing_on_broker, audit.consumers[0].unhandled, audit.lost), (1, 1, 2));
    let seen = Seen { consumer: "test.idle".into(), mark: Mark { source: "/shell".into(), id: "1".into() } };
    house.ports.store.commit(Commit { seen: vec![seen], ..Default::default() }).await.unwrap();
    let audit = operator.audit().await.unwrap();
    assert_eq!((audit.released, audit.missing_on_broker, audit.lost), (1, 0, 0));
}

/// The writer of these events and their schema live on different floors.
#[test]
fn what_operators_did_follows_its_schema() {
    use tidewire::operate::{Acted, Actor, OPERATOR_ACTED};
    let entry = ::events::entry(OPERATOR_ACTED.name()).unwrap();
    let validator = jsonschema::validator_for(&entry.schema).unwrap();
    let long = "x".repeat(9_000);
    for acted in [
        Acted::new(&Actor::house(), "parked drop", "", ""),
        Acted::new(&Actor::house(), "parked drop", long.clone(), &long).with("event", "1").with("before", long.clone()),
    ] {
        let event = acted.append(&tidewire::SystemClock).events.remove(0);
        assert_eq!(event.ty, entry.ty);
        (entry.check)(&event).unwrap();
        assert_eq!((entry.key)(&event).unwrap(), event.key);
        let data: Value = serde_json::from_slice(event.data.as_deref().unwrap()).unwrap();
        assert!(validator.is_valid(&data), "{data}");
        event.check().unwrap();
    }
}
