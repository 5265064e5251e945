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

/// Parks events of one key as `social.followers` would: the first for its own sake.
async fn park_three(house: &House) -> Vec<String> {
    for n in 0..3 {
        house.emit(&super::events::followed(&format!("p{n}"), "7", "42")).await;
    }
    let stream = house.ports.store.stream(&tidewire::Key::new("user/42").unwrap(), 0, 3).await.unwrap();
    for (n, recorded) in stream.into_iter().enumerate() {
        let park = Park {
            consumer: "social.followers".into(),
            envelope: recorded.envelope,
            code: if n == 0 { "handler.failed" } else { "parked.behind" }.into(),
            reason: "no".into(),
            attempts: 8,
            follower: n > 0,
            place: None,
        };
        house.ports.store.commit(Commit { park: vec![park], ..Default::default() }).await.unwrap();
    }
    let listed = house.get("/v1/parked").await.json();
    listed["items"].as_array().unwrap().iter().map(|item| item["ordinal"].to_string()).collect()
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

#[tokio::test]
async fn parked_events_are_grouped_and_filtered() {
    let house = House::new().await;
    park_three(&house).await;
    let groups = house.get("/v1/parked/groups").await.json();
    let counts: Vec<_> = groups["items"].as_array().unwrap().iter().map(|g| (&g["code"], &g["events"])).collect();
    assert_eq!(counts, [(&json!("parked.behind"), &json!(2)), (&json!("handler.failed"), &json!(1))]);
    for (query, found) in [
        ("code=handler.failed", 1),
        ("type=user.followed", 3),
        ("type=user.registered", 0),
        ("filter=id%20=%20%27p1%27", 1),
        ("code=parked.behind&limit=1", 1),
    ] {
        let page = house.get(&format!("/v1/parked?{query}")).await.json();
        assert_eq!(page["items"].as_array().unwrap().len(), found, "{query}: {page}");
    }
    let first = house.get("/v1/parked?code=parked.behind&limit=1").await.json();
    let next = house.get(&format!("/v1/parked?code=parked.behind&cursor={}", first["cursor"].as_str().unwrap())).await;
    assert_eq!(next.json()["items"][0]["id"], "p2");
    assert_eq!(house.get("/v1/parked/groups?filter=%28").await.problem(), (400, "filter.invalid".into()));
}

#[tokio::test]
async fn only_the_data_of_a_parked_event_can_be_edited() {
    let house = House::new().await;
    let ordinals = park_three(&house).await;
    let target = format!("/v1/parked/{}/edit", ordinals[0]);
    let whole = house.get(&format!("/v1/parked/{}", ordinals[0])).await.json()["envelope"].clone();
    let mut moved = whole.clone();
    moved["source"] = json!("/elsewhere");
    for (body, status, code) in [
        (json!({}), 400, "http.invalid"),
        (json!({"data": {"follower_id": "8"}}), 400, "event.schema_invalid"),
        // Its key would be another one.
        (json!({"data": {"follower_id": "7", "followed_id": "43"}}), 400, "event.key_mismatch"),
        (json!({"data": {"follower_id": "7", "followed_id": "42"}}), 400, "http.invalid"),
        (json!({"event": moved}), 400, "parked.locked"),
        (json!({"data": {"follower_id": "8", "followed_id": "42"}, "expect": "p1"}), 409, "parked.changed"),
    ] {
        assert_eq!(house.post(&target, JSON, &body.to_string()).await.problem(), (status, code.to_owned()), "{body}");
    }
    let before = house.appended().await;
    let mut edited = whole.clone();
    edited["data"]["follower_id"] = json!("8");
    let planned = house.post(&target, JSON, &json!({"event": edited, "dry_run": true}).to_string()).await.json();
    assert_eq!(planned["changes"], json!([{"pointer": "/data/follower_id", "before": "7", "after": "8"}]));
    assert_eq!(house.appended().await, before, "nothing was written");
    let done = house.post(&target, JSON, &json!({"event": edited, "expect": "p0", "reason": "typo"}).to_string()).await;
    let done = done.json();
    assert_eq!((&done["before"]["id"], &done["after"]["editedfrom"]), (&json!("p0"), &json!("p0")));
    let shown = house.get(&format!("/v1/parked/{}", ordinals[0])).await.json();
    assert_eq!((&shown["envelope"]["id"], &shown["history"][0]["reason"]), (&done["after"]["id"], &json!("typo")));
    // In the tree of the one it was made of.
    let why = house.get("/v1/events/p0/why").await.json();
    assert_eq!(why["tree"]["followed"][0]["acted"]["verb"], "parked edit");
}

#[tokio::test]
async fn dropping_needs_a_reason_and_names_who_did_it() {
    let house = House::new().await;
    let ordinals = park_three(&house).await;
    let target = format!("/v1/parked/{}/drop", ordinals[0]);
    for body in [r#"{"reason":" "}"#, "{}"] {
        assert_eq!(house.post(&target, JSON, body).await.problem(), (400, "http.invalid".into()), "{body}");
    }
    let headers = [JSON[0], ("tidewire-actor", "ana")];
    let dropped = house.post(&target, &headers, r#"{"reason":"a test"}"#).await.json();
    // Nobody here runs that consumer: what follows waits for somebody who does.
    assert_eq!((&dropped["id"], &dropped["followed"]), (&json!("p0"), &json!([])));
    assert_eq!(house.post(&target, JSON, r#"{"reason":"x"}"#).await.problem(), (404, "http.not_found".into()));
    let acted = house.get("/v1/events?type=operator.acted").await.json();
    let data = &acted["items"][0]["event"]["data"];
    assert_eq!(
        (&data["actor"], &data["verb"], &data["reason"]),
        (&json!("local:ana"), &json!("parked drop"), &json!("a test"))
    );
}

#[tokio::test]
async fn effects_are_listed_and_begin_anew() {
    use tidewire::effect::{EffectOutcome, EffectState};
    let house = House::new().await;
    house.emit(&super::events::followed("e", "7", "42")).await;
    let call = tidewire::Call::Mail { to: "ana@example.com".into(), subject: "s".into(), text: "t".into() };
    let effects: Vec<_> = (0..3).map(|n| tidewire::Effect::new("mailer", "/shell", "e", n, call.clone())).collect();
    let failed = EffectOutcome { id: effects[0].id.clone(), state: EffectState::Failed, error: Some("away".into()) };
    let ids: Vec<String> = effects.iter().map(|effect| effect.id.clone()).collect();
    house.ports.store.commit(Commit { effects, ..Default::default() }).await.unwrap();
    house.ports.store.commit(Commit { settled: vec![failed], ..Default::default() }).await.unwrap();
    let page = house.get("/v1/effects?state=failed").await.json();
    assert_eq!((page["items"].as_array().unwrap().len(), &page["items"][0]["error"]), (1, &json!("away")));
    let first = house.get("/v1/effects?cause=e&limit=2").await.json();
    let second = house.get(&format!("/v1/effects?cause=e&cursor={}", first["cursor"].as_str().unwrap())).await.json();
    assert_eq!((first["items"].as_array().unwrap().len(), second["items"].as_array().unwrap().len()), (2, 1));
    let at = &house;
    let retry = |body: serde_json::Value| async move { at.post("/v1/effects/retry", JSON, &body.to_string()).await };

    assert_eq!(retry(json!({"id": ids[1]})).await.problem(), (409, "effect.not_failed".into()));
    assert_eq!(retry(json!({"id": "nothing"})).await.problem(), (404, "http.not_found".into()));
    assert_eq!(retry(json!({"limit": 0})).await.problem(), (400, "http.invalid".into()));
    assert_eq!(retry(json!({"consumer": "other"})).await.json(), json!({"items": []}));
    assert_eq!(retry(json!({"consumer": "mailer"})).await.json()["items"][0]["state"], "pending");
    assert_eq!(house.get("/v1/events/e/why").await.json()["tree"]["effects"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn only_consumers_there_are_can_be_paused() {
    let house = House::new().await;
    for verb in ["pause", "resume"] {
        let answer = house.post(&format!("/v1/consumers/nobody/{verb}"), JSON, r#"{"reason":"x"}"#).await;
        assert_eq!(answer.problem(), (404, "consumer.not_found".into()), "{verb}");
    }
}

#[tokio::test]
async fn the_doctor_says_what_is_wrong() {
    use tidewire::effect::{EffectOutcome, EffectState};
    let house = House::new().await;
    let report = house.get("/v1/doctor").await.json();
    let rules: Vec<_> = report["items"].as_array().unwrap().iter().map(|one| one["rule"].clone()).collect();
    // The broker of these tests keeps nothing; nothing else is wrong.
    assert_eq!(rules, ["durability"], "{report}");
    assert!(report["rules"].as_array().unwrap().len() > 10);
    let call = tidewire::Call::Mail { to: "a@b.c".into(), subject: "s".into(), text: "t".into() };
    let effect = tidewire::Effect::new("mailer", "/shell", "e", 0, call);
    let failed = EffectOutcome { id: effect.id.clone(), state: EffectState::Failed, error: None };
    house.ports.store.commit(Commit { effects: vec![effect], ..Default::default() }).await.unwrap();
    house.ports.store.commit(Commit { settled: vec![failed], ..Default::default() }).await.unwrap();
    let report = house.get("/v1/doctor").await.json();
    assert_eq!(report["items"][0]["rule"], "given-up-effects", "{report}");
}
