//! The log: commit, inbox, parked keys, timers, leases, documents, snapshots.
//!
//! One module per backend, each implementing every port of [`tidewire_core::store`] on one database:
//!
//! - `sqlite`: one directory on one machine, one process at a time, durable through power loss.
//! - `postgres`: a database that any number of processes share, PostgreSQL 15 or later.
//!
//! With the feature `conformance`, the module of that name holds the promises of the ports as cases that any backend
//! can be run against.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod group;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod retired;
#[cfg(feature = "sqlite")]
pub mod sqlite;

#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use group::{MAX_COMMIT_BYTES, MAX_COMMIT_ROWS};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresOptions, PostgresStore};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteOptions, SqliteStore};
