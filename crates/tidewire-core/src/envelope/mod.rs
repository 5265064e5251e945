//! The envelope: one CloudEvents 1.0 event, as it is stored, carried and shown.

mod attribute;
mod depth;

pub(crate) use attribute::is_clean;
pub use attribute::{Attribute, is_attribute_name};
pub use depth::json_depth;
pub(crate) use depth::nests_deeper_than;

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::codec::{CodecError, Defaults, json};
use crate::event_type::EventType;
use crate::key::Key;

/// The longest `id`, in bytes.
pub const MAX_ID_BYTES: usize = 256;
/// The longest of every other text attribute, in bytes.
pub const MAX_ATTRIBUTE_BYTES: usize = 2_048;
/// The most extension attributes beyond the named ones.
pub const MAX_EXTENSIONS: usize = 32;
/// The deepest nesting of JSON data: twice what hand-written events reach, half of what parsers choke on.
pub const MAX_JSON_DEPTH: usize = 64;

/// One event with its context: a CloudEvents 1.0 event whose well-known extensions are fields.
///
/// Its bytes of `data` are kept exactly as they came. What the SDK or a foreign client sends is checked by
/// [`Envelope::check`] when it enters; everything inside the house may rely on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// Unique together with `source`; a UUIDv7 when made here.
    pub id: String,
    /// The service that emitted it.
    pub source: String,
    /// What happened, and the version of its schema.
    pub ty: EventType,
    /// What it happened to, where that is narrower than the key.
    pub subject: Option<String>,
    /// When it happened, by the emitter's clock. Data only: order never depends on it.
    pub time: DateTime<Utc>,
    /// The ordering unit (`partitionkey`).
    pub key: Key,
    /// The media type of `data`; JSON when absent.
    pub datacontenttype: Option<String>,
    /// Where the schema of `data` is published.
    pub dataschema: Option<String>,
    /// The payload, byte for byte.
    pub data: Option<Bytes>,
    /// The event's version in its key's stream (`sequence`), from 1. Set by the log.
    pub sequence: Option<u64>,
    /// The flow this event belongs to.
    pub correlationid: Option<String>,
    /// The id of the event that caused this one.
    pub causationid: Option<String>,
    /// The W3C trace context it was emitted in.
    pub traceparent: Option<String>,
    /// When the log took it. Set by the log.
    pub recordedtime: Option<DateTime<Utc>>,
    /// After this moment nobody needs it any more.
    pub expirytime: Option<DateTime<Utc>>,
    /// Where the payload lies when it is too large to travel.
    pub dataref: Option<String>,
    /// Every other extension attribute.
    pub extensions: BTreeMap<String, Attribute>,
}

/// Why something is not an acceptable envelope. Permanent: trying again cannot help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The text is no CloudEvents JSON.
    #[error("this is not a CloudEvent in JSON: {reason}")]
    Malformed {
        /// What the parser found, and where.
        reason: String,
    },
    /// A required attribute is absent or empty.
    #[error("attribute `{attribute}` is missing or empty; CloudEvents requires it")]
    Missing {
        /// Its name.
        attribute: &'static str,
    },
    /// An attribute does not hold what it must.
    #[error("attribute `{attribute}` is invalid: {reason}")]
    Invalid {
        /// Its name.
        attribute: String,
        /// What was expected instead.
        reason: String,
    },
}

impl EnvelopeError {
    /// The stable code for operators and clients.
    pub fn code(&self) -> &'static str {
        "event.malformed"
    }

    pub(crate) fn invalid(attribute: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { attribute: attribute.into(), reason: reason.into() }
    }
}

impl Envelope {
    /// The event in the CloudEvents JSON format, on one line unless its data holds line breaks. See
    /// [`codec`](crate::codec) for every other form.
    pub fn to_json(&self) -> Vec<u8> {
        json::write_unchecked(self)
    }

    /// Reads one event in the CloudEvents JSON format, exactly as the specification has it: what
    /// [`codec`](crate::codec) reads in spite of a deviation is refused here, as are duplicate members, `data` beside
    /// `data_base64`, and attributes of a wrong type. `time` and `partitionkey` are required here; the edge fills them
    /// in.
    pub fn from_json(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let strictly = || -> Result<Self, CodecError> {
            let parsed = json::read_slice(bytes)?;
            parsed.accept_only(|_| false)?;
            parsed.into_envelope(&Defaults::default())
        };
        Ok(strictly()?)
    }

    /// [`Envelope::from_json`] for bytes this house wrote itself and whose checksum held: nothing is checked twice.
    pub fn from_trusted_json(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        Ok(json::read_trusted(bytes).and_then(|parsed| parsed.into_envelope(&Defaults::default()))?)
    }

    /// Whether `data` is JSON by its declared media type.
    pub fn is_json(&self) -> bool {
        self.datacontenttype.as_deref().is_none_or(is_json_media_type)
    }

    /// The data as text for people: JSON and UTF-8 text as they are, anything else by its size.
    pub fn data_text(&self) -> String {
        match &self.data {
            None => String::new(),
            Some(data) => match std::str::from_utf8(data) {
                Ok(text) => text.to_owned(),
                Err(_) => format!("<{} bytes>", data.len()),
            },
        }
    }

