//! The log: commit, inbox, parked keys, timers, leases, documents, snapshots.
//!
//! One module per backend, each implementing every port of [`tidewire_core::store`] on one database:
//!
//! - `sqlite`: one directory on one machine, one process at a time, durable through power loss.
//!
//! With the feature `conformance`, the module of that name holds the promises of the ports as cases that any backend
//! can be run against.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;

#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteOptions, SqliteStore};
