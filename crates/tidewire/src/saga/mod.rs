//! Sagas at run time: the runner that advances them, the participants that do their steps, and the queries
//! that show them.

mod participant;

pub use participant::{Part, Participant, Reversible};
