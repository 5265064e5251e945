//! The CloudEvents JSON format: strict in both directions, data bytes untouched.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::{Attribute, Envelope, EnvelopeError, is_json_media_type};
use crate::event_type::EventType;
use crate::key::Key;

impl Envelope {
    /// The event in the CloudEvents JSON format, on one line unless its data holds line breaks.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size() + 128);
        // Writing to a `Vec` and serialising strings cannot fail; data that is no JSON is caught in `Serialize`.
        if serde_json::to_writer(&mut out, self).is_err() {
            let opaque = Envelope { datacontenttype: Some("application/octet-stream".into()), ..self.clone() };
            out.clear();
            let _ = serde_json::to_writer(&mut out, &opaque);
        }
        out
    }

    /// Reads one event in the CloudEvents JSON format and checks it ([`Envelope::check`]). Duplicate members,
    /// `data` beside `data_base64`, and attributes of a wrong type are refused. A `partitionkey` is required
    /// here; the edge fills it in before this is called.
    pub fn from_json(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let envelope = Self::from_trusted_json(bytes)?;
        envelope.check()?;
        Ok(envelope)
    }

    /// [`Envelope::from_json`] for bytes this house wrote itself and whose checksum held: nothing is checked twice.
    pub fn from_trusted_json(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        serde_json::from_slice(bytes).map_err(|error| EnvelopeError::Malformed { reason: error.to_string() })
    }
}

/// A time as CloudEvents writes it.
pub(crate) fn timestamp(time: &DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

impl Serialize for Envelope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("specversion", "1.0")?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("source", &self.source)?;
        map.serialize_entry("type", &self.ty)?;
        let mut text = |name: &'static str, value: &Option<String>| match value {
            Some(value) => map.serialize_entry(name, value),
            None => Ok(()),
        };
        text("subject", &self.subject)?;
        text("datacontenttype", &self.datacontenttype)?;
        text("dataschema", &self.dataschema)?;
        text("correlationid", &self.correlationid)?;
        text("causationid", &self.causationid)?;
        text("traceparent", &self.traceparent)?;
        text("dataref", &self.dataref)?;
        map.serialize_entry("time", &timestamp(&self.time))?;
        map.serialize_entry("partitionkey", &self.key)?;
        if let Some(sequence) = self.sequence {
            // A string by the sequence extension's own definition.
            map.serialize_entry("sequence", &sequence.to_string())?;
        }
        if let Some(time) = &self.recordedtime {
            map.serialize_entry("recordedtime", &timestamp(time))?;
        }
        if let Some(time) = &self.expirytime {
            map.serialize_entry("expirytime", &timestamp(time))?;
        }
        for (name, value) in &self.extensions {
            map.serialize_entry(name, value)?;
        }
        match &self.data {
            None => {}
            Some(data) if self.is_json() => {
                let raw: &RawValue = serde_json::from_slice(data).map_err(serde::ser::Error::custom)?;
                map.serialize_entry("data", raw)?;
            }
            Some(data) => map.serialize_entry("data_base64", &BASE64.encode(data))?,
        }
        map.end()
    }
}

/// What was read so far; every member at most once.
#[derive(Default)]
struct Members {
    specversion: Option<String>,
    id: Option<String>,
    source: Option<String>,
    ty: Option<EventType>,
    subject: Option<String>,
    time: Option<DateTime<Utc>>,
    key: Option<Key>,
    datacontenttype: Option<String>,
    dataschema: Option<String>,
    data: Option<Box<RawValue>>,
    data_base64: Option<Vec<u8>>,
    sequence: Option<u64>,
    correlationid: Option<String>,
    causationid: Option<String>,
    traceparent: Option<String>,
    recordedtime: Option<DateTime<Utc>>,
    expirytime: Option<DateTime<Utc>>,
    dataref: Option<String>,
    extensions: BTreeMap<String, Attribute>,
}

