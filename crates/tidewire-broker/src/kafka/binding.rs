//! The CloudEvents Kafka binding: what an event looks like as a record.
//!
//! Written in binary mode: every attribute a header `ce_<name>` (UTF-8, not percent-encoded), its media type the header
//! `content-type`, its data the value, its `partitionkey` also the record's key. Read in both modes, from anybody.
//!
//! Headers hold text only. What text cannot tell (that a media type was not given, that an extension is a number) is in
//! one more header that foreign readers pass over, so that an event comes out as it went in.

use std::collections::BTreeMap;

use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use tidewire_core::bytes::Bytes;
use tidewire_core::chrono::{DateTime, SecondsFormat, Utc};
use tidewire_core::{Attribute, Envelope, Key};

/// The header of what text cannot tell: `type` for a media type that was not given, `i:name` and `b:name` for
/// extensions that are integers and booleans, separated by commas.
const HINTS: &str = "tidewire-hints";
const CONTENT_TYPE: &str = "content-type";
/// What an event without a media type holds.
const IMPLIED: &str = "application/json";
const STRUCTURED: &str = "application/cloudevents";
const PREFIX: &str = "ce_";
/// About what Kafka adds to each header.
const HEADER_OVERHEAD: usize = 4;

/// An event as a record, but for its key.
pub(super) struct Record {
    pub headers: OwnedHeaders,
    /// Bytes of key, headers and value.
    pub size: usize,
}

struct Writer {
    headers: OwnedHeaders,
    size: usize,
}

impl Writer {
    fn put(&mut self, name: &str, value: &str) {
        self.size += name.len() + value.len() + HEADER_OVERHEAD;
        let headers = std::mem::take(&mut self.headers);
        self.headers = headers.insert(Header { key: name, value: Some(value) });
    }
}

/// The record of an event.
pub(super) fn encode(envelope: &Envelope) -> Record {
    let key = envelope.key.as_str();
    let data = envelope.data.as_ref().map_or(0, Bytes::len);
    let mut writer = Writer { headers: OwnedHeaders::new_with_capacity(16), size: key.len() + data };
    let mut hints = String::new();
    let mut hint = |parts: [&str; 2]| {
        if !hints.is_empty() {
            hints.push(',');
        }
        hints.extend(parts);
    };
    if envelope.datacontenttype.is_none() {
        hint(["type", ""]);
    }
    writer.put(CONTENT_TYPE, envelope.datacontenttype.as_deref().unwrap_or(IMPLIED));
    writer.put("ce_specversion", "1.0");
    writer.put("ce_id", &envelope.id);
    writer.put("ce_source", &envelope.source);
    writer.put("ce_type", &envelope.ty.to_string());
    writer.put("ce_time", &timestamp(&envelope.time));
    writer.put("ce_partitionkey", key);
    let sequence = envelope.sequence.map(|sequence| sequence.to_string());
    let (recorded, expiry) =
        (envelope.recordedtime.as_ref().map(timestamp), envelope.expirytime.as_ref().map(timestamp));
    let optional = [
        ("ce_subject", &envelope.subject),
        ("ce_dataschema", &envelope.dataschema),
        ("ce_sequence", &sequence),
        ("ce_correlationid", &envelope.correlationid),
        ("ce_causationid", &envelope.causationid),
        ("ce_traceparent", &envelope.traceparent),
        ("ce_recordedtime", &recorded),
        ("ce_expirytime", &expiry),
        ("ce_dataref", &envelope.dataref),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            writer.put(name, value);
        }
    }
    for (name, value) in &envelope.extensions {
        match value {
            Attribute::Text(_) => {}
            Attribute::Integer(_) => hint(["i:", name]),
            Attribute::Boolean(_) => hint(["b:", name]),
        }
        writer.put(&format!("{PREFIX}{name}"), &value.to_text());
    }
    if !hints.is_empty() {
        writer.put(HINTS, &hints);
    }
    Record { headers: writer.headers, size: writer.size }
}

/// The event of a record, in whichever mode it is. Fails with what is wrong with it.
pub(super) fn decode(record: &impl Message) -> Result<Envelope, String> {
    let mut attributes = read_headers(record)?;
    let media_type = attributes.content_type.as_deref().unwrap_or_default();
    let envelope = match media_type.get(..STRUCTURED.len()) {
        Some(start) if start.eq_ignore_ascii_case(STRUCTURED) => structured(media_type, record)?,
        _ => attributes.finish(record)?,
    };
    envelope.check().map_err(|error| error.to_string())?;
    Ok(envelope)
}

