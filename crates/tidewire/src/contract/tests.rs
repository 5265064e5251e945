use serde_json::{Value, json};

use super::*;

fn object(properties: Value, required: Value) -> Value {
    json!({"type": "object", "properties": properties, "required": required})
}

/// Path and rule of each break.
fn found(reader: &Value, writer: &Value) -> Vec<String> {
    breaks(reader, writer).into_iter().map(|found| format!("{} {}", found.path, found.rule)).collect()
}

#[test]
fn a_reader_must_take_all_that_may_be_written() {
    let text = json!({"type": "string"});
    let cases: Vec<(&str, Value, Value, Vec<&str>)> = vec![
        ("the same", text.clone(), text.clone(), vec![]),
        ("anything is taken", json!(true), text.clone(), vec![]),
        ("annotations do not matter", json!({"type": "string", "title": "x"}), text.clone(), vec![]),
        ("narrower than written", text.clone(), json!({}), vec![" type"]),
        ("one type of two", text.clone(), json!({"type": ["string", "null"]}), vec![" type"]),
        ("an integer is a number", json!({"type": "number"}), json!({"type": "integer"}), vec![]),
        ("a number is no integer", json!({"type": "integer"}), json!({"type": "number"}), vec![" type"]),
        ("a wider enum", json!({"enum": ["a", "b"]}), json!({"enum": ["a"]}), vec![]),
        ("a narrower enum", json!({"enum": ["a"]}), json!({"enum": ["a", "b"]}), vec![" enum"]),
        ("an enum against any text", json!({"type": "string", "enum": ["a"]}), text.clone(), vec![" enum"]),
        ("an enum of texts", text.clone(), json!({"enum": ["a", 1]}), vec![" type"]),
        (
            "longer",
            json!({"type": "string", "maxLength": 5}),
            json!({"type": "string", "maxLength": 6}),
            vec![" maxLength"],
        ),
        ("shorter", json!({"type": "string", "maxLength": 6}), json!({"type": "string", "maxLength": 5}), vec![]),
        ("a new minimum", json!({"type": "integer", "minimum": 1}), json!({"type": "integer"}), vec![" minimum"]),
        ("an exclusive minimum fits", json!({"minimum": 1}), json!({"exclusiveMinimum": 1}), vec![]),
        ("and not the other way", json!({"exclusiveMinimum": 1}), json!({"minimum": 1}), vec![" exclusiveMinimum"]),
        ("beyond an exclusive minimum", json!({"exclusiveMinimum": 1}), json!({"minimum": 2}), vec![]),
        (
            "another pattern",
            json!({"type": "string", "pattern": "a"}),
            json!({"type": "string", "pattern": "b"}),
            vec![" pattern"],
        ),
        (
            "elements",
            json!({"items": {"type": "string"}}),
            json!({"type": "array", "items": {"type": "integer"}}),
            vec!["/* type"],
        ),
        ("one of two", json!({"anyOf": [text.clone(), {"type": "null"}]}), text.clone(), vec![]),
        ("two against one", text.clone(), json!({"anyOf": [text.clone(), {"type": "null"}]}), vec![" type"]),
        ("what cannot be judged", json!({"not": {"type": "null"}}), json!({}), vec![" unknown"]),
        ("nothing is taken", json!(false), text, vec![" false"]),
    ];
    for (what, reader, writer, expected) in cases {
        assert_eq!(found(&reader, &writer), expected, "{what}");
    }
}

