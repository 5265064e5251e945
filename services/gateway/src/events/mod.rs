//! Events in and out: `POST /v1/events`, the log as a list, one event, its causes and effects, the live tail.

mod accept;
mod admission;
mod check;
mod docs;
mod filter;
mod parse;
mod read;
mod stream;
mod why;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use serde::Serialize;
use tidewire::operate::Operator;
use tidewire::{Envelope, Ports, Position, Recorded};
use tokio::sync::Semaphore;

use crate::contracts::Contracts;

pub use admission::admission;
pub(crate) use docs::docs;

/// The inbox under which accepted events are marked, so that one sent twice is taken once.
pub const CONSUMER: &str = "gateway.events";

/// Live streams at once: each holds a connection and reads the log on its own.
const MAX_STREAMS: usize = 256;

/// What the routes share.
#[derive(Clone)]
pub(crate) struct Events {
    ports: Ports,
    contracts: Arc<Contracts>,
    streams: Arc<Semaphore>,
}

pub(crate) fn routes(ports: &Ports, contracts: Arc<Contracts>) -> Router {
    let events = Events { ports: ports.clone(), contracts, streams: Arc::new(Semaphore::new(MAX_STREAMS)) };
    Router::new()
        .route("/v1/events", get(read::list).post(accept::accept))
        .route("/v1/events/stream", get(stream::stream))
        .route("/v1/events/{id}", get(read::show))
        .with_state(events)
}

/// What became of an event is told by whoever knows the consumers.
pub(crate) fn why_routes(operator: Operator) -> Router {
    Router::new().route("/v1/events/{id}/why", get(why::why)).with_state(operator)
}

/// An event of the log, as lists show it.
#[derive(Serialize)]
struct Shown {
    position: Position,
    event: Envelope,
}

impl From<Recorded> for Shown {
    fn from(recorded: Recorded) -> Self {
        Self { position: recorded.position, event: recorded.envelope }
    }
}
