//! The bindings, out and in.

use bytes::Bytes;
use chrono::DateTime;

use crate::codec::{CodecError, Defaults, Departure, Parsed, http, kafka, nats};
use crate::envelope::tests::sample;
use crate::envelope::{Attribute, Envelope};

const HOSTILE: &str = "a \"ü\" 100% 😀 Nats-Rollup: all";

fn pairs<'a>(headers: &'a [(std::borrow::Cow<'static, str>, String)]) -> impl Iterator<Item = (&'a str, &'a [u8])> {
    headers.iter().map(|(name, value)| (name.as_ref(), value.as_bytes()))
}

fn through_http(envelope: &Envelope) -> Envelope {
    let http::Encoded { headers, body } = http::encode_binary(envelope).unwrap();
    let parsed = http::decode_one(pairs(&headers), &body).unwrap().unwrap();
    assert_eq!(parsed.deviations(), []);
    parsed.into_envelope(&Defaults::default()).unwrap()
}

fn through_nats(envelope: &Envelope) -> Envelope {
    let nats::Encoded { headers, body } = nats::encode_binary(envelope).unwrap();
    let parsed = nats::decode(pairs(&headers), &body).unwrap();
    assert_eq!(parsed.deviations(), []);
    parsed.into_envelope(&Defaults::default()).unwrap()
}

fn through_kafka(envelope: &Envelope) -> Envelope {
    let kafka::Encoded { headers, value } = kafka::encode_binary(envelope).unwrap();
    let headers = headers.iter().map(|(name, value)| (name.as_ref(), Some(value.as_bytes())));
    kafka::decode(headers, value.as_deref()).unwrap().into_envelope(&Defaults::default()).unwrap()
}

fn full() -> Envelope {
    let mut envelope = sample();
    envelope.subject = Some(HOSTILE.into());
    envelope.datacontenttype = Some("application/json".into());
    envelope.dataschema = Some("https://example.com/s".into());
    envelope.correlationid = Some("flow".into());
    envelope.causationid = Some("cause".into());
    envelope.traceparent = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into());
    envelope.recordedtime = Some(DateTime::UNIX_EPOCH);
    envelope.expirytime = Some(DateTime::UNIX_EPOCH);
    envelope.dataref = Some("https://example.com/d".into());
    envelope.extensions.insert("text".into(), Attribute::Text(HOSTILE.into()));
    envelope
}

#[test]
fn what_goes_out_comes_in() {
    let mut envelope = full();
    assert_eq!(through_http(&envelope), envelope);
    for (name, value) in [("n", Attribute::Integer(-7)), ("b", Attribute::Boolean(false)), ("t", "12".into())] {
        envelope.extensions.insert(name.into(), value);
    }
    for media_type in [None, Some("application/json"), Some("text/plain"), Some("application/cloudevents+json")] {
        envelope.datacontenttype = media_type.map(str::to_owned);
        for data in [None, Some(Bytes::new()), Some(Bytes::from_static(b" 1.10\n"))] {
            if envelope.is_json() && data.as_ref().is_some_and(Bytes::is_empty) {
                continue;
            }
            envelope.data = data;
            assert_eq!(through_nats(&envelope), envelope);
            assert_eq!(through_kafka(&envelope), envelope);
        }
    }
    assert!(http::encode_binary(&envelope).is_err(), "it would look like structured mode");
    let structured = http::encode_structured(&envelope).unwrap();
    let parsed = http::decode_one(pairs(&structured.headers), &structured.body).unwrap().unwrap();
    assert_eq!(parsed.deviations(), []);
}

#[test]
fn no_value_can_break_out_of_its_header() {
    let mut envelope = full();
    let hostile = format!("{HOSTILE}\r\nNats-Rollup: all\r\n\r\n\0\u{7f}");
    envelope.source = hostile.clone();
    envelope.subject = Some(hostile.clone());
    envelope.datacontenttype = Some(hostile.clone());
    envelope.extensions.insert("no name\r\nNats-TTL".into(), Attribute::Text(hostile));
    nats::headers(&envelope, |name, value| {
        assert!(name.bytes().all(|byte| (0x21..0x7f).contains(&byte) && byte != b':'), "{name}");
        assert!(value.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{value}");
    });
    assert!(http::encode_binary(&envelope).is_err() && nats::encode_binary(&envelope).is_err());
}

type Headers<'a> = &'a [(&'a str, &'a str)];

const GOOD: [(&str, &str); 4] = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/x"), ("ce-type", "a.b.v1")];

fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a [u8])> {
    let replaced = |name: &str| more.iter().any(|(other, _)| *other == name);
    let kept = GOOD.into_iter().filter(|(name, _)| !replaced(name));
    kept.chain(more.iter().copied()).map(|(name, value)| (name, value.as_bytes())).collect()
}

