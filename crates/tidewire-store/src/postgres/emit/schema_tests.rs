//! What `tidewire.emit` checks data and sizes by.

use serde_json::{Value, json};
use sqlx::{Row, query};
use tidewire_core::EventType;

use super::tests::{emit, rig};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn judges_data_as_everybody_else_does() {
    let Some(rig) = rig().await else { return };
    let ab = json!({"a": {"type": "string"}, "b": {"type": ["integer", "null"]}});
    let schemas = [
        json!(true),
        json!(false),
        json!({}),
        json!({"type": "object", "required": ["a", "b"], "properties": ab}),
        json!({"properties": {"a": {"minLength": 2, "maxLength": 3}}, "additionalProperties": false}),
        json!({"properties": {"a": true}, "additionalProperties": {"type": "number"}}),
        json!({"properties": {"a": false}}),
        json!({"type": "array", "items": {"enum": ["x", 1, null, {"a": [1]}]}, "minItems": 1, "maxItems": 2}),
        json!({"type": "number", "minimum": 0, "maximum": 10}),
        json!({"exclusiveMinimum": 0, "exclusiveMaximum": 10}),
        json!({"const": {"a": 1}}),
        json!({"pattern": "^[A-Za-z0-9_-][A-Za-z0-9_.-]*$"}),
        json!({"pattern": "b{2,}|[^a-z ]"}),
        json!({"minProperties": 1, "maxProperties": 1}),
        json!({"properties": {"a": {"properties": {"b": {"items": {"type": "boolean"}}}}}}),
    ];
    let scalars = json!([
        null,
        true,
        0,
        -1,
        1.0,
        1.5,
        10,
        1e300,
        "",
        "a",
        "ab",
        "a b",
        "a\nbb",
        "bb",
        "\u{1F600}",
        ".a",
        "A.b-c",
        "ab\n"
    ]);
    let composed = json!([
        [], ["x"], [1, null], [1.0, {"a": [1]}], ["y"], [null, null, null], {}, {"a": 1}, {"a": "x", "b": null},
        {"a": "x", "b": 1.5}, {"a": "x", "b": 2.0}, {"a": "\u{fc}\u{1F600}"}, {"a": "\u{fc}\u{fc}\u{fc}\u{fc}"},
        {"b": 7}, {"a": "abc", "z/~": 1}, {"a": {"b": [true, false]}}, {"a": {"b": [true, 0]}}, {"a": {"b": 3}}
    ]);
    let data: Vec<Value> = [scalars, composed].iter().flat_map(|list| list.as_array().unwrap()).cloned().collect();
    for schema in &schemas {
        let validator = jsonschema::draft202012::new(schema).unwrap();
        let rows = query("select d, tidewire.misfit($1, d), tidewire.unjudged($1) from unnest($2::jsonb[]) d")
            .bind(schema)
            .bind(&data)
            .fetch_all(&rig.pool)
            .await
            .unwrap();
        assert_eq!(rows.len(), data.len());
        for row in rows {
            let (data, misfit, unjudged): (Value, Option<String>, Option<String>) =
                (row.get(0), row.get(1), row.get(2));
            assert_eq!((misfit.is_none(), unjudged), (validator.is_valid(&data), None), "{schema} {data}: {misfit:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_what_it_cannot_judge() {
    let Some(rig) = rig().await else { return };
    for (schema, keyword) in [
        (json!({"oneOf": [true]}), "oneOf"),
        (json!({"properties": {"a": {"$ref": "#/x"}}}), "$ref"),
        (json!({"items": {"uniqueItems": true}}), "uniqueItems"),
        (json!({"pattern": "\\d+"}), "pattern"),
        (json!({"pattern": "a.b"}), "pattern"),
        (json!({"pattern": "(?i)a"}), "pattern"),
        (json!({"pattern": "[[:alpha:]]"}), "pattern"),
        (json!({"pattern": "a{2,1}"}), "pattern"),
        (json!({"additionalProperties": {"not": {}}}), "not"),
        (json!(7), "a schema that is no object"),
    ] {
        let found = query("select tidewire.unjudged($1)").bind(&schema).fetch_one(&rig.pool).await.unwrap();
        assert_eq!(found.get::<Option<String>, _>(0).as_deref(), Some(keyword), "{schema}");
        let kept = query("insert into tidewire.schema (name, version, schema) values ('a.b', 1, $1)").bind(&schema);
        assert!(kept.execute(&rig.pool).await.is_err(), "{schema}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_follows_the_schema_of_its_type_where_there_is_one() {
    let Some(rig) = rig().await else { return };
    let schema = |text: &str| (EventType::new("user.followed", 2), text.to_owned());
    let strict = r#"{"type":"object","required":["id"],"properties":{"id":{"type":"string"}}}"#;
    let named = |data: &str| format!("type => 'user.followed.v2', key => 'user/42', {data}");
    let refused = Some(("TW104".to_owned(), Some("data".to_owned())));
    assert_eq!(rig.refusal(&named("data => '{}'")).await, None);
    assert_eq!(rig.refusal(&named("data => '{}', check_schema => true")).await, refused);
    let foreign = (EventType::new("user.left", 1), r#"{"anyOf":[true]}"#.to_owned());
    let unjudged = rig.store.teach_emit(&[schema(strict), foreign.clone()]).await.unwrap();
    assert_eq!(unjudged, [(foreign.0, "anyOf".to_owned())]);
    for (data, fits) in [
        (r#"data => '{"id":"7"}'"#, true),
        (r#"data => '{"id":"7"}', check_schema => true"#, true),
        (r#"data => '{"id":7}'"#, false),
        ("data => '{}'", false),
        ("data => null", false),
        ("data_bytes => '{}'", false),
        (r#"data_bytes => '{"id": "7"}'"#, true),
        ("data_bytes => 'x', datacontenttype => 'text/plain'", false),
        ("data => '{}', check_schema => false", true),
    ] {
        assert_eq!(rig.refusal(&named(data)).await, if fits { None } else { refused.clone() }, "{data}");
    }
    let nul = named(r#"data_bytes => convert_to('{"id":"\u0000"}', 'UTF8')"#);
    assert_eq!(rig.refusal(&nul).await, Some(("TW104".to_owned(), Some("data_bytes".to_owned()))));
    // Other types and versions are as before, and a new release may say less.
    assert_eq!(rig.refusal("'user.followed.v1', 'k', '{}'").await, None);
    assert_eq!(rig.refusal("'user.left', 'k', '{}'").await, None);
    rig.store.teach_emit(&[schema("{}")]).await.unwrap();
    assert_eq!(rig.refusal(&named("data => '{}'")).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_is_that_of_the_broker() {
    let Some(rig) = rig().await else { return };
    let sized = |bytes: usize| format!("'a.b', 'k', to_jsonb(repeat('x', {bytes}))");
    assert_eq!(rig.refusal(&sized(4_000)).await, None);
    rig.store.limit_emit(4_096).await.unwrap();
    assert_eq!(rig.refusal(&sized(4_000)).await.unwrap().0, "TW103");
    // The largest that is taken is not larger on its way.
    for bytes in (2_000..4_000).rev().step_by(16) {
        if rig.refusal(&sized(bytes)).await.is_none() {
            emit(&mut rig.pool.acquire().await.unwrap(), &sized(bytes)).await.unwrap();
            let json = rig.log(1).await.remove(0).envelope.to_json();
            assert!(json.len() <= 4_096 && json.len() > 3_400, "{}", json.len());
            return;
        }
    }
    panic!("nothing was taken");
}
