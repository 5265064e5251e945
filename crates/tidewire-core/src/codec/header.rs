//! What the bindings that put attributes into headers share.

use std::borrow::Cow;

use bytes::Bytes;

use super::deviation::Departure;
use super::error::CodecError;
use super::json;
use super::names::Known;
use super::parsed::{Origin, Parsed};
use super::percent;
use crate::cesql::Value;
use crate::envelope::{Attribute, Envelope, MAX_ATTRIBUTE_BYTES};

/// The longest value of a header that is looked at, in bytes: the longest attribute with every byte of it
/// percent-encoded, and quotation marks.
pub const MAX_HEADER_BYTES: usize = 3 * MAX_ATTRIBUTE_BYTES + 2;

/// Hands out every attribute of an event that is a field, as text.
pub(super) fn each_known<'e>(envelope: &'e Envelope, mut put: impl FnMut(Known, Cow<'e, str>)) {
    put(Known::SpecVersion, Cow::Borrowed("1.0"));
    put(Known::Id, Cow::Borrowed(&envelope.id));
    put(Known::Source, Cow::Borrowed(&envelope.source));
    put(Known::Type, Cow::Owned(envelope.ty.to_string()));
    put(Known::Time, Cow::Owned(json::timestamp(&envelope.time)));
    put(Known::PartitionKey, Cow::Borrowed(envelope.key.as_str()));
    let optional = [
        (Known::Subject, &envelope.subject),
        (Known::DataContentType, &envelope.datacontenttype),
        (Known::DataSchema, &envelope.dataschema),
        (Known::CorrelationId, &envelope.correlationid),
        (Known::CausationId, &envelope.causationid),
        (Known::TraceParent, &envelope.traceparent),
        (Known::DataRef, &envelope.dataref),
    ];
    for (known, value) in optional {
        if let Some(value) = value {
            put(known, Cow::Borrowed(value));
        }
    }
    if let Some(sequence) = envelope.sequence {
        put(Known::Sequence, Cow::Owned(sequence.to_string()));
    }
    for (known, time) in [(Known::RecordedTime, &envelope.recordedtime), (Known::ExpiryTime, &envelope.expirytime)] {
        if let Some(time) = time {
            put(known, Cow::Owned(json::timestamp(time)));
        }
    }
}

/// Whether a content type is one of structured mode, in whatever format.
pub(super) fn is_structured(media_type: &str) -> bool {
    const START: &str = "application/cloudevents";
    media_type.get(..START.len()).is_some_and(|start| start.eq_ignore_ascii_case(START))
}

/// Whether a media type can be a header's value as it is: visible ASCII, and spaces within.
pub(super) fn can_stand_bare(media_type: &str) -> bool {
    media_type.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && media_type.trim() == media_type
}

/// What a content type says of how the event is in there.
pub(super) enum Mode {
    Binary,
    Structured {
        /// Without its format, which is taken for JSON.
        is_bare: bool,
    },
    Batch,
}

const READ: &str = "application/cloudevents+json in UTF-8";

/// The mode by the content type, and by nothing else.
pub(super) fn mode(content_type: Option<&str>) -> Result<Mode, CodecError> {
    let Some(content_type) = content_type.filter(|it| is_structured(it)) else { return Ok(Mode::Binary) };
    let unread = || CodecError::UnsupportedMediaType { found: super::place::shown(content_type), expected: READ };
    let lower = content_type.to_ascii_lowercase();
    let mut parts = lower.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let charset = parts.find_map(|part| part.strip_prefix("charset=")).map(|charset| charset.trim_matches('"'));
    if charset.is_some_and(|charset| charset != "utf-8" && charset != "us-ascii") {
        return Err(unread());
    }
    match essence {
        json::CONTENT_TYPE => Ok(Mode::Structured { is_bare: false }),
        "application/cloudevents" => Ok(Mode::Structured { is_bare: true }),
        json::BATCH_CONTENT_TYPE => Ok(Mode::Batch),
        _ => Err(unread()),
    }
}

/// How one binding writes attributes into headers.
pub(super) struct Style {
    pub prefix: &'static str,
    /// What writers of another binding take for the prefix.
    pub other: Option<&'static str>,
    pub is_percent_encoded: bool,
    /// Headers of this transport are the same in capitals.
    pub ignores_case: bool,
}

/// An event read from headers, before its data is there.
pub(super) struct Headers<'a> {
    pub parsed: Parsed<'a>,
    pub content_type: Option<Cow<'a, str>>,
    /// The first attribute was seen.
    pub has_attributes: bool,
    style: &'static Style,
}

impl<'a> Headers<'a> {
    pub(super) fn new(style: &'static Style) -> Self {
        Self { parsed: Parsed::new(Origin::Headers(style.prefix)), content_type: None, has_attributes: false, style }
    }

    /// Takes a header if it is an attribute or the content type; answers whether it was.
    pub(super) fn take(&mut self, name: &'a str, value: Option<&'a [u8]>) -> bool {
        let prefix = name.get(..self.style.prefix.len());
        let is = |wanted: &str| prefix.is_some_and(|found| found.eq_ignore_ascii_case(wanted));
        if is(self.style.prefix) || self.style.other.is_some_and(is) {
            let is_other = !is(self.style.prefix);
            self.attribute(name, value, is_other);
            return true;
        }
        if name.eq_ignore_ascii_case("content-type") {
            self.take_content_type(value);
            return true;
        }
        false
    }

