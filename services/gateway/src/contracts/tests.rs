//! Types that are only schema files, from their folder to the log.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{BadSchema, Contracts, Foreign};
use crate::tests::House;

const STRUCTURED: [(&str, &str); 1] = [("content-type", "application/cloudevents+json")];

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn order(version: u16) -> String {
    let note = if version == 1 { json!({}) } else { json!({ "note": { "type": "string", "maxLength": 9 } }) };
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "description": "Somebody ordered.",
        "type": "object",
        "required": ["order_id", "total"],
        "properties": { "order_id": { "type": "string" }, "total": { "$ref": "#/$defs/money" } },
        "$defs": { "money": { "type": "integer", "minimum": 0 } },
        "unevaluatedProperties": false,
        "examples": [{ "order_id": "7", "total": 12 }],
    });
    schema["properties"].as_object_mut().unwrap().extend(note.as_object().unwrap().clone());
    schema.to_string()
}

fn bad(files: &[(&str, &str)]) -> Vec<BadSchema> {
    Foreign::load(folder(files).path()).unwrap_err()
}

#[test]
fn every_published_schema_compiles_and_takes_its_example() {
    let contracts = Contracts::default();
    for entry in events::catalogue() {
        for version in 1..=entry.ty.version() {
            assert!(contracts.validator(&entry.ty.at(version)).is_some(), "{} v{version}", entry.ty);
        }
        assert!(contracts.validator(&entry.ty).unwrap().is_valid(&entry.example), "{}", entry.ty);
    }
}

