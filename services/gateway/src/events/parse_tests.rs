use axum::http::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::*;

fn defaults() -> Defaults {
    Defaults { now: DateTime::UNIX_EPOCH, traceparent: Some(TRACE.into()) }
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

type Header = (&'static str, &'static str);
type Headers<'a> = &'a [(&'a str, &'a str)];

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap()))
        .collect()
}

/// The code of the refusal, or `ok`.
fn outcome(pairs: &[(&str, &str)], body: &[u8]) -> String {
    match parse(&headers(pairs), Bytes::copy_from_slice(body), &defaults()) {
        Err(problem) => problem.code,
        Ok(Content::One(came)) => came.err().map_or("ok".into(), |problem| problem.code),
        Ok(Content::Batch(_)) => "ok".into(),
    }
}

fn sample() -> Value {
    json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "user.followed.v1",
           "data": {"follower_id": "7", "followed_id": "42"}})
}

fn one(event: &str) -> Result<Came, Problem> {
    match parse(&headers(&[("content-type", STRUCTURED)]), Bytes::copy_from_slice(event.as_bytes()), &defaults())? {
        Content::One(came) => *came,
        Content::Batch(_) => panic!("not a batch"),
    }
}

/// The sample with members set (or, by null, removed).
fn with(members: Value) -> String {
    let mut event = sample();
    for (name, value) in members.as_object().unwrap() {
        match value {
            Value::Null => event.as_object_mut().unwrap().remove(name),
            value => event.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    event.to_string()
}

#[test]
fn the_content_type_decides() {
    let event = sample().to_string();
    let (array, named) = (format!("[{event}]"), ("ce-id", "1"));
    let cases: &[(Headers, &str, &str)] = &[
        (&[("content-type", STRUCTURED)], &event, "ok"),
        (&[("content-type", "Application/CloudEvents+JSON; charset=UTF-8")], &event, "ok"),
        (&[("content-type", BATCH)], &array, "ok"),
        (&[("content-type", BATCH)], &event, "event.malformed"),
        (&[("content-type", BATCH)], "[]", "http.invalid"),
        (&[("content-type", STRUCTURED)], &array, "event.malformed"),
        (&[("content-type", STRUCTURED)], "", "http.empty_body"),
        (&[], "", "http.empty_body"),
        (&[], &event, "http.unsupported_media_type"),
        (&[("content-type", "text/plain")], &event, "http.unsupported_media_type"),
        (&[("content-type", "application/json")], &event, "http.unsupported_media_type"),
        (&[("content-type", "application/cloudevents+xml")], "<event/>", "http.unsupported_media_type"),
        (&[("content-type", "application/cloudevents+xml"), named], "<event/>", "http.unsupported_media_type"),
        (&[("content-type", "application/cloudevents+json; charset=utf-16")], &event, "http.unsupported_media_type"),
        (&[("content-type", STRUCTURED), ("content-encoding", "gzip")], &event, "http.unsupported_media_type"),
    ];
    for (pairs, body, expected) in cases {
        assert_eq!(outcome(pairs, body.as_bytes()), *expected, "{pairs:?} {body}");
    }
    let many = format!("[{}1]", "1,".repeat(MAX_BATCH));
    assert_eq!(outcome(&[("content-type", BATCH)], many.as_bytes()), "http.invalid");
}

#[test]
fn structured_events_come_whole() {
    let came = one(&with(
        json!({"tenant": "a", "n": 7, "flag": true, "sequence": "9", "recordedtime": "2026-01-01T00:00:00Z"}),
    ))
    .unwrap();
    assert!(!came.has_key);
    assert_eq!(came.envelope.time, DateTime::UNIX_EPOCH, "the time is filled in");
    assert_eq!((came.envelope.sequence, came.envelope.recordedtime), (None, None), "the log's own are dropped");
    assert_eq!(came.envelope.traceparent.as_deref(), Some(TRACE));
    assert_eq!(came.envelope.extensions.len(), 3);
    let raw = r#"{"specversion":"1.0","id":"1","source":"/s","type":"a.b.v1","partitionkey":"k","data": {"n": 1.10} }"#;
    let came = one(raw).unwrap();
    assert!(came.has_key);
    assert_eq!(came.envelope.data.as_deref(), Some(&br#"{"n": 1.10}"#[..]), "byte for byte");
    let came = one(&with(json!({"traceparent": "nonsense"}))).unwrap();
    assert_eq!(came.envelope.traceparent.as_deref(), Some(TRACE), "a malformed trace begins anew");
}

#[test]
fn structured_events_are_refused_by_name() {
    for attribute in ["id", "source", "type", "specversion"] {
        for value in [json!(null), json!("")] {
            let problem = one(&with(json!({attribute: value}))).unwrap_err();
            assert_eq!(problem.code, "event.malformed");
            assert!(problem.detail.contains(attribute) || attribute == "type", "{attribute}: {}", problem.detail);
        }
    }
    let long = "x".repeat(65_536);
    let mut bad: Vec<String> = ["0.3", "2.0", "1.0 "].map(|version| with(json!({"specversion": version}))).into();
    for ty in [
        "*",
        ">",
        "a..b.v1",
        ".a.v1",
        "a.v1.",
        "user followed.v1",
        "user.followed\t.v1",
        "user.followed\r\n.v1",
        "$JS.API.STREAM.PURGE.X",
        "user.🦀.v1",
        "user.\u{202e}followed.v1",
        "usеr.followed.v1",
        "user.followed",
        &long,
    ] {
        bad.push(with(json!({"type": ty})));
    }
    for member in [
        json!({"id": long}),
        json!({"id": "a\u{0}"}),
        json!({"id": 1}),
        json!({"source": long}),
        json!({"source": "a b"}),
        json!({"time": "2026-01-01T00:00:00"}),
        json!({"time": "2026-01-01T00:00:00+25:00"}),
        json!({"time": 1}),
        json!({"subject": "a\r\nNats-Rollup: all"}),
        json!({"Data": 1}),
        json!({"data_base64": "e30="}),
        json!({"data": null, "data_base64": "e 30="}),
        json!({"data": null, "data_base64": "_-8="}),
        json!({"foo-bar": "x"}),
        json!({"aaaaaaaaaaaaaaaaaaaaa": "x"}),
        json!({"n": 2_147_483_648_u32}),
        json!({"n": {}}),
        json!({"n": []}),
        json!({"twreplay": "1"}),
        json!({"twcrc": 1}),
        json!({"partitionkey": ""}),
        json!({"partitionkey": "k".repeat(10_240)}),
        json!({"expirytime": "soon"}),
        json!({"datacontenttype": "text/html", "data": {}}),
    ] {
        bad.push(with(member));
    }
    let many = (0..1_000).map(|n| (format!("ext{n}"), json!("x"))).collect::<serde_json::Map<_, _>>();
    bad.push(with(Value::Object(many)));
    for event in bad {
        let code = one(&event).map(|_| ()).map_err(|problem| problem.code);
        let expected = if event.contains("\\u0000") { "http.malformed_json" } else { "event.malformed" };
        assert_eq!(code, Err(expected.to_owned()), "{}", event.chars().take(200).collect::<String>());
    }
    // Null is no attribute value here, and leap seconds and far years neither panic nor order anything.
    assert!(one(r#"{"specversion":"1.0","id":"1","source":"/s","type":"a.b.v1","n":null}"#).is_err());
    for time in [
        "2016-12-31T23:59:60Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "2026-01-01T00:00:00.0123456789012345678901234567890123456789Z",
    ] {
        let _ = one(&with(json!({"time": time})));
    }
}

#[test]
fn json_is_strict_inside_events_too() {
    let deep = format!(
        r#"{{"specversion":"1.0","id":"1","source":"/s","type":"a.b.v1","data":{}}}"#,
        "[".repeat(200) + &"]".repeat(200)
    );
    let cases: &[(&str, &str)] = &[
        (r#"{"specversion":"1.0","id":"1","id":"2","source":"/s","type":"a.b.v1"}"#, "http.duplicate_member"),
        (
            r#"{"specversion":"1.0","id":"1","source":"/s","type":"a.b.v1","data":{"a":1,"a":2}}"#,
            "http.duplicate_member",
        ),
        (r#"{"specversion":"1.0","id":"1","source":"/s","type":"a.b.v1"} {}"#, "http.malformed_json"),
        (r#"{"specversion":"1.0","id":"1","source":"/s","type":"a.b.v1","data":"\ud800"}"#, "http.malformed_json"),
        ("\u{feff}{}", "http.malformed_json"),
        ("1", "event.malformed"),
        (&deep, "http.too_deep"),
    ];
    for (event, code) in cases {
        assert_eq!(one(event).map(|_| ()).map_err(|problem| problem.code), Err((*code).to_owned()), "{event}");
    }
}

#[test]
fn binary_events_come_from_headers_and_body() {
    let good = [
        ("ce-specversion", "1.0"),
        ("CE-ID", "1"),
        ("ce-source", "/s"),
        ("ce-type", "a.b.v1"),
        ("ce-subject", "Euro%20%E2%82%AC"),
        ("ce-tenant", "a"),
        ("content-type", "application/json"),
    ];
    let content = parse(&headers(&good), Bytes::from_static(br#"{"n": 1.10}"#), &defaults()).unwrap();
    let Content::One(came) = content else { panic!("{content:?}") };
    let came = came.unwrap();
    assert_eq!(came.envelope.subject.as_deref(), Some("Euro €"));
    assert_eq!(came.envelope.data.as_deref(), Some(&br#"{"n": 1.10}"#[..]));
    assert_eq!(came.envelope.datacontenttype.as_deref(), Some("application/json"));
    assert_eq!(outcome(&good[..6], b""), "ok", "no data needs no content type");

    let change = |name: &'static str, value: &'static str| {
        let mut pairs = good.to_vec();
        pairs.push((name, value));
        pairs
    };
    let cases: &[(Vec<Header>, &[u8], &str)] = &[
        (change("ce-id", "2"), b"{}", "event.malformed"),
        (change("ce-subject2", "%C0%A0"), b"{}", "event.malformed"),
        (change("ce-a", "%"), b"{}", "event.malformed"),
        (change("ce-a", "%zz"), b"{}", "event.malformed"),
        (change("ce-a", "a%0D%0ANats-Rollup: all"), b"{}", "event.malformed"),
        (change("ce-a", "%250A"), b"{}", "ok"),
        (change("ce-a", "two words"), b"{}", "ok"),
        (change("ce-a", "\"quoted\""), b"{}", "ok"),
        (change("ce-a", ""), b"{}", "event.malformed"),
        (change("ce-data", "x"), b"{}", "event.malformed"),
        (change("ce-data_base64", "x"), b"{}", "event.malformed"),
        (change("ce-datacontenttype", "text/plain"), b"{}", "event.malformed"),
        (change("ce-foo-bar", "x"), b"{}", "event.malformed"),
        (change("ce-ce-foo", "x"), b"{}", "event.malformed"),
        (change("ce-twcrc", "x"), b"{}", "event.malformed"),
        (good.to_vec(), b"{\"a\":", "event.malformed"),
        (good.to_vec(), br#"{"a":1,"a":2}"#, "event.malformed"),
        (good.to_vec(), b"\xff", "event.malformed"),
        (good[1..].to_vec(), b"{}", "event.malformed"),
        (good[..6].to_vec(), b"{}", "http.unsupported_media_type"),
    ];
    for (pairs, body, expected) in cases {
        assert_eq!(outcome(pairs, body), *expected, "{:?} {}", pairs.last(), String::from_utf8_lossy(body));
    }
    let mut opaque = good.to_vec();
    opaque[6].1 = "text/html";
    assert_eq!(outcome(&opaque, b"<script>alert(1)</script>"), "ok", "opaque data is taken as it is");
}
