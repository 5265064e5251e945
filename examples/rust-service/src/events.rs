//! What this service tells others.

use serde::{Deserialize, Serialize};
use tidewire::{Event, EventType, Key};

/// Somebody joined the programme.
#[derive(Serialize, Deserialize)]
pub struct MemberJoined {
    pub member: String,
}

impl Event for MemberJoined {
    const TYPE: EventType = EventType::new("member.joined", 1);

    fn key(&self) -> Key {
        Key::of("member", &self.member)
    }
}

/// A member has some points more.
#[derive(Serialize, Deserialize)]
pub struct PointsGranted {
    pub member: String,
    pub points: u32,
}

impl Event for PointsGranted {
    const TYPE: EventType = EventType::new("member.points_granted", 1);

    fn key(&self) -> Key {
        Key::of("member", &self.member)
    }
}
