//! The ports a process runs on.

use std::sync::Arc;

use tidewire_core::{Broker, Clock, Store};

/// The three things every loop and service stands on. Cheap to clone.
#[derive(Clone)]
pub struct Ports {
    /// The log and all that is committed with it.
    pub store: Arc<dyn Store>,
    /// What carries events to consumers.
    pub broker: Arc<dyn Broker>,
    /// Time, ids and randomness.
    pub clock: Arc<dyn Clock>,
}
