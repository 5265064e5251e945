//! Welcomes who joined: a handler.

use serde::{Deserialize, Serialize};
use tidewire::{Consumer, Context, Envelope, Event, Handler, HandlerError, async_trait};

use crate::events::{MemberJoined, PointsGranted};

/// What somebody gets for joining.
const WELCOME: u32 = 100;

/// The documents in which points are kept, by member.
pub const POINTS: &str = "loyalty-points";

/// The points of a member.
#[derive(Serialize, Deserialize, Default)]
pub struct Points {
    pub points: u32,
}

pub struct Welcome;

#[async_trait]
impl Handler for Welcome {
    fn consumer(&self) -> Consumer {
        Consumer::new("loyalty.welcome", vec![MemberJoined::TYPE])
    }

    /// The points, the event and the mark that says that this was done are one transaction: whatever is delivered twice,
    /// and wherever the process dies, points are granted once.
    async fn handle(&self, event: &Envelope, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        let joined = MemberJoined::decode(event)?;
        let before = cx.get::<Points>(POINTS, &joined.member).await?.unwrap_or_default();
        cx.put(POINTS, &joined.member, &Points { points: before.points + WELCOME })?;
        cx.emit(&PointsGranted { member: joined.member, points: WELCOME })?;
        Ok(())
    }
}
