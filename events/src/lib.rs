//! The catalogue: every domain event as a Rust type, with its key, version and upcast.
//!
//! A file per domain. Each ends with one `events!` block, which is all there is to registering a type: it
//! gives the type its name, version and key, and puts it into the [`catalogue`]. To add an event, write its
//! struct, add one entry to the block, and run `cargo run -p events --example freeze`, which writes its
//! schema and its fixture.
//!
//! A published version never changes: consumers in other languages hold its schema. The tests of this crate
//! compare what the types say with `schemas/` and with the digests in `schemas/published.lock`; to change a
//! shape, raise the version and add an upcast from the last one.

pub mod activity;
mod catalogue;
pub mod document;
pub mod frozen;
pub mod limits;
pub mod operator;
pub mod saga;
pub mod user;
mod user_id;

pub use activity::ActivityTracked;
pub use catalogue::{Entry, catalogue, entry, schema};
pub use document::*;
pub use operator::OperatorActed;
pub use saga::SagaStuck;
pub use user::{UserFollowed, UserRegistered, UserUnfollowed};
pub use user_id::{InvalidUserId, UserId};
