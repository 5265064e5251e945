//! Aggregates: the rules of one key.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::EventSet;

/// The state and the rules of one key. Pure: all rules are in [`decide`](Aggregate::decide), none in
/// [`apply`](Aggregate::apply), and neither knows of storage. Rebuilt from its stream for every command, or
/// from a snapshot and the events after it.
pub trait Aggregate: Default + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Names its snapshots.
    const NAME: &'static str;
    /// To be raised when the shape or meaning of the state changes: older snapshots are then ignored.
    const REVISION: u16 = 1;
    /// What can be asked of it.
    type Command: Send + Sync;
    /// What can happen to it.
    type Event: EventSet;
    /// Why it may refuse.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Applies every rule: what happens if `command` is carried out now. An empty answer means that nothing
    /// needs to happen, which makes commands repeatable.
    fn decide(&self, command: &Self::Command) -> Result<Vec<Self::Event>, Self::Error>;

    /// Takes in what happened. Never refuses.
    fn apply(&mut self, event: Self::Event);
}