    /// A rough count of the bytes it takes on the wire, for limits and batch sizes.
    pub fn size(&self) -> usize {
        let optional = |text: &Option<String>| text.as_ref().map_or(0, |t| t.len() + 16);
        256 + self.id.len()
            + self.source.len()
            + self.key.as_str().len()
            + self.data.as_ref().map_or(0, Bytes::len)
            + optional(&self.subject)
            + optional(&self.dataschema)
            + optional(&self.correlationid)
            + optional(&self.causationid)
            + optional(&self.traceparent)
            + optional(&self.dataref)
            + self.extensions.iter().map(|(name, value)| name.len() + value.size() + 6).sum::<usize>()
    }

    /// Checks every limit and rule that the type system does not hold. Everything from outside passes here
    /// once, at the edge; past it no layer checks again.
    pub fn check(&self) -> Result<(), EnvelopeError> {
        check_text("id", &self.id, MAX_ID_BYTES, true)?;
        check_text("source", &self.source, MAX_ATTRIBUTE_BYTES, true)?;
        if self.source.contains(char::is_whitespace) {
            return Err(EnvelopeError::invalid("source", "expected a URI reference without white space"));
        }
        let optional = [
            ("subject", &self.subject),
            ("datacontenttype", &self.datacontenttype),
            ("dataschema", &self.dataschema),
            ("correlationid", &self.correlationid),
            ("causationid", &self.causationid),
            ("traceparent", &self.traceparent),
            ("dataref", &self.dataref),
        ];
        for (attribute, value) in optional {
            if let Some(value) = value {
                check_text(attribute, value, MAX_ATTRIBUTE_BYTES, true)?;
            }
        }
        if self.extensions.len() > MAX_EXTENSIONS {
            return Err(EnvelopeError::invalid("extensions", format!("at most {MAX_EXTENSIONS} are taken")));
        }
        for (name, value) in &self.extensions {
            if !is_attribute_name(name) {
                return Err(EnvelopeError::invalid(
                    name.chars().take(40).flat_map(char::escape_default).collect::<String>(),
                    "extension names are 1 to 20 lower-case letters and digits, and not a reserved name",
                ));
            }
            value.check(name)?;
        }
        self.check_data()
    }

    fn check_data(&self) -> Result<(), EnvelopeError> {
        let Some(data) = &self.data else { return Ok(()) };
        if !self.is_json() {
            return Ok(());
        }
        match nests_deeper_than(data, MAX_JSON_DEPTH) {
            Some(depth) => {
                Err(EnvelopeError::invalid("data", format!("nested {depth} deep; at most {MAX_JSON_DEPTH} is taken")))
            }
            None => match serde_json::from_slice::<&serde_json::value::RawValue>(data) {
                Ok(_) => Ok(()),
                Err(error) => Err(EnvelopeError::invalid("data", format!("not JSON: {error}"))),
            },
        }
    }
}

pub(crate) fn is_json_media_type(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || essence.eq_ignore_ascii_case("text/json")
        || essence.len() > 5 && essence.as_bytes()[essence.len() - 5..].eq_ignore_ascii_case(b"+json")
}

fn check_text(attribute: &'static str, text: &str, limit: usize, required: bool) -> Result<(), EnvelopeError> {
    if required && text.is_empty() {
        return Err(EnvelopeError::Missing { attribute });
    }
    if text.len() > limit {
        return Err(EnvelopeError::invalid(attribute, format!("{} bytes long; at most {limit} are taken", text.len())));
    }
    if !is_clean(text) {
        return Err(EnvelopeError::invalid(attribute, "control characters are not allowed"));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> Envelope {
        Envelope {
            id: "0198-1".into(),
            source: "/social".into(),
            ty: EventType::new("user.followed", 1),
            subject: None,
            time: DateTime::UNIX_EPOCH,
            key: Key::new("user/42").unwrap(),
            datacontenttype: None,
            dataschema: None,
            data: Some(Bytes::from_static(br#"{"price":1.10}"#)),
            sequence: Some(3),
            correlationid: None,
            causationid: None,
            traceparent: None,
            recordedtime: None,
            expirytime: None,
            dataref: None,
            extensions: BTreeMap::new(),
        }
    }

    #[test]
    fn refuses_what_would_travel_badly() {
        let bad = |change: &dyn Fn(&mut Envelope)| {
            let mut envelope = sample();
            change(&mut envelope);
            assert!(envelope.check().is_err(), "{envelope:?}");
        };
        assert_eq!(sample().check(), Ok(()));
        bad(&|e| e.id.clear());
        bad(&|e| e.id = "x".repeat(MAX_ID_BYTES + 1));
        bad(&|e| e.source = "a b".into());
        bad(&|e| e.subject = Some("a\r\nNats-Rollup: all".into()));
        bad(&|e| e.data = Some(Bytes::from_static(b"{\"a\":")));
        bad(&|e| e.data = Some(Bytes::from("[".repeat(100) + &"]".repeat(100))));
        for name in ["data", "Data", "foo-bar", "", "ångström", "aaaaaaaaaaaaaaaaaaaaa", "time", "specversion"] {
            bad(&|e| {
                e.extensions.insert(name.into(), Attribute::Text("x".into()));
            });
        }
        bad(&|e| {
            for n in 0..=MAX_EXTENSIONS {
                e.extensions.insert(format!("ext{n}"), Attribute::Boolean(true));
            }
        });
    }
}
