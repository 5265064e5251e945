//! Sagas at run time: the runner that advances them, the participants that carry out their steps, and the
//! queries that show them.

mod participant;
mod query;
mod runner;
mod stored;
#[cfg(test)]
mod tests;

pub use participant::{Part, Participant, Reversible};
pub use query::{SagaFilter, SagaPage, SagaQuery, SagaSummary, SagaView, StepView};
pub use runner::SagaRunner;
/// The definition of sagas.
pub use tidewire_core::saga::*;