fn structured(media_type: &str, record: &impl Message) -> Result<Envelope, String> {
    let format = media_type[STRUCTURED.len()..].split(';').next().unwrap_or_default().trim();
    if !format.eq_ignore_ascii_case("+json") {
        return Err(format!("events of the media type `{}` are not read", media_type.escape_default()));
    }
    let json = record.payload().ok_or("a structured event without a value")?;
    let parsed = Envelope::from_trusted_json(json);
    let (Err(error), Some(key)) = (&parsed, text(record.key())) else {
        return parsed.map_err(|error| error.to_string());
    };
    // Without a `partitionkey` the record's key is the key.
    let (Some(json), Ok(key)) = (json.trim_ascii_end().strip_suffix(b"}"), serde_json::to_string(key)) else {
        return Err(error.to_string());
    };
    let keyed = [json, br#","partitionkey":"#, key.as_bytes(), b"}"].concat();
    Envelope::from_trusted_json(&keyed).map_err(|_| error.to_string())
}

#[derive(Default)]
struct Attributes {
    content_type: Option<String>,
    hints: String,
    named: BTreeMap<String, String>,
}

fn read_headers(record: &impl Message) -> Result<Attributes, String> {
    let mut attributes = Attributes::default();
    let Some(headers) = record.headers() else { return Ok(attributes) };
    for header in headers.iter() {
        let name = header.key.get(..PREFIX.len()).filter(|start| start.eq_ignore_ascii_case(PREFIX));
        let Some(value) = text(header.value) else {
            match name {
                Some(_) => return Err(format!("header `{}` is not UTF-8 text", header.key.escape_default())),
                None => continue,
            }
        };
        if name.is_some() {
            let name = header.key[PREFIX.len()..].to_ascii_lowercase();
            if attributes.named.insert(name, value.to_owned()).is_some() {
                return Err(format!("header `{}` is there twice", header.key.escape_default()));
            }
        } else if header.key.eq_ignore_ascii_case(CONTENT_TYPE) {
            attributes.content_type = Some(value.to_owned());
        } else if header.key == HINTS {
            attributes.hints = value.to_owned();
        }
    }
    Ok(attributes)
}

impl Attributes {
    fn finish(&mut self, record: &impl Message) -> Result<Envelope, String> {
        let mut take = |name: &str| self.named.remove(name);
        let missing = |name: &str| format!("the attribute `{name}` is missing");
        match take("specversion").as_deref() {
            Some("1.0") => {}
            Some(_) => return Err("`specversion` is not 1.0".into()),
            None => return Err("it is not a CloudEvent: it has no `ce_specversion`".into()),
        }
        let (id, source) = (take("id").ok_or_else(|| missing("id"))?, take("source").ok_or_else(|| missing("source"))?);
        let ty = take("type").ok_or_else(|| missing("type"))?;
        let subject = take("subject");
        let key = take("partitionkey").or_else(|| text(record.key()).map(str::to_owned));
        let key = key.or_else(|| subject.clone()).unwrap_or_else(|| source.clone());
        let time = match take("time") {
            Some(text) => time("time", &text)?,
            None => stored_at(record).ok_or_else(|| missing("time"))?,
        };
        let sequence = take("sequence").map(|text| sequence(&text)).transpose()?;
        let recordedtime = take("recordedtime").map(|text| self::time("recordedtime", &text)).transpose()?;
        let expirytime = take("expirytime").map(|text| self::time("expirytime", &text)).transpose()?;
        let (dataschema, dataref, traceparent) = (take("dataschema"), take("dataref"), take("traceparent"));
        let (correlationid, causationid) = (take("correlationid"), take("causationid"));
        // The media type may come as an attribute from clients that know no better.
        let datacontenttype = self.content_type.take().or_else(|| take("datacontenttype"));
        let implied = self.hints.split(',').any(|hint| hint == "type");
        Ok(Envelope {
            id,
            source,
            ty: ty.parse().map_err(|error| format!("`type`: {error}"))?,
            subject,
            time,
            key: Key::new(key).map_err(|error| format!("`partitionkey`: {error}"))?,
            datacontenttype: datacontenttype.filter(|_| !implied),
            dataschema,
            data: record.payload().map(Bytes::copy_from_slice),
            sequence,
            correlationid,
            causationid,
            traceparent,
            recordedtime,
            expirytime,
            dataref,
            extensions: self.extensions()?,
        })
    }

    /// What is left.
    fn extensions(&mut self) -> Result<BTreeMap<String, Attribute>, String> {
        let mut extensions = BTreeMap::new();
        let hinted = |kind: &str, name: &str| self.hints.split(',').any(|hint| hint.strip_prefix(kind) == Some(name));
        for (name, text) in std::mem::take(&mut self.named) {
            let no = |_| format!("the extension `{}` is not of its type", name.escape_default());
            let value = if hinted("i:", &name) {
                Attribute::Integer(text.parse().map_err(|error: std::num::ParseIntError| no(error.to_string()))?)
            } else if hinted("b:", &name) {
                Attribute::Boolean(text.parse().map_err(|error: std::str::ParseBoolError| no(error.to_string()))?)
            } else {
                Attribute::Text(text)
            };
            extensions.insert(name, value);
        }
        Ok(extensions)
    }
}

fn text(bytes: Option<&[u8]>) -> Option<&str> {
    bytes.and_then(|bytes| std::str::from_utf8(bytes).ok())
}

fn timestamp(time: &DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

fn time(name: &str, text: &str) -> Result<DateTime<Utc>, String> {
    let parsed = DateTime::parse_from_rfc3339(text);
    parsed.map(|time| time.to_utc()).map_err(|_| format!("`{name}` is not an RFC 3339 time with a zone"))
}

fn sequence(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| (1..=i64::MAX as u64).contains(number));
    number.ok_or_else(|| "`sequence` is not a positive integer".into())
}

/// When the cluster took it, for events that do not say when they happened.
fn stored_at(record: &impl Message) -> Option<DateTime<Utc>> {
    record.timestamp().to_millis().and_then(DateTime::from_timestamp_millis)
}

#[cfg(test)]
mod tests {
    use rdkafka::Timestamp;
    use rdkafka::message::OwnedMessage;

    use super::*;

    fn record(key: Option<&str>, headers: &[(&str, &str)], value: Option<&str>) -> OwnedMessage {
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(*value) }));
        let value = value.map(|value| value.as_bytes().to_vec());
        let key = key.map(|key| key.as_bytes().to_vec());
        OwnedMessage::new(value, key, "t".into(), Timestamp::CreateTime(1_000), 0, 0, Some(headers))
    }

    const FOREIGN: [(&str, &str); 4] =
        [("ce_specversion", "1.0"), ("ce_id", "1"), ("ce_source", "/a"), ("ce_type", "user.followed.v1")];

    #[test]
    fn what_went_in_comes_out() {
        let mut envelope = crate::conformance::event("ü key", "id");
        for media_type in [None, Some("application/json"), Some("text/plain")] {
            envelope.datacontenttype = media_type.map(str::to_owned);
            for value in [Attribute::Integer(-7), Attribute::Boolean(true), Attribute::Text("true".into())] {
                envelope.extensions.insert("flag".into(), value);
                for data in [None, Some(Bytes::new()), Some(Bytes::from_static(b"1.10"))] {
                    if envelope.is_json() && data.as_ref().is_some_and(Bytes::is_empty) {
                        continue;
                    }
                    envelope.data = data;
                    let Record { headers, .. } = encode(&envelope);
                    let value = envelope.data.as_ref().map(|data| data.to_vec());
                    let found =
                        OwnedMessage::new(value, None, "t".into(), Timestamp::NotAvailable, 0, 0, Some(headers));
                    assert_eq!(decode(&found), Ok(envelope.clone()));
                }
            }
        }
    }

    #[test]
    fn foreign_events_are_understood() {
        let event = decode(&record(Some("user/1"), &FOREIGN, Some("{}"))).unwrap();
        assert_eq!((event.key.as_str(), event.time.timestamp()), ("user/1", 1));
        let event = decode(&record(None, &FOREIGN, None)).unwrap();
        assert_eq!((event.key.as_str(), event.data), ("/a", None));
        let json =
            r#"{"specversion":"1.0","id":"1","source":"/a","type":"user.followed.v1","time":"2026-01-01T00:00:00Z"}"#;
        let structured = [("Content-Type", "application/cloudevents+json; charset=utf-8")];
        assert_eq!(decode(&record(Some("user/1"), &structured, Some(json))).unwrap().key.as_str(), "user/1");
        let keyed = json.replace('}', r#","partitionkey":"user/2"}"#);
        assert_eq!(decode(&record(Some("user/1"), &structured, Some(&keyed))).unwrap().key.as_str(), "user/2");
    }

    #[test]
    fn what_is_no_event_is_refused_with_its_reason() {
        let with = |name: &'static str, value: &'static str| [&FOREIGN[..], &[(name, value)]].concat();
        let bad = [
            (record(None, &[], Some("hello")), "not a CloudEvent"),
            (record(None, &FOREIGN[..3], None), "`type`"),
            (record(None, &with("ce_sequence", "0"), None), "`sequence`"),
            (record(None, &with("ce_time", "yesterday"), None), "`time`"),
            (record(None, &with("ce_ID", "2"), None), "twice"),
            (record(None, &with("ce_foo-bar", "2"), None), "foo-bar"),
            (record(None, &FOREIGN, Some("{")), "JSON"),
            (record(None, &[("content-type", "application/cloudevents-batch+json")], Some("[]")), "media type"),
            (record(None, &[("content-type", "application/cloudevents+json")], Some("{}")), "missing"),
        ];
        for (record, reason) in bad {
            let error = decode(&record).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
