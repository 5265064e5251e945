//! The binding to NATS: binary mode out, binary and structured mode in.
//!
//! Attributes are headers `ce-<name>`, percent-encoded; the data is the payload, byte for byte. A foreign client needs
//! nothing of Tidewire to read them. Two headers are ours, and only where the specification's types are lost on the way:
//! `tw-types` says which extensions are no text, `tw-data` that there is data of no length.

use std::borrow::Cow;

use bytes::Bytes;

use super::deviation::Departure;
use super::error::CodecError;
use super::header::{self, Headers, Mode, Style};
use super::json;
use super::names::Known;
use super::parsed::Parsed;
use super::percent;
use crate::envelope::Envelope;

const STYLE: Style = Style { prefix: "ce-", other: Some("ce_"), is_percent_encoded: true, ignores_case: false };
const TYPES: &str = "tw-types";
const EMPTY_DATA: &str = "tw-data";

/// Writes an event's headers in binary mode, for an event of the log, which was checked when it came in. Whatever it
/// holds, no value can break out of its header: names are of ASCII without `:`, values of visible ASCII.
pub fn headers(envelope: &Envelope, mut put: impl FnMut(Cow<'static, str>, String)) {
    header::each_known(envelope, |known, text| {
        // Said twice, for clients that look at one of them only; but never so that this looks like structured mode.
        if known == Known::DataContentType && !header::is_structured(&text) && header::can_stand_bare(&text) {
            put(Cow::Borrowed("content-type"), text.clone().into_owned());
        }
        put(Cow::Borrowed(known.names().dashed), percent::encode(&text).into_owned());
    });
    for (name, value) in &envelope.extensions {
        put(Cow::Owned(format!("ce-{}", percent::encode(name))), percent::encode(&value.to_text()).into_owned());
    }
    let mut types = String::new();
    for (name, kind) in header::typed(envelope) {
        let comma = if types.is_empty() { "" } else { "," };
        types.extend([comma, &percent::encode(name), ":", kind]);
    }
    if !types.is_empty() {
        put(Cow::Borrowed(TYPES), types);
    }
    if envelope.data.as_ref().is_some_and(|data| data.is_empty()) {
        put(Cow::Borrowed(EMPTY_DATA), "empty".into());
    }
}

/// Headers and payload of an event.
pub type Encoded = super::http::Encoded;

/// Writes an event in binary mode.
///
/// # Errors
/// For an envelope that breaks a rule.
pub fn encode_binary(envelope: &Envelope) -> Result<Encoded, CodecError> {
    envelope.check()?;
    let mut written = Vec::with_capacity(16 + envelope.extensions.len());
    headers(envelope, |name, value| written.push((name, value)));
    Ok(Encoded { headers: written, body: envelope.data.clone().unwrap_or_default() })
}

/// Writes an event in structured mode.
///
/// # Errors
/// For an envelope that breaks a rule.
pub fn encode_structured(envelope: &Envelope) -> Result<Encoded, CodecError> {
    super::http::encode_structured(envelope)
}

/// Reads an event in either mode. The data is the payload itself, or cut out of it.
///
/// # Errors
/// [`CodecError::NoEvent`] for what is in neither mode; otherwise the first thing that is wrong with it.
pub fn decode<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    payload: &'a Bytes,
) -> Result<Parsed<'a>, CodecError> {
    parse(headers, payload)?.checked()
}

/// [`decode`] of what this house published itself: no rule is looked at.
///
/// # Errors
/// For what cannot be read at all.
pub fn decode_trusted<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    payload: &'a Bytes,
) -> Result<Parsed<'a>, CodecError> {
    parse(headers, payload)
}

fn parse<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    payload: &'a Bytes,
) -> Result<Parsed<'a>, CodecError> {
    let mut found = Headers::new(&STYLE);
    let (mut types, mut has_empty_data) = ("", false);
    for (name, value) in headers {
        if found.take(name, Some(value)) {
            continue;
        }
        match name {
            TYPES => types = std::str::from_utf8(value).unwrap_or_default(),
            EMPTY_DATA => has_empty_data = true,
            _ => {}
        }
    }
    match header::mode(found.content_type.as_deref())? {
        Mode::Structured { is_bare } => {
            return header::structured(payload, Some(payload), is_bare, Departure::FormatNotNamed);
        }
        Mode::Batch => return Err(no_batch()),
        Mode::Binary if found.has_attributes => {}
        Mode::Binary if found.content_type.is_none() && header::looks_structured(payload) => {
            return header::structured(payload, Some(payload), true, Departure::NoContentType);
        }
        Mode::Binary => {
            let expected = "`ce-` headers, or the content type `application/cloudevents+json`";
            return Err(CodecError::NoEvent { expected });
        }
    }
    if found.parsed.text(Known::DataContentType).is_none()
        && let Some(text) = found.content_type.take()
    {
        found.parsed.deviates(Departure::UnprefixedContentType, Known::DataContentType.name(), 0);
        found.parsed.set(Known::DataContentType, text, 0, true);
    }
    let mut parsed = found.parsed;
    for (name, kind) in types.split(',').filter_map(|one| one.split_once(':')) {
        match kind {
            "integer" => parsed.retype_integer(name),
            "boolean" => parsed.retype_boolean(name),
            _ => {}
        }
    }
    parsed.data = (!payload.is_empty() || has_empty_data).then(|| payload.clone());
    Ok(parsed)
}

/// Neither NATS nor Kafka has batches.
pub(super) fn no_batch() -> CodecError {
    let expected = "application/cloudevents+json: there are no batches here";
    CodecError::UnsupportedMediaType { found: json::BATCH_CONTENT_TYPE.to_owned(), expected }
}
