//! Sagas: long workflows as data and a pure reducer.

mod reference;

pub use reference::{Direction, Failure, SAGA_EPOCH, SAGA_ID, SAGA_STEP, SagaRef, saga_id};
