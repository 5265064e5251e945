//! Out and in, also of what others write and of what nobody should.

use tidewire_core::Attribute;

use super::*;
use crate::conformance::event;

fn round_trip(envelope: &Envelope) -> Result<Envelope, String> {
    let encoded = encode(envelope, "TW_main");
    decode(Some(&encoded.headers), envelope.data.clone().unwrap_or_default(), DateTime::UNIX_EPOCH)
}

fn foreign(headers: &[(&str, &str)], data: &'static str) -> Result<Envelope, String> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, *value);
    }
    decode(Some(&map), Bytes::from_static(data.as_bytes()), DateTime::UNIX_EPOCH)
}

#[test]
fn no_value_can_break_out_of_its_header() {
    let hostile = "a\r\nNats-Rollup: all\r\n\r\n\0 \u{7f} \"ü\" 100% 😀";
    let mut envelope = event("k", hostile);
    envelope.source = hostile.into();
    envelope.subject = Some(hostile.into());
    envelope.datacontenttype = Some(format!("text/plain; x={hostile}"));
    envelope.extensions.insert("ext".into(), Attribute::Text(hostile.into()));
    envelope.extensions.insert("no name\r\nNats-TTL".into(), Attribute::Integer(7));
    let encoded = encode(&envelope, "TW_main");
    for (name, values) in encoded.headers.iter() {
        let name: &str = name.as_ref();
        assert!(!name.starts_with("Nats-") || name == MSG_ID || name == EXPECTED_STREAM, "{name}");
        for value in values {
            assert!(value.as_str().bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{value:?}");
        }
    }
    envelope.extensions.remove("no name\r\nNats-TTL");
    let mut again = round_trip(&envelope).unwrap();
    again.extensions.remove("no%20name%0d%0anats-ttl");
    assert_eq!(again, envelope);
}

#[test]
fn what_is_no_text_keeps_its_type() {
    let mut envelope = event("k", "e");
    envelope.extensions.insert("a".into(), Attribute::Integer(-7));
    envelope.extensions.insert("b".into(), Attribute::Boolean(false));
    envelope.extensions.insert("c".into(), Attribute::Text("true".into()));
    envelope.extensions.insert("d".into(), Attribute::Text("12".into()));
    assert_eq!(round_trip(&envelope).as_ref(), Ok(&envelope));
    envelope.datacontenttype = Some("application/cloudevents+json".into());
    assert_eq!(round_trip(&envelope).as_ref(), Ok(&envelope), "not taken for structured mode");
    envelope.datacontenttype = Some("text/plain".into());
    envelope.data = Some(Bytes::new());
    assert_eq!(round_trip(&envelope).as_ref(), Ok(&envelope));
    envelope.data = None;
    assert_eq!(round_trip(&envelope).as_ref(), Ok(&envelope));
}

#[test]
fn foreign_events_are_understood() {
    let headers = [
        ("CE-SpecVersion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/elsewhere"),
        ("Ce-Type", "a.happened.v2"),
        ("ce-subject", "\"with \\\"quotes\\\" and %c3%bc\""),
        ("Content-Type", "application/json"),
    ];
    let envelope = foreign(&headers, "{\"a\": 1}").unwrap();
    assert_eq!(envelope.subject.as_deref(), Some("with \"quotes\" and ü"));
    assert_eq!(envelope.key.as_str(), "with \"quotes\" and ü");
    assert_eq!(envelope.datacontenttype.as_deref(), Some("application/json"));
    assert_eq!(envelope.data.as_deref(), Some(&b"{\"a\": 1}"[..]));
    let structured = r#"{"specversion":"1.0","id":"1","source":"/x","type":"a.b.v1","time":"2026-01-01T00:00:00Z","partitionkey":"k","data":{"n":1.10}}"#;
    let envelope = foreign(&[("content-type", "application/cloudevents+json; charset=utf-8")], structured).unwrap();
    assert_eq!(envelope.data.as_deref(), Some(&br#"{"n":1.10}"#[..]));
}

#[test]
fn what_is_no_event_is_refused_with_a_reason() {
    let good = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/x"), ("ce-type", "a.b.v1")];
    assert!(foreign(&good, "1").is_ok());
    let with = |name: &'static str, value: &'static str| {
        let mut headers: Vec<_> = good.iter().copied().filter(|(other, _)| *other != name).collect();
        headers.push((name, value));
        foreign(&headers, "1")
    };
    assert!(decode(None, Bytes::new(), DateTime::UNIX_EPOCH).is_err());
    for (name, value) in [
        ("ce-specversion", "0.3"),
        ("ce-id", ""),
        ("ce-id", "%0d%0a"),
        ("ce-type", "no version"),
        ("ce-time", "yesterday"),
        ("ce-subject", "%C0%A0"),
        ("ce-subject", "%4"),
        ("ce-sequence", "-1"),
        ("ce-Subject", "%00"),
        ("ce-fooBar-x", "1"),
        ("content-type", "application/cloudevents+json"),
    ] {
        assert!(with(name, value).is_err(), "{name}: {value}");
    }
    let mut twice = good.to_vec();
    twice.push(("CE-ID", "2"));
    assert!(foreign(&twice, "1").is_err());
    assert!(foreign(&good, "{").is_err(), "data that is not what it says");
}
