//! Parts of different types in one list.

use async_trait::async_trait;
use tidewire_core::saga::{Direction, Failure};
use tidewire_core::{Context, Draft, Envelope, Event, EventType, HandlerError, SchemaError};

use super::part::{Part, Reversible};

/// One direction of one part, without its types.
#[async_trait]
pub(super) trait Duty: Send + Sync {
    fn request(&self) -> EventType;
    fn direction(&self) -> Direction;
    async fn run(&self, request: &Envelope, cx: &mut Context<'_>) -> Result<Draft, HandlerError>;
    fn failed(&self, request: &Envelope, failure: &Failure) -> Result<Option<Draft>, SchemaError>;
}

pub(super) struct Forward<P>(pub(super) std::sync::Arc<P>);

#[async_trait]
impl<P: Part> Duty for Forward<P> {
    fn request(&self) -> EventType {
        P::Request::TYPE
    }

    fn direction(&self) -> Direction {
        Direction::Do
    }

    async fn run(&self, request: &Envelope, cx: &mut Context<'_>) -> Result<Draft, HandlerError> {
        let request = P::Request::decode(request)?;
        Ok(Draft::of(&self.0.perform(&request, cx).await?)?)
    }

    fn failed(&self, request: &Envelope, failure: &Failure) -> Result<Option<Draft>, SchemaError> {
        let request = P::Request::decode(request)?;
        Draft::of(&self.0.failed(&request, failure)).map(Some)
    }
}

pub(super) struct Backward<P>(pub(super) std::sync::Arc<P>);

#[async_trait]
impl<P: Reversible> Duty for Backward<P> {
    fn request(&self) -> EventType {
        P::UndoRequest::TYPE
    }

    fn direction(&self) -> Direction {
        Direction::Undo
    }

    async fn run(&self, request: &Envelope, cx: &mut Context<'_>) -> Result<Draft, HandlerError> {
        let request = P::UndoRequest::decode(request)?;
        Ok(Draft::of(&self.0.undo(&request, cx).await?)?)
    }

    fn failed(&self, request: &Envelope, failure: &Failure) -> Result<Option<Draft>, SchemaError> {
        self.0.undo_failed(&P::UndoRequest::decode(request)?, failure)
    }
}
