//! The brokers behind one port ([`tidewire_core::Broker`]).
//!
//! - [`embedded`]: one process, one SQLite file, nothing to install.
//!
//! Every backend carries the same bytes ([`wire`]) and must pass the same suite (`conformance`).

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod embedded;
#[cfg(feature = "nats")]
pub mod jetstream;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod wire;

pub use embedded::{EmbeddedBroker, EmbeddedOptions};