fn once<T, E: serde::de::Error>(slot: &mut Option<T>, name: &'static str, value: T) -> Result<(), E> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::duplicate_field(name)),
    }
}

fn parse_time<E: serde::de::Error>(name: &str, text: &str) -> Result<DateTime<Utc>, E> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .map_err(|_| E::custom(format!("`{name}` is not an RFC 3339 time with a zone")))
}

impl Members {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "specversion" => once(&mut self.specversion, "specversion", map.next_value()?),
            "id" => once(&mut self.id, "id", map.next_value()?),
            "source" => once(&mut self.source, "source", map.next_value()?),
            "type" => once(&mut self.ty, "type", map.next_value()?),
            "subject" => once(&mut self.subject, "subject", map.next_value()?),
            "time" => once(&mut self.time, "time", parse_time("time", &map.next_value::<String>()?)?),
            "partitionkey" => once(&mut self.key, "partitionkey", map.next_value()?),
            "datacontenttype" => once(&mut self.datacontenttype, "datacontenttype", map.next_value()?),
            "dataschema" => once(&mut self.dataschema, "dataschema", map.next_value()?),
            "correlationid" => once(&mut self.correlationid, "correlationid", map.next_value()?),
            "causationid" => once(&mut self.causationid, "causationid", map.next_value()?),
            "traceparent" => once(&mut self.traceparent, "traceparent", map.next_value()?),
            "dataref" => once(&mut self.dataref, "dataref", map.next_value()?),
            "recordedtime" => {
                once(&mut self.recordedtime, "recordedtime", parse_time("recordedtime", &map.next_value::<String>()?)?)
            }
            "expirytime" => {
                once(&mut self.expirytime, "expirytime", parse_time("expirytime", &map.next_value::<String>()?)?)
            }
            "sequence" => {
                let text: String = map.next_value()?;
                let number = text.parse().ok().filter(|n| (1..=i64::MAX as u64).contains(n));
                once(
                    &mut self.sequence,
                    "sequence",
                    number.ok_or_else(|| A::Error::custom("`sequence` is not a positive integer"))?,
                )
            }
            "data" => once(&mut self.data, "data", map.next_value()?),
            "data_base64" => {
                let text: String = map.next_value()?;
                let bytes = BASE64.decode(text).map_err(|error| A::Error::custom(format!("`data_base64`: {error}")))?;
                once(&mut self.data_base64, "data_base64", bytes)
            }
            _ => match self.extensions.insert(name.to_owned(), map.next_value()?) {
                None => Ok(()),
                Some(_) => Err(A::Error::custom(format!("duplicate field `{}`", name.escape_default()))),
            },
        }
    }

    fn finish<E: serde::de::Error>(self) -> Result<Envelope, E> {
        match self.specversion.as_deref() {
            Some("1.0") => {}
            Some(_) => return Err(E::custom("`specversion` must be \"1.0\"")),
            None => return Err(E::missing_field("specversion")),
        }
        let is_json = self.datacontenttype.as_deref().is_none_or(is_json_media_type);
        let data = match (self.data, self.data_base64) {
            (Some(_), Some(_)) => return Err(E::custom("`data` and `data_base64` exclude each other")),
            (None, Some(bytes)) => Some(Bytes::from(bytes)),
            (Some(raw), None) if is_json => Some(Bytes::from(String::from(Box::<str>::from(raw)))),
            // Data of another media type travels as a JSON string of its text.
            (Some(raw), None) => {
                let text: String = serde_json::from_str(raw.get()).map_err(|_| {
                    E::custom("`data` of a type that is not JSON must be a string, or come as `data_base64`")
                })?;
                Some(Bytes::from(text))
            }
            (None, None) => None,
        };
        Ok(Envelope {
            id: self.id.ok_or_else(|| E::missing_field("id"))?,
            source: self.source.ok_or_else(|| E::missing_field("source"))?,
            ty: self.ty.ok_or_else(|| E::missing_field("type"))?,
            subject: self.subject,
            time: self.time.ok_or_else(|| E::missing_field("time"))?,
            key: self.key.ok_or_else(|| E::missing_field("partitionkey"))?,
            datacontenttype: self.datacontenttype,
            dataschema: self.dataschema,
            data,
            sequence: self.sequence,
            correlationid: self.correlationid,
            causationid: self.causationid,
            traceparent: self.traceparent,
            recordedtime: self.recordedtime,
            expirytime: self.expirytime,
            dataref: self.dataref,
            extensions: self.extensions,
        })
    }
}

