//! The binding to HTTP: binary, structured and batched content.

use std::borrow::Cow;

use bytes::Bytes;

use super::deviation::Departure;
use super::error::CodecError;
use super::header::{self, Headers, Mode, Style};
use super::json::{self, Element};
use super::names::Known;
use super::parsed::Parsed;
use super::percent;
use super::place::Place;
use crate::envelope::Envelope;

const STYLE: Style = Style { prefix: "ce-", other: None, is_percent_encoded: true, ignores_case: true };

/// An event, or a batch, as the headers and the body of a request or an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Names in lower case, values of visible ASCII (and spaces in `content-type`): none can break out of its line.
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// The body.
    pub body: Bytes,
}

/// What a request or an answer holds.
#[derive(Debug)]
pub enum Content<'a> {
    /// One event, in binary or structured mode.
    One(Box<Parsed<'a>>),
    /// A batch, each event for itself.
    Batch(Vec<Element<'a>>),
}

/// Writes an event in binary mode: attributes are headers, data is the body, byte for byte.
///
/// HTTP cannot say everything: extensions that are no text become text, data of no length becomes none, and data
/// without a media type is said to be JSON, which it is.
///
/// # Errors
/// For an envelope that breaks a rule, and for data whose media type would make the body look like structured mode
/// ([`CodecError::Invalid`] of `datacontenttype`): write that in structured mode.
pub fn encode_binary(envelope: &Envelope) -> Result<Encoded, CodecError> {
    envelope.check()?;
    let mut headers = Vec::with_capacity(12 + envelope.extensions.len());
    let mut content_type = envelope.data.as_ref().map(|_| Cow::Borrowed("application/json"));
    header::each_known(envelope, |known, text| match known {
        Known::DataContentType => content_type = Some(text),
        _ => headers.push((Cow::Borrowed(known.names().dashed), percent::encode(&text).into_owned())),
    });
    for (name, value) in &envelope.extensions {
        headers.push((Cow::Owned(format!("ce-{name}")), percent::encode(&value.to_text()).into_owned()));
    }
    if let Some(media_type) = content_type {
        if header::is_structured(&media_type) || !header::can_stand_bare(&media_type) {
            let expected = "a media type in ASCII that is not one of structured mode";
            return Err(CodecError::invalid("datacontenttype", Place::header("content-type"), expected));
        }
        headers.push((Cow::Borrowed("content-type"), media_type.into_owned()));
    }
    Ok(Encoded { headers, body: envelope.data.clone().unwrap_or_default() })
}

/// Writes an event in structured mode: all of it is the body.
///
/// # Errors
/// For an envelope that breaks a rule.
pub fn encode_structured(envelope: &Envelope) -> Result<Encoded, CodecError> {
    Ok(structured(json::CONTENT_TYPE, json::write(envelope)?))
}

/// Writes a batch.
///
/// # Errors
/// For the first envelope that breaks a rule.
pub fn encode_batch(envelopes: &[Envelope]) -> Result<Encoded, CodecError> {
    Ok(structured(json::BATCH_CONTENT_TYPE, json::write_batch(envelopes)?))
}

fn structured(content_type: &str, body: Vec<u8>) -> Encoded {
    let headers = vec![(Cow::Borrowed("content-type"), content_type.to_owned())];
    Encoded { headers, body: Bytes::from(body) }
}

/// Reads what a request or an answer holds; the content type alone decides the mode. Data is cut out of the body, not
/// copied. A batch has at most `max_batch` events.
///
/// # Errors
/// [`CodecError::NoEvent`] for content that is none of CloudEvents; otherwise the first thing that is wrong with it.
pub fn decode<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    body: &'a Bytes,
    max_batch: usize,
) -> Result<Content<'a>, CodecError> {
    let mut found = Headers::new(&STYLE);
    for (name, value) in headers {
        found.take(name, Some(value));
    }
    match header::mode(found.content_type.as_deref())? {
        Mode::Batch => json::read_batch(body, max_batch).map(Content::Batch),
        Mode::Structured { is_bare } => {
            let parsed = header::structured(body, Some(body), is_bare, Departure::FormatNotNamed)?;
            parsed.checked().map(|parsed| Content::One(Box::new(parsed)))
        }
        Mode::Binary if !found.has_attributes => {
            Err(CodecError::NoEvent { expected: "`ce-` headers, or the content type `application/cloudevents+json`" })
        }
        Mode::Binary => {
            found.media_type_from_content_type();
            let mut parsed = found.parsed;
            parsed.data = (!body.is_empty()).then(|| body.clone());
            parsed.checked().map(|parsed| Content::One(Box::new(parsed)))
        }
    }
}

/// Reads the one event that an answer holds; `None` for an answer that holds none.
///
/// # Errors
/// What is wrong with the event; [`CodecError::Malformed`] for a batch of another number than one.
pub fn decode_one<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    body: &'a Bytes,
) -> Result<Option<Parsed<'a>>, CodecError> {
    match decode(headers, body, 1) {
        Ok(Content::One(parsed)) => Ok(Some(*parsed)),
        Ok(Content::Batch(mut batch)) => match batch.pop() {
            Some(parsed) => parsed.map(Some),
            None => Ok(None),
        },
        Err(CodecError::NoEvent { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