    fn attribute(&mut self, header: &'a str, value: Option<&'a [u8]>, is_other: bool) {
        self.has_attributes = true;
        let name = &header[self.style.prefix.len()..];
        let is_upper = header.bytes().any(|byte| byte.is_ascii_uppercase());
        let name = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(name.to_ascii_lowercase()),
            false => Cow::Borrowed(name),
        };
        if is_upper && !self.style.ignores_case {
            self.parsed.deviates(Departure::UpperCaseName, &name, 0);
        }
        if is_other {
            self.parsed.deviates(Departure::OtherPrefix, &name, 0);
        }
        let Some(value) = value else { return self.parsed.deviates(Departure::NullAttribute, &name, 0) };
        let Some(text) = self.text(&name, value) else { return };
        match Known::of(&name) {
            Some(known) => self.parsed.set(known, text, 0, true),
            None => self.parsed.set_other(name, Value::Text(text), 0, true),
        }
    }

    /// The value of a header; what is wrong with it is noted.
    fn text(&mut self, name: &str, value: &'a [u8]) -> Option<Cow<'a, str>> {
        if value.len() > MAX_HEADER_BYTES {
            let what = format!("header of `{}` in bytes", super::place::shown(name));
            self.parsed.limit(&what, name, 0, value.len(), MAX_HEADER_BYTES);
            return None;
        }
        let Ok(value) = std::str::from_utf8(value) else {
            self.parsed.invalid(name, 0, "UTF-8");
            return None;
        };
        if !self.style.is_percent_encoded {
            return Some(Cow::Borrowed(value));
        }
        match percent::read(value) {
            Ok(read) => {
                if read.is_quoted {
                    self.parsed.deviates(Departure::QuotedValue, name, 0);
                }
                if read.is_bare {
                    self.parsed.deviates(Departure::NotPercentEncoded, name, 0);
                }
                Some(read.text)
            }
            Err(expected) => {
                self.parsed.invalid(name, 0, expected);
                None
            }
        }
    }

    fn take_content_type(&mut self, value: Option<&'a [u8]>) {
        const NAME: &str = "datacontenttype";
        let Some(value) = value else { return };
        let text = match std::str::from_utf8(value) {
            // White space around a value is the transport's, except on Kafka, where a value is what it is.
            Ok(text) if value.len() <= MAX_HEADER_BYTES && self.style.is_percent_encoded => text.trim(),
            Ok(text) if value.len() <= MAX_HEADER_BYTES => text,
            _ => return self.parsed.invalid(NAME, 0, "a media type in UTF-8"),
        };
        // This header is the transport's own, and nowhere percent-encoded.
        let text = Cow::Borrowed(text);
        match &self.content_type {
            None => self.content_type = Some(text),
            Some(before) if *before == text => self.parsed.deviates(Departure::RepeatedHeader, NAME, 0),
            Some(_) => self.parsed.duplicate(NAME, 0),
        }
    }

    /// Where the media type of the data is the header `Content-Type` (HTTP, Kafka).
    pub(super) fn media_type_from_content_type(&mut self) {
        let known = Known::DataContentType;
        let Some(own) = self.parsed.text(known).map(str::to_owned) else {
            if let Some(text) = self.content_type.take() {
                self.parsed.set(known, text, 0, true);
            }
            return;
        };
        match &self.content_type {
            Some(text) if *text != own => {
                self.parsed.invalid(
                    known.name(),
                    0,
                    "the media type in `Content-Type` alone, not another one beside it",
                );
            }
            _ => self.parsed.deviates(Departure::PrefixedContentType, known.name(), 0),
        }
    }
}

/// An event in JSON that came with headers.
pub(super) fn structured<'a>(
    text: &'a [u8],
    shared: Option<&'a Bytes>,
    is_bare: bool,
    departure: Departure,
) -> Result<Parsed<'a>, CodecError> {
    let mut parsed = json::whole(json::Input::new(text, shared))?;
    if is_bare {
        parsed.deviates(departure, Known::DataContentType.name(), 0);
    }
    Ok(parsed)
}

/// Whether a body without any header of CloudEvents is an event in JSON all the same: some writers send nothing else.
pub(super) fn looks_structured(body: &[u8]) -> bool {
    const MEMBER: &[u8] = b"\"specversion\"";
    body.trim_ascii_start().first() == Some(&b'{') && body.windows(MEMBER.len()).any(|window| window == MEMBER)
}

/// The names of extensions that are no text, with their kinds.
pub(super) fn typed(envelope: &Envelope) -> impl Iterator<Item = (&str, &'static str)> {
    envelope.extensions.iter().filter_map(|(name, value)| match value {
        Attribute::Text(_) => None,
        Attribute::Integer(_) => Some((name.as_str(), "integer")),
        Attribute::Boolean(_) => Some((name.as_str(), "boolean")),
    })
}

impl Parsed<'_> {
    pub(super) fn retype_integer(&mut self, name: &str) {
        self.retype(name, |text| text.parse().ok().map(Value::Integer), "an integer of 32 bits");
    }

    pub(super) fn retype_boolean(&mut self, name: &str) {
        self.retype(name, |text| text.parse().ok().map(Value::Boolean), "`true` or `false`");
    }
}
