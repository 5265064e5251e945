//! The binding to Kafka: binary mode out, binary and structured mode in.
//!
//! Every attribute is a header `ce_<name>` (UTF-8, not percent-encoded), the media type of the data the header
//! `content-type`, the data the value. Headers hold text only. What text cannot tell (that a media type was not given,
//! that an extension is a number) is in one more header that foreign readers pass over.

use std::borrow::Cow;

use bytes::Bytes;

use super::deviation::Departure;
use super::error::CodecError;
use super::header::{self, Headers, Mode, Style};
use super::json;
use super::names::Known;
use super::nats::no_batch;
use super::parsed::Parsed;
use crate::envelope::Envelope;

const STYLE: Style = Style { prefix: "ce_", other: Some("ce-"), is_percent_encoded: false, ignores_case: false };
/// The header of what text cannot tell: `type` for a media type that was not given, `i:name` and `b:name` for
/// extensions that are integers and booleans, separated by commas.
const HINTS: &str = "tidewire-hints";
const CONTENT_TYPE: &str = "content-type";
/// What an event without a media type holds.
const IMPLIED: &str = "application/json";

/// A record's headers and value. Its key is the writer's choice; by the specification `partitionkey`, if any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Names and values.
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// The value; none for an event without data in binary mode.
    pub value: Option<Bytes>,
}

/// Writes an event's headers in binary mode, for an event of the log, which was checked when it came in.
pub fn headers(envelope: &Envelope, mut put: impl FnMut(&str, &str)) {
    let media_type = envelope.datacontenttype.as_deref();
    // As `content-type` it would make the record look like structured mode.
    let is_misleading = media_type.is_some_and(header::is_structured);
    if !is_misleading {
        put(CONTENT_TYPE, media_type.unwrap_or(IMPLIED));
    }
    header::each_known(envelope, |known, text| {
        if known != Known::DataContentType || is_misleading {
            put(known.names().underscored, &text);
        }
    });
    for (name, value) in &envelope.extensions {
        put(&format!("ce_{name}"), &value.to_text());
    }
    let implied = media_type.is_none().then_some("type").into_iter().map(str::to_owned);
    let typed = header::typed(envelope).map(|(name, kind)| format!("{}:{name}", &kind[..1]));
    let hints: Vec<String> = implied.chain(typed).collect();
    if !hints.is_empty() {
        put(HINTS, &hints.join(","));
    }
}

/// Writes an event in binary mode.
///
/// # Errors
/// For an envelope that breaks a rule.
pub fn encode_binary(envelope: &Envelope) -> Result<Encoded, CodecError> {
    envelope.check()?;
    let mut written = Vec::with_capacity(16 + envelope.extensions.len());
    headers(envelope, |name, value| written.push((Cow::Owned(name.to_owned()), value.to_owned())));
    Ok(Encoded { headers: written, value: envelope.data.clone() })
}

/// Writes an event in structured mode.
///
/// # Errors
/// For an envelope that breaks a rule.
pub fn encode_structured(envelope: &Envelope) -> Result<Encoded, CodecError> {
    let headers = vec![(Cow::Borrowed(CONTENT_TYPE), json::CONTENT_TYPE.to_owned())];
    Ok(Encoded { headers, value: Some(Bytes::from(json::write(envelope)?)) })
}

/// Reads an event in either mode. Its data is copied: a record is borrowed from the client's buffers.
///
/// # Errors
/// [`CodecError::NoEvent`] for what is in neither mode; otherwise the first thing that is wrong with it.
pub fn decode<'a>(
    headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    value: Option<&'a [u8]>,
) -> Result<Parsed<'a>, CodecError> {
    parse(headers, value)?.checked()
}

fn parse<'a>(
    headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    value: Option<&'a [u8]>,
) -> Result<Parsed<'a>, CodecError> {
    let mut found = Headers::new(&STYLE);
    let mut hints = "";
    for (name, value) in headers {
        if !found.take(name, value) && name == HINTS {
            hints = value.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default();
        }
    }
    let body = value.unwrap_or_default();
    match header::mode(found.content_type.as_deref())? {
        Mode::Structured { is_bare } => {
            return header::structured(body, None, is_bare, Departure::FormatNotNamed);
        }
        Mode::Batch => return Err(no_batch()),
        Mode::Binary if found.has_attributes => {}
        Mode::Binary if found.content_type.is_none() && header::looks_structured(body) => {
            return header::structured(body, None, true, Departure::NoContentType);
        }
        Mode::Binary => {
            let expected = "`ce_` headers, or the content type `application/cloudevents+json`";
            return Err(CodecError::NoEvent { expected });
        }
    }
    let mut parsed = {
        let mut is_implied = false;
        for hint in hints.split(',') {
            match hint.split_once(':') {
                None => is_implied |= hint == "type",
                Some(("i", name)) => found.parsed.retype_integer(name),
                Some(("b", name)) => found.parsed.retype_boolean(name),
                Some(_) => {}
            }
        }
        if !is_implied {
            found.media_type_from_content_type();
        }
        found.parsed
    };
    parsed.data = value.map(Bytes::copy_from_slice);
    Ok(parsed)
}
