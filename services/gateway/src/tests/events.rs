use serde_json::{Value, json};
use tidewire::store::Selection;

use super::*;

const ONE: &[(&str, &str)] = &[("content-type", "application/cloudevents+json")];
const BATCH: &[(&str, &str)] = &[("content-type", "application/cloudevents-batch+json")];

pub(super) fn followed(id: &str, follower: &str, followed: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/shell", "type": "user.followed.v1",
           "data": {"follower_id": follower, "followed_id": followed}})
}

fn changed(changes: Value) -> Value {
    let mut event = followed("1", "7", "42");
    for (name, value) in changes.as_object().unwrap() {
        event[name] = value.clone();
    }
    event
}

impl House {
    pub(super) async fn emit(&self, event: &Value) -> Answer {
        self.post("/v1/events", ONE, &event.to_string()).await
    }

    pub(super) async fn appended(&self) -> u64 {
        self.ports.store.head().await.unwrap().0
    }
}

#[tokio::test]
async fn an_event_goes_in_and_is_shown() {
    let house = House::new().await;
    let answer = house.emit(&followed("e 1", "7", "42")).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (202, json!({"ids": ["e 1"], "duplicates": 0})));
    assert_eq!(answer.headers["tidewire-position"], "1");
    let shown = house.get("/v1/events/e%201").await;
    assert_eq!(shown.headers["content-type"], "application/cloudevents+json");
    let event = shown.json();
    assert_eq!(event["data"], json!({"follower_id": "7", "followed_id": "42"}));
    assert_eq!((&event["partitionkey"], &event["sequence"]), (&json!("user/42"), &json!("1")));
    assert_eq!((&event["time"], &event["correlationid"]), (&json!("2026-01-01T00:00:00Z"), &json!("e 1")));
    let binary = [
        ("ce-specversion", "1.0"),
        ("ce-id", "b"),
        ("ce-source", "/shell"),
        ("ce-type", "user.followed.v1"),
        ("content-type", "application/json"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ];
    assert_eq!(house.post("/v1/events", &binary, r#"{"follower_id":"8","followed_id":"42"}"#).await.status, 202);
    let event = house.get("/v1/events/b").await.json();
    assert_eq!(event["traceparent"], "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert_eq!(event["sequence"], "2", "the same key, in order");
    assert_eq!(house.get("/v1/events/none").await.problem(), (404, "http.not_found".into()));
}

#[tokio::test]
async fn what_is_no_good_is_refused_and_nothing_is_written() {
    let house = House::new().await;
    let big = "x".repeat(tidewire::testing::MAX_EVENT_BYTES);
    let cases = [
        (changed(json!({"type": "user.folowed.v1"})), 400, "event.unknown_type"),
        (changed(json!({"type": "order.placed.v1"})), 400, "event.unknown_type"),
        (changed(json!({"type": "operator.acted.v1"})), 403, "event.reserved"),
        (changed(json!({"type": "user.followed.v2"})), 400, "event.newer_version"),
        (changed(json!({"data": {"follower_id": "7"}})), 400, "event.schema_invalid"),
        (changed(json!({"data": {"follower_id": 7, "followed_id": ["42"]}})), 400, "event.schema_invalid"),
        (changed(json!({"data": {"follower_id": "7", "followed_id": ""}})), 400, "event.schema_invalid"),
        (changed(json!({"data": null})), 400, "event.schema_invalid"),
        (changed(json!({"datacontenttype": "text/plain", "data": "x"})), 400, "event.schema_invalid"),
        (changed(json!({"partitionkey": "user/7"})), 400, "event.key_mismatch"),
        (changed(json!({"expirytime": "2025-12-31T23:59:59Z"})), 400, "event.expired"),
        (changed(json!({"dataschema": "http://169.254.169.254/"})), 400, "event.malformed"),
        (changed(json!({"dataschema": "file:///etc/passwd"})), 400, "event.malformed"),
        (changed(json!({"data": {"follower_id": "7", "followed_id": "42", "more": big}})), 413, "event.too_large"),
        (changed(json!({"specversion": "0.3"})), 400, "event.malformed"),
    ];
    for (event, status, code) in cases {
        let answer = house.emit(&event).await;
        assert_eq!(answer.problem(), (status, code.to_owned()), "{}", answer.text);
    }
    assert_eq!(house.emit(&changed(json!({"type": "user.folowed.v1"}))).await.json()["nearest"], "user.followed");
    let answer = house.emit(&changed(json!({"data": {"follower_id": 7, "followed_id": ["42"]}}))).await.json();
    let places: Vec<&str> =
        answer["errors"].as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect();
    assert!(places.contains(&"/follower_id") && places.contains(&"/followed_id"), "{answer}");
    assert_eq!(house.post("/v1/events", ONE, "").await.problem(), (400, "http.empty_body".into()));
    let long = "x".repeat((1 << 20) + 1);
    assert_eq!(house.post("/v1/events", ONE, &long).await.problem(), (413, "http.body_too_large".into()));
    assert_eq!(house.appended().await, 0);
    for good in
        [json!({"partitionkey": "user/42"}), json!({"dataschema": "http://localhost/schemas/user.followed/v1.json"})]
    {
        assert_eq!(house.emit(&changed(good)).await.status, 202);
    }
}

#[tokio::test]
async fn a_batch_is_taken_whole_or_not_at_all() {
    let house = House::new().await;
    let mut batch: Vec<Value> = (0..20).map(|n| followed(&n.to_string(), "7", &(n % 3).to_string())).collect();
    batch[3]["type"] = json!("user.unknown.v1");
    batch[7]["data"] = json!({});
    batch[9]["id"] = json!("8");
    batch[11] = json!("no object");
    let answer = house.post("/v1/events", BATCH, &json!(batch).to_string()).await;
    assert_eq!(answer.problem(), (400, "event.batch_refused".into()));
    let errors = answer.json()["errors"].clone();
    let named: Vec<(u64, &str)> = errors
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["index"].as_u64().unwrap(), e["code"].as_str().unwrap()))
        .collect();
    let expected =
        [(3, "event.unknown_type"), (7, "event.schema_invalid"), (9, "event.id_conflict"), (11, "event.malformed")];
    assert_eq!(named, expected);
    assert_eq!(house.appended().await, 0);
    let good: Vec<&Value> =
        batch.iter().enumerate().filter(|(n, _)| ![3, 7, 9, 11].contains(n)).map(|(_, e)| e).collect();
    assert_eq!(house.post("/v1/events", BATCH, &json!(good).to_string()).await.status, 202);
    assert_eq!(house.appended().await, 16);
    // Order within a key is the order of the batch.
    let selection = Selection { key: Some(tidewire::Key::new("user/0").unwrap()), limit: 100, ..Default::default() };
    let stored = house.ports.store.read(&selection).await.unwrap();
    let ids: Vec<u32> = stored.iter().map(|recorded| recorded.envelope.id.parse().unwrap()).collect();
    assert!(ids.is_sorted() && ids.len() > 3, "{ids:?}");
}

#[tokio::test]
async fn an_event_sent_again_is_taken_once() {
    let house = House::new().await;
    let event = followed("1", "7", "42");
    assert_eq!(house.emit(&event).await.json()["duplicates"], 0);
    assert_eq!(house.emit(&event).await.json()["duplicates"], 1);
    let batch = json!([event, followed("2", "8", "42")]);
    let answer = house.post("/v1/events", BATCH, &batch.to_string()).await.json();
    assert_eq!(answer, json!({"ids": ["1", "2"], "duplicates": 1}));
    assert_eq!(house.appended().await, 2);
    let other = house.emit(&followed("1", "9", "42")).await;
    assert_eq!(other.problem(), (409, "event.id_conflict".into()));
    let mut elsewhere = event.clone();
    elsewhere["source"] = json!("/elsewhere");
    assert_eq!(house.emit(&elsewhere).await.json()["duplicates"], 0, "ids are unique per source");
    // The same events from many clients at once.
    let batch = json!((0..10).map(|n| followed(&format!("r{n}"), "7", &n.to_string())).collect::<Vec<_>>()).to_string();
    let sent = futures::future::join_all((0..8).map(|_| house.post("/v1/events", BATCH, &batch))).await;
    assert!(sent.iter().all(|answer| answer.status == 202), "{sent:?}");
    assert_eq!(house.appended().await, 13);
}

#[tokio::test]
async fn the_log_is_listed_in_pages() {
    let house = House::new().await;
    for n in 0..30 {
        house.emit(&followed(&n.to_string(), &(n % 5).to_string(), &(n % 2).to_string())).await;
    }
    for (query, expected) in [
        ("", (0..30).collect::<Vec<u32>>()),
        ("&order=newest", (0..30).rev().collect()),
        ("&key=user/1&type=user.*", (0..30).filter(|n| n % 2 == 1).collect()),
        ("&type=user.unfollowed", Vec::new()),
        ("&id=7", vec![7]),
        ("&filter=id%20IN%20(%273%27,%20%2729%27)", vec![3, 29]),
        ("&key=user/1&order=newest&filter=INT(id)%20%25%203%20=%200", vec![27, 21, 15, 9, 3]),
        ("&correlation=9&order=newest", vec![9]),
    ] {
        let (mut listed, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = house.get(&format!("/v1/events?limit=7{query}{cursor}")).await.json();
            listed.extend(
                page["items"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|item| item["event"]["id"].as_str().unwrap().parse::<u32>().unwrap()),
            );
            let Some(next) = page["cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(listed, expected, "{query}");
    }
    let cursor = house.get("/v1/events?limit=3").await.json()["cursor"].as_str().unwrap().to_owned();
    for (bad, code) in [
        (format!("order=newest&cursor={cursor}"), "http.invalid_cursor"),
        (format!("key=user/1&cursor={cursor}"), "http.invalid_cursor"),
        ("cursor=MTIz".into(), "http.invalid_cursor"),
        ("order=up".into(), "http.invalid"),
        ("limit=0".into(), "http.invalid_limit"),
        ("type=user.folowed".into(), "event.unknown_type"),
    ] {
        assert_eq!(house.get(&format!("/v1/events?{bad}")).await.problem(), (400, code.to_owned()), "{bad}");
    }
}

#[tokio::test]
async fn causes_and_effects_are_followed() {
    let house = House::new().await;
    let caused = |id: &str, cause: &str, flow: &str| {
        let mut event = followed(id, "7", "42");
        event["correlationid"] = json!(flow);
        if !cause.is_empty() {
            event["causationid"] = json!(cause);
        }
        event
    };
    for (id, cause, flow) in [
        ("a", "", "a"),
        ("b", "a", "a"),
        ("c", "b", "a"),
        ("d", "b", "a"),
        ("e", "a", "a"),
        ("x", "", "x"),
        ("loop", "loop", "l"),
    ] {
        assert_eq!(house.emit(&caused(id, cause, flow)).await.status, 202);
    }
    let ids = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|item| item["event"]["id"].as_str().unwrap().to_owned()).collect()
    };
    let why = house.get("/v1/events/b/why").await.json();
    assert_eq!((ids(&why["causes"]), ids(&why["effects"])), (vec!["a".into()], vec!["c".into(), "d".into()]));
    assert_eq!(ids(&house.get("/v1/events/a/why").await.json()["effects"]), ["b", "c", "d", "e"]);
    assert_eq!(ids(&house.get("/v1/events/c/why").await.json()["causes"]), ["b", "a"]);
    assert_eq!(house.get("/v1/events/loop/why").await.json()["complete"], false);
    assert_eq!(house.get("/v1/events/none/why").await.problem(), (404, "http.not_found".into()));
}
