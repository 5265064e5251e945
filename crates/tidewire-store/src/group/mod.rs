//! Group commit, as far as it is the same on every backend: many commits share a transaction without sharing their
//! fate. A backend looks up what a group mentions ([`Known`]), has each commit decided in memory ([`Plan`]) and writes
//! what came of it ([`Writes`]), one statement per table.

mod attributes;
mod caught_up;
mod known;
mod moment;
mod plan;
mod prefix;
mod prepared;
mod state;

pub(crate) use attributes::Attributes;
pub(crate) use caught_up::CaughtUp;
pub(crate) use known::{Known, MarkKey, Pair};
pub(crate) use moment::{from_nanos, nanos};
pub(crate) use plan::{ParkRow, Plan, Writes};
pub(crate) use prefix::successor;
pub(crate) use prepared::{Columns, Prepared};
pub use prepared::{MAX_COMMIT_BYTES, MAX_COMMIT_ROWS};
pub(crate) use state::{Lease, State, Stream, Streams};
