//! Sagas at run time: the runner that advances them, the participants that carry out their steps, the queries that
//! show them, and the desk at which operators start, signal and repair them.

mod desk;
mod line;
mod participant;
mod query;
mod runner;
mod stored;
mod survey;
#[cfg(test)]
mod tests;
#[cfg(any(test, feature = "testing"))]
pub mod trial;

pub use desk::{By, Decision, DeskError, SagaDesk, Signalled, Started};
pub use participant::{Part, Participant, Reversible};
pub use query::{EntryView, SagaFilter, SagaPage, SagaQuery, SagaSummary, SagaView, StepView};
pub use runner::{NotOlder, SagaRunner};
pub use survey::Survey;
/// The definition of sagas.
pub use tidewire_core::saga::*;
