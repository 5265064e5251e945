//! The brokers behind one port ([`tidewire_core::Broker`]).
//!
//! - [`embedded`]: one process, one SQLite file, nothing to install.
//! - [`jetstream`]: NATS JetStream, any number of processes (feature `nats`, on by default).
//! - `kafka` (feature `kafka`): Apache Kafka, one topic, partitions by bucket of the key.
//!
//! Every backend carries the same bytes ([`wire`]) and must pass the same suite (`conformance`).

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod embedded;
// Each of the two needs nearly all of it.
#[cfg_attr(not(all(feature = "nats", feature = "kafka")), allow(dead_code))]
#[cfg(any(feature = "nats", feature = "kafka"))]
mod hand;
#[cfg(feature = "nats")]
pub mod jetstream;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod wire;

pub use embedded::{EmbeddedBroker, EmbeddedOptions};
#[cfg(feature = "nats")]
pub use jetstream::{JetStreamBroker, JetStreamOptions};
#[cfg(feature = "kafka")]
pub use kafka::{KafkaBroker, KafkaOptions};
