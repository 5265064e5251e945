//! The JSON format: one event, and a batch of them. Data that is JSON is kept and written byte for byte.

mod read;
mod write;

use bytes::Bytes;
use serde::de::DeserializeSeed;

use super::deviation::Departure;
use super::error::CodecError;
use super::parsed::Parsed;
use super::place::Place;
use crate::envelope::Envelope;

pub(super) use read::{Input, parse};
pub(crate) use write::timestamp;
pub use write::write_trusted;

/// The content type of one event.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";
/// The content type of a batch.
pub const BATCH_CONTENT_TYPE: &str = "application/cloudevents-batch+json";

/// What [`read_batch`] calls the limit it was given, in [`CodecError::Limit`].
pub const EVENTS_OF_A_BATCH: &str = "events of a batch";

/// Reads one event. Its data is cut out of `json`, not copied.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn read(json: &Bytes) -> Result<Parsed<'_>, CodecError> {
    whole(Input { text: json, shared: Some(json) })?.checked()
}

/// [`read`] of text that is borrowed: data is copied.
pub fn read_slice(json: &[u8]) -> Result<Parsed<'_>, CodecError> {
    whole(Input { text: json, shared: None })?.checked()
}

/// Reads one event that this house wrote itself and whose checksum held: no rule is looked at.
pub fn read_trusted(json: &[u8]) -> Result<Parsed<'_>, CodecError> {
    whole(Input { text: json, shared: None })
}

/// Reads one event, and answers everything that is wrong with it beside what could be read.
///
/// # Errors
/// [`CodecError::Malformed`] for what is no JSON object.
pub fn survey(json: &[u8]) -> Result<(Parsed<'_>, Vec<CodecError>), CodecError> {
    survey_part(json, 0, json.len())
}

/// [`survey`] of the bytes `from..to` of a text, with places in the whole.
pub fn survey_part(text: &[u8], from: usize, to: usize) -> Result<(Parsed<'_>, Vec<CodecError>), CodecError> {
    let input = Input { text, shared: None };
    let part = text.get(from..to).unwrap_or_default();
    let (part, is_marked) = input.part(part)?;
    let mut parsed = parse(input, part)?;
    if is_marked {
        parsed.deviates(Departure::ByteOrderMark, "data", from);
    }
    parsed.check();
    let faults = std::mem::take(&mut parsed.faults);
    Ok((parsed, faults))
}

pub(super) fn whole(input: Input<'_>) -> Result<Parsed<'_>, CodecError> {
    let (text, is_marked) = input.part(input.text)?;
    let mut parsed = parse(input, text)?;
    if is_marked {
        parsed.deviates(Departure::ByteOrderMark, "data", 0);
    }
    Ok(parsed)
}

/// One event of a batch, or why it is none.
pub type Element<'a> = Result<Parsed<'a>, CodecError>;

/// Reads a batch, each event for itself: one that is refused says nothing of the others.
///
/// # Errors
/// What is wrong with the text as a whole; [`CodecError::Limit`] beyond `limit` events.
pub fn read_batch(json: &Bytes, limit: usize) -> Result<Vec<Element<'_>>, CodecError> {
    let input = Input { text: json, shared: Some(json) };
    let (text, _) = input.part(json)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let found = read::Elements { limit }.deserialize(&mut deserializer);
    let parts = found.and_then(|parts| deserializer.end().map(|()| parts)).map_err(|error| {
        let reason = error.to_string();
        match reason.starts_with("too many") {
            true => {
                let place = Place::in_text(json, 0);
                CodecError::Limit { what: EVENTS_OF_A_BATCH.into(), place, found: limit + 1, limit }
            }
            false => input.malformed(text, &error, "an array of CloudEvents"),
        }
    })?;
    Ok(parts.into_iter().map(|part| parse(input, part.get())?.checked()).collect())
}

/// Writes one event: on one line unless its data holds line breaks. Data that is JSON stands as it is, without the white
/// space around it; all other data goes as base64.
///
/// # Errors
/// [`CodecError::Invalid`] and others for an envelope that breaks a rule ([`Envelope::check`]).
pub fn write(envelope: &Envelope) -> Result<Vec<u8>, CodecError> {
    envelope.check()?;
    Ok(write_unchecked(envelope))
}

/// [`write`] for an event of the log, which was checked when it came in.
pub fn write_unchecked(envelope: &Envelope) -> Vec<u8> {
    write::write_readable(envelope)
}

/// Writes a batch.
///
/// # Errors
/// As [`write`], for the first event that breaks a rule.
pub fn write_batch(envelopes: &[Envelope]) -> Result<Vec<u8>, CodecError> {
    let mut out = vec![b'['];
    for (index, envelope) in envelopes.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend(write(envelope)?);
    }
    out.push(b']');
    Ok(out)
}