impl<'de> Deserialize<'de> for Envelope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EnvelopeVisitor;
        impl<'de> Visitor<'de> for EnvelopeVisitor {
            type Value = Envelope;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a CloudEvents 1.0 object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope, A::Error> {
                let mut members = Members::default();
                while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                    members.read(&name, &mut map)?;
                }
                members.finish()
            }
        }
        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

/// How deep arrays and objects nest in `json`, without parsing it: brackets outside strings. Also right for
/// text that is no JSON, in that it never panics.
pub fn json_depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0usize, false, false);
    for &byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn data_survives_byte_for_byte() {
        let mut envelope = sample();
        envelope.extensions.insert("sagaepoch".into(), Attribute::Integer(7));
        for data in [&br#"{"price":1.10, "n":1e2}"#[..], b"null", b"12345678901234567890123", br#""\u00fc""#] {
            envelope.data = Some(Bytes::copy_from_slice(data));
            let read = Envelope::from_json(&envelope.to_json()).unwrap();
            assert_eq!(read, envelope);
        }
        envelope.datacontenttype = Some("application/octet-stream".into());
        envelope.data = Some(Bytes::from_static(&[0, 159, 146, 150]));
        assert_eq!(Envelope::from_json(&envelope.to_json()).unwrap(), envelope);
        envelope.data = None;
        assert_eq!(Envelope::from_json(&envelope.to_json()).unwrap(), envelope);
    }

    #[test]
    fn refuses_what_the_specification_refuses() {
        let good = r#"{"specversion":"1.0","id":"1","source":"/s","type":"user.followed.v1","time":"2026-01-01T00:00:00Z","partitionkey":"k"}"#;
        assert!(Envelope::from_json(good.as_bytes()).is_ok());
        let cases = [
            ("\"1.0\"", "\"2.0\""),
            ("\"id\":\"1\"", "\"id\":\"\""),
            ("\"id\":\"1\"", "\"id\":1"),
            ("\"id\":\"1\"", "\"id\":\"1\",\"id\":\"2\""),
            ("\"id\":\"1\"", "\"id\":\"1\",\"n\":2147483648"),
            ("\"id\":\"1\"", "\"id\":\"1\",\"n\":{}"),
            ("\"id\":\"1\"", "\"id\":\"1\",\"n\":null"),
            ("\"id\":\"1\"", "\"id\":\"1\",\"data\":1,\"data_base64\":\"MQ==\""),
            ("\"id\":\"1\"", "\"id\":\"1\",\"data_base64\":\"M Q\""),
            ("\"id\":\"1\"", "\"id\":\"1\",\"datacontenttype\":\"text/plain\",\"data\":{}"),
            ("\"id\":\"1\"", "\"id\":\"1\",\"sequence\":\"0\""),
            ("\"id\":\"1\"", "\"id\":\"1\",\"sequence\":\"9223372036854775808\""),
            ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00"),
            ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00+25:00"),
            ("\"k\"}", "\"\"}"),
            ("\"k\"}", "\"k\"} {}"),
            ("\"/s\"", "\"/s\\u0000\""),
        ];
        for (from, to) in cases {
            let bad = good.replace(from, to);
            assert!(Envelope::from_json(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn depth_ignores_brackets_in_strings() {
        assert_eq!(json_depth(br#"{"a":["[[[", "\"[["]}"#), 2);
        assert_eq!(json_depth(b"]]]"), 0);
    }
}
