//! An event as JetStream holds it: the CloudEvents binding to NATS ([`tidewire_core::codec::nats`]) in binary mode, and
//! the headers by which the server knows an event again.

use async_nats::HeaderMap;
use async_nats::header::HeaderName;
use tidewire_core::Envelope;
use tidewire_core::bytes::Bytes;
use tidewire_core::chrono::{DateTime, Utc};
use tidewire_core::codec::{Defaults, nats};

use crate::wire;

/// The header by which the server knows an event again.
pub(super) const MSG_ID: &str = "Nats-Msg-Id";
/// The header that keeps an event out of any other stream.
const EXPECTED_STREAM: &str = "Nats-Expected-Stream";

/// What goes to the server for one event.
pub(super) struct Encoded {
    pub headers: HeaderMap,
    /// Headers and data.
    pub size: usize,
}

/// Writes an event's headers.
pub(super) fn encode(envelope: &Envelope, stream: &str) -> Encoded {
    let mut headers = HeaderMap::new();
    let mut size = 12 + envelope.data.as_ref().map_or(0, Bytes::len);
    // Every value is of visible ASCII, as the codec promises: nothing that `HeaderValue` refuses (by a panic).
    let mut put = |name: HeaderName, length: usize, value: String| {
        size += length + value.len() + 4;
        headers.insert(name, value);
    };
    let mark = wire::mark(&envelope.source, &envelope.id);
    put(HeaderName::from_static(MSG_ID), MSG_ID.len(), format!("{:032x}", u128::from_be_bytes(mark)));
    put(HeaderName::from_static(EXPECTED_STREAM), EXPECTED_STREAM.len(), stream.to_owned());
    nats::headers(envelope, |name, value| {
        let length = name.len();
        match name {
            std::borrow::Cow::Borrowed(name) => put(HeaderName::from_static(name), length, value),
            // A name that is none for NATS is none for CloudEvents either, and refused where events come in.
            std::borrow::Cow::Owned(name) => {
                if let Ok(name) = name.parse() {
                    put(name, length, value);
                }
            }
        }
    });
    Encoded { headers, size }
}

/// Reads an event. `stored` is when the server took it: the time of an event that says none itself. What does not
/// bear the mark of our own relay is checked as if it came from outside, which it does.
pub(super) fn decode(headers: Option<&HeaderMap>, data: Bytes, stored: DateTime<Utc>) -> Result<Envelope, String> {
    let is_ours = headers.and_then(|headers| headers.get(MSG_ID)).is_some_and(|mark| mark.as_str().len() == 32);
    let every = headers.into_iter().flat_map(HeaderMap::iter);
    let pairs = every.flat_map(|(name, values)| {
        let name: &str = name.as_ref();
        values.iter().map(move |value| (name, value.as_str().as_bytes()))
    });
    let parsed = if is_ours { nats::decode_trusted(pairs, &data) } else { nats::decode(pairs, &data) };
    let parsed = parsed.map_err(|error| error.to_string())?;
    for deviation in parsed.deviations() {
        tracing::debug!(%deviation, "a foreign event is read in spite of a deviation");
    }
    let defaults = Defaults { time: Some(stored), key: None, is_keyed_by_subject: true };
    parsed.into_envelope(&defaults).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
