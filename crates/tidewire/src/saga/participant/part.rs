//! What a service contributes to a saga's step.

use async_trait::async_trait;
use tidewire_core::saga::Failure;
use tidewire_core::{Context, Draft, Event, HandlerError, SchemaError};

/// One step of a saga, as the service sees it that carries it out: a request comes in, one of two replies
/// goes out.
///
/// Documents written and events emitted through the context become true together with the reply. Work outside
/// the database (an object, a search index) happens before that commit and may therefore happen twice for the
/// same request: name what is written there after the request's own data, so that a second run writes the same.
/// A part that answers with an error must leave nothing behind outside: a failed step is not undone.
#[async_trait]
pub trait Part: Send + Sync + 'static {
    /// What asks for it.
    type Request: Event;
    /// The reply when it happened.
    type Done: Event;
    /// The reply when it did not and never will.
    type Failed: Event;

    /// Does the work. [`HandlerError::Permanent`] becomes the failed reply at once, a transient error after the
    /// last attempt; so does a run that kills the process each time.
    async fn perform(&self, request: &Self::Request, cx: &mut Context<'_>) -> Result<Self::Done, HandlerError>;

    /// The failed reply.
    fn failed(&self, request: &Self::Request, failure: &Failure) -> Self::Failed;
}

/// A part that can be taken back.
#[async_trait]
pub trait Reversible: Part {
    /// What asks for the undo.
    type UndoRequest: Event;
    /// The reply when it is as if the step had never happened.
    type Undone: Event;

    /// Takes the work back. Also called when the work never happened or only half, and possibly more than
    /// once: removing what is not there is a success.
    async fn undo(&self, request: &Self::UndoRequest, cx: &mut Context<'_>) -> Result<Self::Undone, HandlerError>;

    /// The reply to an undo that failed for good; `None`, as by default, parks the request instead, and the
    /// saga learns of it by its deadline.
    fn undo_failed(&self, request: &Self::UndoRequest, failure: &Failure) -> Result<Option<Draft>, SchemaError> {
        let _ = (request, failure);
        Ok(None)
    }
}