fn names(parsed: &Parsed<'_>) -> Vec<Departure> {
    parsed.deviations().iter().map(|deviation| deviation.kind).collect()
}

#[test]
fn deviations_of_headers_are_named() {
    let body = Bytes::from_static(b"1");
    let cases: &[(Headers<'_>, &[Departure], &[Departure])] = &[
        (&[("ce-subject", "two words")], &[Departure::NotPercentEncoded], &[Departure::NotPercentEncoded]),
        (&[("ce-subject", "\"x\"")], &[Departure::QuotedValue], &[Departure::QuotedValue]),
        (&[("CE-Subject", "x")], &[], &[Departure::UpperCaseName]),
        (&[("ce-subject", "x"), ("ce-subject", "x")], &[Departure::RepeatedHeader], &[Departure::RepeatedHeader]),
        (&[("content-type", "text/plain")], &[], &[Departure::UnprefixedContentType]),
        (&[("ce-datacontenttype", "text/plain")], &[Departure::PrefixedContentType], &[]),
        (&[("ce-subject", "%e2%82%ac")], &[], &[]),
    ];
    for (more, over_http, over_nats) in cases {
        let headers = with(more);
        let parsed = http::decode_one(headers.clone(), &body).unwrap().unwrap();
        assert_eq!(names(&parsed), *over_http, "{more:?}");
        assert_eq!(names(&nats::decode(headers, &body).unwrap()), *over_nats, "{more:?}");
    }
    let event = Bytes::from(json(&GOOD));
    assert_eq!(names(&nats::decode([], &event).unwrap()), [Departure::NoContentType]);
    let bare = [("content-type", &b"application/cloudevents"[..])];
    assert_eq!(names(&nats::decode(bare, &event).unwrap()), [Departure::FormatNotNamed]);
    let underscored = GOOD.map(|(name, value)| (name.to_owned().replace('-', "_"), Some(value.as_bytes())));
    let other: Vec<_> = GOOD.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
    let own = underscored.iter().map(|(name, value)| (name.as_str(), *value));
    assert_eq!(names(&kafka::decode(own, None).unwrap()), []);
    assert_eq!(names(&kafka::decode(other, None).unwrap()), [Departure::OtherPrefix; 4]);
}

fn json(headers: &[(&str, &str)]) -> String {
    let member = |(name, value): &(&str, &str)| format!("\"{}\":\"{value}\"", &name[3..]);
    format!("{{{}}}", headers.iter().map(member).collect::<Vec<_>>().join(","))
}

#[test]
fn what_is_no_event_is_refused_with_its_reason() {
    let body = Bytes::from_static(b"{}");
    let cases: &[(Headers<'_>, &str, Option<&str>)] = &[
        (&[("ce-specversion", "0.3")], "invalid", Some("specversion")),
        (&[("ce-id", "")], "missing", Some("id")),
        (&[("ce-id", "%0d%0a")], "invalid", Some("id")),
        (&[("ce-time", "yesterday")], "invalid", Some("time")),
        (&[("ce-subject", "%C0%A0")], "invalid", Some("subject")),
        (&[("ce-subject", "%4")], "invalid", Some("subject")),
        (&[("ce-subject", "%00")], "invalid", Some("subject")),
        (&[("ce-foo-bar", "1")], "invalid", Some("foo-bar")),
        (&[("ce-data", "1")], "invalid", Some("data")),
        (&[("ce-a", "1"), ("ce-a", "2")], "duplicate", Some("a")),
        (&[("ce-partitionkey", "")], "invalid", Some("partitionkey")),
        (&[("content-type", "application/cloudevents+xml")], "unsupported_media_type", None),
        (&[("content-type", "application/cloudevents+json; charset=utf-16")], "unsupported_media_type", None),
        (&[("content-type", "application/cloudevents+json")], "missing", Some("specversion")),
    ];
    let refused = |error: &CodecError, name: &str, attribute: Option<&str>| {
        assert_eq!((error.name(), error.attribute()), (name, attribute), "{error}");
    };
    for (more, name, attribute) in cases {
        let headers = with(more);
        refused(&http::decode_one(headers.clone(), &body).unwrap_err(), name, *attribute);
        refused(&nats::decode(headers, &body).unwrap_err(), name, *attribute);
    }
    let many: Vec<String> = (0..5_000).map(|n| format!("ce-x{n}")).collect();
    let headers = with(&[]).into_iter().chain(many.iter().map(|name| (name.as_str(), &b"1"[..])));
    refused(&nats::decode(headers, &body).unwrap_err(), "limit", None);
    refused(&nats::decode([("ce-id", &[b'x'; 1 << 20][..])], &body).unwrap_err(), "limit", None);
    assert_eq!(nats::decode([], &Bytes::new()).unwrap_err().name(), "no_event");
    assert!(http::decode_one([("content-type", &b"text/html"[..])], &body).unwrap().is_none());
}
