//! Replaying the log: planned without changing anything, applied only as planned, with effects muted; and rebuilding
//! projections beside the live ones.
//!
//! - A [`Plan`] names a part of the log with both ends fixed and a [`Target`], and says what applying it would do. It is
//!   known by a hash of everything that decides that.
//! - Applying it makes a [`Job`], a document that says how far it has come. Each batch is one commit: what the handler
//!   wrote, and the new place. So it goes on exactly where it was, after a crash and in another process.
//! - Handlers run in [muted units](tidewire_core::Unit::muted) on a store that refuses commits: whatever they ask for
//!   beyond documents is counted and dropped.
//! - A projection is rebuilt into a new generation: other collections, which the names that services use are pointed at
//!   in one commit ([`Generations`]), while nothing live is handled (under the projection's lease).
//!
//! What operators see of it is in `docs/replay.md`.

mod apply;
mod compare;
mod desk;
pub mod differential;
mod domain;
mod driver;
mod elsewhere;
mod error;
mod generations;
mod hand_on;
mod job;
mod plan;
mod planner;
mod projections;
mod rebuild;
mod record;
mod runner;
mod source;
mod tenure;
#[cfg(test)]
mod tests;
mod view;

pub use desk::{Asked, Replays};
pub use domain::Domains;
pub use elsewhere::Elsewhere;
pub use error::ReplayError;
pub use generations::{Generations, MAX_STALE};
pub use job::{Compared, Counts, Difference, Job, Phase, State, Trouble};
pub use plan::{Plan, Report, Request, Target, Terms, Trial};
pub use projections::{ProjectionRow, RebuildRequest};
pub use record::{Kept, Record};
pub use source::{Source, Wanted};
pub(crate) use tenure::Tenure;
