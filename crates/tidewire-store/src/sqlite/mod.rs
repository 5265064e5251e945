//! The log on SQLite: one directory, one process, one writer, durable through power loss.
//!
//! Writes go through one task that commits in groups; reads through a few connections of
//! their own. Time is the clock the store was opened with.

mod codec;
mod documents;
mod error;
mod inbox;
mod leases;
mod lock;
mod log;
mod lookup;
mod migrate;
mod op;
mod open;
mod options;
mod parking;
mod plan;
mod retire;
mod schedule;
mod snapshots;
mod sql;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod upkeep;
mod write;
mod writer;

pub use crate::group::{MAX_COMMIT_BYTES, MAX_COMMIT_ROWS};
pub use options::SqliteOptions;
pub use store::SqliteStore;