#[test]
fn every_file_that_is_wrong_is_named_with_the_place_in_it() {
    let elsewhere = r#"{ "$ref": "https://example.org/money.json" }"#;
    let cases: [(&str, &str, &str, &str); 8] = [
        ("a.happened/v1.json", "{ \"type\": ", "", "not JSON"),
        ("a.happened/v1.json", "[]", "", "not a JSON Schema"),
        ("a.happened/v1.json", r#"{ "properties": { "n": { "type": "numbre" } } }"#, "/properties/n/type", "numbre"),
        ("a.happened/v1.json", r#"{ "$schema": "http://json-schema.org/draft-07/schema#" }"#, "/$schema", "2020-12"),
        ("a.happened/v1.json", elsewhere, "/$ref", "example.org"),
        ("a.happened/v1.json", r#"{ "properties": { "n": { "pattern": "(" } } }"#, "/properties/n/pattern", ""),
        ("A Type/v1.json", "{}", "", "A Type"),
        ("user.followed/v1.json", "{}", "", "type of this build"),
    ];
    for (file, text, at, why) in cases {
        let found = bad(&[(file, text), ("b.happened/v1.json", "{}")]);
        let [one] = &found[..] else { panic!("{file}: {found:?}") };
        assert!(one.file.ends_with(file), "{one}");
        assert!(one.at == at && one.why.contains(why), "{text}: {one}");
    }
    assert_eq!(bad(&[("a.happened/v1.json", "["), ("b.happened/v0.json", "{}"), ("c.happened/v2.json", "7")]).len(), 3);
}

#[test]
fn the_folder_of_this_repository_holds_nothing_foreign_and_nothing_bad() {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas");
    assert_eq!(Foreign::load(&schemas), Ok(Foreign::default()));
    let future = folder(&[("user.followed/v99.json", "{}")]);
    assert_eq!(Foreign::load(future.path()), Ok(Foreign::default()), "of a release that knows more");
}

async fn house() -> House {
    let folder = folder(&[("order.placed/v1.json", &order(1)), ("order.placed/v2.json", &order(2))]);
    House::speaking(Arc::new(Contracts::new(Foreign::load(folder.path()).unwrap()))).await
}

fn event(ty: &str, key: Option<&str>, data: Value) -> String {
    let mut event = json!({ "specversion": "1.0", "id": "e-1", "source": "/orders", "type": ty, "data": data });
    if let Some(key) = key {
        event["partitionkey"] = json!(key);
    }
    event.to_string()
}

#[tokio::test]
async fn a_type_that_is_only_a_schema_file_is_held_to_it_at_the_edge() {
    let house = house().await;
    let good = json!({ "order_id": "7", "total": 12 });
    let key = Some("order/7");
    for (event, expected) in [
        (event("order.placed.v1", None, good.clone()), (400, "event.malformed")),
        (event("order.placed.v1", key, json!({ "order_id": "7", "total": -1 })), (400, "event.schema_invalid")),
        (
            event("order.placed.v1", key, json!({ "order_id": "7", "total": 1, "note": "x" })),
            (400, "event.schema_invalid"),
        ),
        (
            event("order.placed.v2", key, json!({ "order_id": "7", "total": 1, "note": "0123456789" })),
            (400, "event.schema_invalid"),
        ),
        (event("order.placed.v3", key, good.clone()), (400, "event.newer_version")),
        (event("order.plced.v1", key, good.clone()), (400, "event.unknown_type")),
        (event("order.placed.v1", key, good.clone()), (202, "")),
    ] {
        let answer = house.post("/v1/events", &STRUCTURED, &event).await;
        assert_eq!(answer.problem(), (expected.0, expected.1.to_owned()), "{event}: {answer:?}");
    }
    let listed = house.ask("GET", "/v1/events?type=order.*", &[]).await.json();
    let stored = &listed["items"][0]["event"];
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "what was refused is not stored");
    assert_eq!((&stored["partitionkey"], &stored["data"]), (&json!("order/7"), &good));
}

#[tokio::test]
async fn a_type_that_is_only_a_schema_file_is_published_like_any_other() {
    let house = house().await;
    let types = house.ask("GET", "/schemas", &[]).await.json();
    let shown = types["items"].as_array().unwrap().iter().find(|item| item["foreign"] == true).unwrap().clone();
    let expected = json!({ "type": "order.placed.v2", "description": "Somebody ordered.",
        "schema": "/schemas/order.placed/v2.json", "foreign": true });
    assert_eq!(shown, expected);
    let schema = house.ask("GET", "/schemas/order.placed/v1.json", &[]).await.json();
    assert_eq!(schema, serde_json::from_str::<Value>(&order(1)).unwrap());
    let document = house.ask("GET", "/asyncapi.json", &[]).await;
    assert_eq!(document.headers["content-type"], "application/vnd.aai.asyncapi+json;version=3.0.0");
    let document = document.json();
    let message = &document["components"]["messages"]["order_placed_v2"];
    assert_eq!(message["examples"][0]["payload"], json!({ "order_id": "7", "total": 12 }));
    assert_eq!(document["channels"].as_object().unwrap().len(), events::catalogue().len() + 1);
}

#[test]
fn what_is_stored_is_read_by_the_schema_of_its_version() {
    let folder = folder(&[("order.placed/v1.json", &order(1)), ("order.placed/v2.json", &order(2))]);
    let contracts = Contracts::new(Foreign::load(folder.path()).unwrap());
    let read = |ty: &str, data: Value| {
        let event = json!({ "specversion": "1.0", "id": "1", "source": "/orders", "type": ty,
            "time": "2026-01-01T00:00:00Z", "partitionkey": "order/7", "data": data });
        contracts.read(&tidewire::Envelope::from_json(event.to_string().as_bytes()).unwrap())
    };
    let noted = json!({ "order_id": "7", "total": 1, "note": "x" });
    assert_eq!(read("order.placed.v2", noted.clone()), Ok(()));
    assert!(read("order.placed.v1", noted.clone()).unwrap_err().contains("does not follow"));
    assert!(read("order.placed.v3", noted.clone()).unwrap_err().contains("newest is 2"));
    assert!(read("order.paid.v1", noted).unwrap_err().contains("does not know"));
    assert!(read("user.followed.v1", json!({})).is_err());
}
