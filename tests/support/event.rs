//! Events that only tests know.

use serde::{Deserialize, Serialize};
use tidewire::{Draft, Envelope, Event, EventType, Key, Ports, event_set};

/// Something was counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// Whose counter.
    pub key: String,
    /// Which number.
    pub n: u64,
}

impl Event for Counted {
    const TYPE: EventType = EventType::new("test.counted", 1);
    fn key(&self) -> Key {
        Key::of("counter", &self.key)
    }
}

event_set! {
    /// What counters do.
    pub enum Counting { Counted(Counted) }
}

/// A sealed event, ready to be appended.
pub fn counted(ports: &Ports, key: &str, n: u64) -> Envelope {
    let draft = Draft::of(&Counted { key: key.into(), n }).expect("a draft");
    draft.seal(ports.clock.as_ref(), "/tests", None)
}
