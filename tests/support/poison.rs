//! An event that may be poison.

use serde::{Deserialize, Serialize};
use tidewire::{Event, EventType, Key};

/// How often an event may be started by the process that its handler kills.
pub const MAX_ATTEMPTS: u32 = 3;
/// That handler's consumer.
pub const CONSUMER: &str = "tests.poisoned";

/// The event, which is poison when it says so.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Dose {
    pub key: String,
    pub n: u64,
    pub deadly: bool,
}

impl Event for Dose {
    const TYPE: EventType = EventType::new("test.dose", 1);
    fn key(&self) -> Key {
        Key::of("dose", &self.key)
    }
}
