//! Sagas: long workflows as data and a pure reducer.
//!
//! A [`Saga`] is a [`Plan`] of [`Step`]s: a request each, the replies it may have, and its undo. A checked
//! [`Definition`] moves the [`SagaLog`] of one instance by one [`Input`] at a time; whatever comes in, in whatever
//! order and however often, every instance ends completed, undone, or stuck with a reason.

pub mod advance;
pub mod definition;
pub mod history;
pub mod log;
pub mod plan;
mod reference;
pub mod stall;
pub mod step;
#[cfg(test)]
mod tests;

pub use advance::{Advanced, Asked, Awaited, Ignored, Input, Order, Outlook, Refused, TimerWish, UNDO_ASKED, Verb};
pub use definition::{Answers, Definition, InvalidDefinition, Saga};
pub use log::{SagaLog, Status, StepLog, StepStatus};
pub use plan::{Plan, Steps, Together};
pub use reference::{Direction, Failure, SAGA_EPOCH, SAGA_ID, SAGA_STEP, SagaRef, saga_id};
pub use step::{Policy, Step, StepKind};
