//! The connection that events are published over, and the next one when it is lost.

use std::sync::Arc;

use async_nats::{Client, Message, Subscriber};
use futures::StreamExt;
use futures::future::BoxFuture;
use tidewire_core::BrokerError;

use super::super::link::Link;

/// A connection, and where its answers arrive.
pub(super) struct Wire {
    pub(super) client: Client,
    pub(super) inbox: String,
    replies: Subscriber,
}

impl Wire {
    pub(super) async fn open(client: Client) -> Result<Self, BrokerError> {
        let inbox = client.new_inbox();
        let replies = client.subscribe(format!("{inbox}.>")).await;
        let replies = replies.map_err(|error| BrokerError::Unavailable(error.to_string()))?;
        Ok(Self { client, inbox, replies })
    }
}

/// The way to the server.
pub(super) enum Lane {
    Open(Wire),
    Opening(BoxFuture<'static, Wire>),
}

/// What comes of it next.
pub(super) enum Sign {
    Opened(Wire),
    Reply(Message),
    Lost,
}

impl Lane {
    pub(super) fn opening(link: Arc<Link>) -> Self {
        Self::Opening(Box::pin(async move {
            loop {
                if let Ok(wire) = Wire::open(link.lane_at_last().await).await {
                    return wire;
                }
            }
        }))
    }

    /// Safe to cancel.
    pub(super) async fn next(&mut self) -> Sign {
        match self {
            Self::Open(wire) => wire.replies.next().await.map_or(Sign::Lost, Sign::Reply),
            Self::Opening(opening) => Sign::Opened(opening.await),
        }
    }
}
