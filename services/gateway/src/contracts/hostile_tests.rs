//! Schemas that ask too much, or for something they must not have.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Contracts, Foreign};

/// What becomes of a schema in a folder: the place and the reason of its refusal.
fn refusal(file: &str, schema: &Value) -> Option<(String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, schema.to_string()).unwrap();
    Foreign::load(folder.path()).err().map(|mut bad| bad.remove(0)).map(|bad| (bad.at, bad.why))
}

fn chain(length: usize) -> Value {
    let step = |n: usize| (format!("d{n}"), json!({ "$ref": format!("#/$defs/d{}", n + 1) }));
    let mut defs: serde_json::Map<String, Value> = (0..length).map(step).collect();
    defs.insert(format!("d{length}"), json!({ "type": "object" }));
    json!({ "$ref": "#/$defs/d0", "$defs": defs })
}

#[test]
fn references_lead_nowhere_else_and_to_an_end() {
    let elsewhere =
        ["http://127.0.0.1:1/x.json", "file:///etc/passwd", "//host/x", "other.json", "order.placed/v1.json"];
    for target in elsewhere {
        let (at, why) = refusal("a.happened/v1.json", &json!({ "properties": { "x": { "$ref": target } } })).unwrap();
        assert!(at == "/properties/x/$ref" && why.contains("ever fetched"), "{target}: {at}: {why}");
    }
    for circle in [
        json!({ "$ref": "#" }),
        json!({ "allOf": [{ "$ref": "#" }] }),
        json!({ "$ref": "#/$defs/a", "$defs": { "a": { "not": { "$ref": "#/$defs/b" } }, "b": { "anyOf": [{ "$ref": "#/$defs/a" }] } } }),
        json!({ "$dynamicAnchor": "it", "allOf": [{ "$dynamicRef": "#it" }] }),
        json!({ "$anchor": "it", "if": { "$ref": "#it" } }),
    ] {
        let (_, why) = refusal("a.happened/v1.json", &circle).unwrap();
        assert!(why.contains("back to itself"), "{circle}: {why}");
    }
    assert!(refusal("a.happened/v1.json", &chain(1_000)).unwrap().1.contains("in turn"));
    assert_eq!(refusal("a.happened/v1.json", &chain(20)), None);
    assert!(refusal("a.happened/v1.json", &json!({ "$ref": "#/$defs/none" })).is_some());
    // Into the data, a schema may go on for as long as the data does.
    let list = json!({ "properties": { "default": { "$ref": "#" }, "next": { "$ref": "#" } } });
    assert_eq!(refusal("list.grown/v1.json", &list), None);
}

#[test]
fn patterns_are_linear_and_small() {
    for (pattern, is_fine) in [
        ("^(a+)+$".to_owned(), true),
        ("(?=a)b".to_owned(), false),
        ("(a)\\\\1".to_owned(), true),
        ("(a)\\1".to_owned(), false),
        ("\\p{L}{1000}{1000}".to_owned(), false),
        ("a".repeat(1_001), false),
    ] {
        let schema = json!({ "properties": { "x": { "pattern": pattern } } });
        let found = refusal("a.happened/v1.json", &schema);
        assert_eq!(found.is_none(), is_fine, "{}: {found:?}", &pattern[..pattern.len().min(40)]);
    }
}

#[test]
fn a_schema_is_small() {
    let many: Vec<Value> = (0..50_000).map(|n| json!({ "const": n })).collect();
    let words: Vec<Value> = (0..20_000).map(|n| json!(n)).collect();
    for schema in [json!({ "anyOf": many }), json!({ "enum": words })] {
        assert!(refusal("a.happened/v1.json", &schema).unwrap().1.contains("values"));
    }
    let large = json!({ "description": "x".repeat(11 << 20) });
    assert!(refusal("a.happened/v1.json", &large).unwrap().1.contains("bytes"));
}

#[test]
fn names_versions_and_dialects_are_what_they_must_be() {
    let any = json!({});
    for file in
        ["a.happened/v0.json", "a.happened/v-1.json", "a.happened/v01.json", "a.happened/v70000.json", "a..b/v1.json"]
    {
        assert!(refusal(file, &any).is_some(), "{file}");
    }
    for file in ["a.happened/v3.json", "a.happened/readme.json", "a.happened/validation.json"] {
        assert_eq!(refusal(file, &any), None, "{file}");
    }
    for dialect in ["http://json-schema.org/draft-04/schema#", "https://example.org/mine", ""] {
        let (at, _) = refusal("a.happened/v1.json", &json!({ "$schema": dialect, "id": "x" })).unwrap();
        assert_eq!(at, "/$schema", "{dialect}");
    }
    let (at, why) = refusal("a.happened/v1.json", &json!({ "$id": "/schemas/user.followed/v1.json" })).unwrap();
    assert!(at == "/$id" && why.contains("user.followed"), "{at}: {why}");
}

#[test]
fn the_worst_that_is_taken_is_judged_soon() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("a.happened")).unwrap();
    let schema = json!({ "properties": {
        "email": { "format": "email" },
        "list": { "uniqueItems": true, "items": { "multipleOf": 1e-300, "type": "number" } },
        "text": { "pattern": "^(a+)+$" },
    } });
    std::fs::write(folder.path().join("a.happened/v1.json"), schema.to_string()).unwrap();
    let contracts = Contracts::new(Foreign::load(folder.path()).unwrap());
    let validator = contracts.validator(&"a.happened.v1".parse().unwrap()).unwrap();
    let list: Vec<u32> = (0..40_000).collect();
    let data = json!({ "email": "no address", "list": list, "text": "a".repeat(100_000) + "!" });
    let begun = Instant::now();
    let places: Vec<String> = validator.iter_errors(&data).map(|error| error.instance_path().to_string()).collect();
    assert!(places.contains(&"/text".to_owned()) && !places.contains(&"/email".to_owned()), "{places:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
