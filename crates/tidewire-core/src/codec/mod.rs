//! CloudEvents 1.0 on every wire: the JSON format and its batches, and the bindings to HTTP, NATS and Kafka.
//!
//! Writers are strict: what they write has no deviation, and an envelope that breaks a rule is not written. Readers are
//! tolerant, and name what they tolerate: [`Parsed::deviations`] says in what an event departs from the specification.
//! Who has to be strict (the edge) asks [`Parsed::accept_only`]. What could be understood in two ways is nobody's to
//! tolerate: it is refused with a [`CodecError`] that says which attribute, where, and what should be there.
//!
//! ```
//! use tidewire_core::bytes::Bytes;
//! use tidewire_core::codec::{Departure, Defaults, http};
//!
//! let headers = [
//!     ("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "user.followed.v1"),
//!     ("ce-time", "2026-01-31T12:00:00Z"), ("ce-subject", "two words"), ("content-type", "application/json"),
//! ];
//! let headers = headers.map(|(name, value)| (name, value.as_bytes()));
//! let body = Bytes::from_static(br#"{"price": 1.10}"#);
//! let parsed = http::decode_one(headers, &body)?.expect("an event");
//! assert_eq!(parsed.deviations()[0].kind, Departure::NotPercentEncoded);
//! let envelope = parsed.into_envelope(&Defaults { is_keyed_by_subject: true, ..Defaults::default() })?;
//! assert_eq!(envelope.key.as_str(), "two words");
//! assert_eq!(envelope.data.as_deref(), Some(&br#"{"price": 1.10}"#[..]));
//! # Ok::<(), tidewire_core::codec::CodecError>(())
//! ```

mod base64;
mod deviation;
mod error;
mod header;
pub mod http;
pub mod json;
pub mod kafka;
mod names;
pub mod nats;
mod parsed;
pub mod percent;
mod place;
mod rules;
#[cfg(test)]
mod tests;

pub use deviation::{Departure, Deviation};
pub use error::CodecError;
pub use header::MAX_HEADER_BYTES;
pub use parsed::{Defaults, MAX_NOTED, Parsed};
pub use place::Place;

/// The value of an attribute.
pub use crate::cesql::Value;
