//! The JSON format: one event, and a batch of them. Data that is JSON is kept and written byte for byte.

mod read;
mod write;

use bytes::Bytes;
use serde::de::DeserializeSeed;
use serde_json::value::RawValue;

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
    whole(Input::new(json, Some(json)))?.checked()
}

/// [`read`] of text that is borrowed: data is copied.
pub fn read_slice(json: &[u8]) -> Result<Parsed<'_>, CodecError> {
    whole(Input::new(json, None))?.checked()
}

/// Reads one event that this house wrote itself and whose checksum held: no rule is looked at.
pub fn read_trusted(json: &[u8]) -> Result<Parsed<'_>, CodecError> {
    whole(Input::new(json, None))
}

/// Reads one event, and answers everything that is wrong with it (at most [`MAX_NOTED`](super::MAX_NOTED) things) beside
/// what could be read.
///
/// # Errors
/// [`CodecError::Malformed`] for what is no JSON object.
pub fn survey(json: &[u8]) -> Result<Surveyed<'_>, CodecError> {
    Surveyor::new(json).part(0, json.len())
}

/// What could be read of an event, and what is wrong with it.
pub type Surveyed<'a> = (Parsed<'a>, Vec<CodecError>);

/// Surveys the events of a long text one after the other, with places in the whole.
pub struct Surveyor<'a> {
    input: Input<'a>,
}

impl<'a> Surveyor<'a> {
    /// At the beginning of a text.
    pub fn new(text: &'a [u8]) -> Self {
        Self { input: Input::new(text, None) }
    }

    /// [`survey`] of the bytes `from..to`. Parts are asked for in the order they have in the text.
    ///
    /// # Errors
    /// As [`survey`].
    pub fn part(&mut self, from: usize, to: usize) -> Result<Surveyed<'a>, CodecError> {
        let part = self.input.text.get(from..to).unwrap_or_default();
        self.input = self.input.from(part);
        let (text, is_marked) = self.input.part(part)?;
        let mut parsed = parse(self.input, text)?;
        if is_marked {
            parsed.deviates(Departure::ByteOrderMark, "data", from);
        }
        parsed.check();
        let faults = std::mem::take(&mut parsed.faults);
        Ok((parsed, faults))
    }
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
    let mut input = Input::new(json, Some(json));
    let (text, _) = input.part(json)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let found = read::Elements { limit }.deserialize(&mut deserializer);
    let parts = found.and_then(|parts| deserializer.end().map(|()| parts)).map_err(|error| {
        let reason = error.to_string();
        match reason.starts_with("too many") {
            true => CodecError::Limit { what: EVENTS_OF_A_BATCH.into(), place: Place::Event, found: limit + 1, limit },
            false => input.malformed(text, &error, "an array of CloudEvents"),
        }
    })?;
    let texts = parts.into_iter().map(RawValue::get);
    let read = texts.map(|part| {
        input = input.from(part.as_bytes());
        parse(input, part)?.checked()
    });
    Ok(read.collect())
}

/// Writes one event: on one line unless its data holds line breaks. Data that is JSON stands as it is, without the white
/// space around it, and text as a string; all other data goes as base64.
///
/// # Errors
/// [`CodecError::Invalid`] and others for an envelope that breaks a rule ([`Envelope::check`]).
pub fn write(envelope: &Envelope) -> Result<Vec<u8>, CodecError> {
    envelope.check()?;
    Ok(write_unchecked(envelope))
}

/// [`write()`] for an event of the log, which was checked when it came in.
pub fn write_unchecked(envelope: &Envelope) -> Vec<u8> {
    write::write_readable(envelope)
}

/// Writes a batch.
///
/// # Errors
/// As [`write()`], for the first event that breaks a rule.
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