#[test]
fn properties_come_and_go_by_rules() {
    let (text, none) = (json!({"type": "string"}), json!([]));
    let v1 = object(json!({"a": text}), json!(["a"]));
    let optional = object(json!({"a": text, "b": text}), json!(["a"]));
    let required = object(json!({"a": text, "b": text}), json!(["a", "b"]));
    let closed = json!({"type": "object", "properties": {"a": text}, "required": ["a"], "additionalProperties": false});
    for (what, reader, writer, expected) in [
        ("an optional property is added", &optional, &v1, vec![]),
        ("and unknown to old readers", &v1, &optional, vec![]),
        ("a required property is added", &required, &v1, vec!["/b required"]),
        ("an optional one becomes required", &required, &optional, vec!["/b required"]),
        ("a required one becomes optional", &optional, &required, vec![]),
        ("an object is closed", &closed, &optional, vec!["/b additionalProperties"]),
        ("an object is opened", &optional, &closed, vec![]),
        ("a property is dropped", &object(json!({}), none.clone()), &v1, vec![]),
        ("one that readers need is dropped", &v1, &object(json!({}), none.clone()), vec!["/a required"]),
        ("a property changes its type", &object(json!({"a": {"type": "integer"}}), none.clone()), &v1, vec!["/a type"]),
    ] {
        assert_eq!(found(reader, writer), expected, "{what}");
    }
    let map = |of: &str| json!({"type": "object", "additionalProperties": {"type": of}});
    assert_eq!(found(&map("string"), &map("integer")), ["/* type"]);
    let deep = |of: &str| {
        object(json!({"list/s": {"type": "array", "items": object(json!({"x": {"type": of}}), json!([]))}}), json!([]))
    };
    assert_eq!(found(&deep("string"), &deep("boolean")), ["/list~1s/*/x type"]);
}

#[test]
fn references_and_circles_are_followed() {
    let tree = |of: &str| {
        json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {
        "value": {"type": of}, "next": {"$ref": "#/$defs/node"}}}}})
    };
    let breaks = found(&tree("string"), &tree("integer"));
    assert!(
        breaks.contains(&"/value type".to_owned()) && breaks.contains(&"/next/value type".to_owned()),
        "{breaks:?}"
    );
    assert!(found(&tree("string"), &tree("string")).is_empty());
    let circle = json!({"$ref": "#"});
    assert!(found(&circle, &circle).is_empty());
    let all = json!({"allOf": [{"type": "object", "properties": {"a": {"type": "string"}}}, {"required": ["a"]}]});
    assert_eq!(found(&all, &object(json!({"a": {"type": "string"}}), json!([]))), ["/a required"]);
}

fn catalogue(types: &[(&str, u16, Value)]) -> Catalogue {
    let mut catalogue = Catalogue::default();
    for (name, version, schema) in types {
        catalogue.insert(*name, *version, schema.clone());
    }
    catalogue
}

#[test]
fn modes_say_who_must_understand_whom() {
    let text = json!({"type": "string"});
    let v1 = object(json!({"a": text}), json!(["a"]));
    let v2 = object(json!({"a": text, "b": text}), json!(["a", "b"]));
    let v3 = object(json!({"b": text}), json!(["b"]));
    let published = catalogue(&[("t", 1, v1.clone()), ("t", 2, v2.clone())]);
    let new = catalogue(&[("t", 1, v1.clone()), ("t", 2, v2.clone()), ("t", 3, v3)]);
    let rules = |mode: Mode| -> Vec<String> {
        let found = compare(&published, &new, mode, |_, _| false);
        found.iter().map(|f| format!("{} {}>{} {}", f.rule, f.from, f.to.unwrap_or(0), f.broken.path)).collect()
    };
    assert!(rules(Mode::None).is_empty());
    assert_eq!(rules(Mode::Backward), ["backward 1>2 /b"]);
    assert_eq!(rules(Mode::BackwardTransitive), ["backward 1>2 /b", "backward 1>3 /b"]);
    assert_eq!(rules(Mode::Forward), ["forward 2>3 /a"]);
    assert_eq!(rules(Mode::ForwardTransitive), ["forward 1>3 /a", "forward 2>3 /a"]);
    assert_eq!(rules(Mode::Full).len(), 2);
    assert_eq!(rules(Mode::FullTransitive).len(), 4);

    let gone = compare(&published, &catalogue(&[("t", 1, v1.clone())]), Mode::Forward, |_, _| false);
    assert_eq!((gone.len(), gone[0].rule, gone[0].from), (1, "removed", 2));
    let edited = compare(&published, &catalogue(&[("t", 1, v2.clone()), ("t", 2, v2)]), Mode::Forward, |_, _| false);
    assert_eq!((edited.len(), edited[0].rule, edited[0].broken.path.as_str()), (1, "changed", "/b"));
    let upcast = compare(&published, &new, Mode::Full, |_, from| from == 1);
    assert!(upcast.iter().all(|found| found.rule == "forward"), "{upcast:?}");
    assert!(
        "backward-transitive".parse::<Mode>() == Ok(Mode::BackwardTransitive) && "sideways".parse::<Mode>().is_err()
    );
}
