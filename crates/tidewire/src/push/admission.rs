//! What an endpoint's answer must be to enter the log.

use bytes::Bytes;
use http::HeaderMap;
use tidewire_core::{Envelope, EventType};

/// The gate of the log for events from outside, as the edge keeps it: what it admits for a client, it admits for an
/// endpoint's answer.
pub trait Admission: Send + Sync {
    /// Every type there is, at its newest version.
    fn types(&self) -> Vec<EventType>;

    /// The events in an HTTP body: binary, structured, or a batch. Checked against the catalogue, each with its key.
    /// `key` is what an event is kept in order by that names no key itself and whose type knows none.
    fn admit(&self, headers: &HeaderMap, body: Bytes, key: &str) -> Result<Vec<Envelope>, Refusal>;
}

/// Why an event may not enter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refusal {
    /// The code that a client would get.
    pub code: String,
    /// For people.
    pub detail: String,
}
