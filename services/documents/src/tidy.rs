//! Tidying up behind the saga: what was submitted is no longer needed once it ended.

use async_trait::async_trait;
use events::{DocumentIngested, DocumentRejected};
use tidewire::objects::{ObjectKey, Objects};
use tidewire::{Consumer, Context, Envelope, EventSet, Handler, HandlerError, event_set};

use crate::parts::incoming;

event_set! {
    /// How ingestion ends.
    pub enum End { Ingested(DocumentIngested), Rejected(DocumentRejected) }
}

/// Removes the submitted original and the intermediate text. Removing what is gone is fine, so doing it
/// outside the commit is, too.
pub struct Tidy {
    /// Where they lie.
    pub objects: Objects,
}

#[async_trait]
impl Handler for Tidy {
    fn consumer(&self) -> Consumer {
        Consumer { outside: Some("the object store"), ..Consumer::new("documents.tidy", End::types()) }
    }

    async fn handle(&self, event: &Envelope, _: &mut Context<'_>) -> Result<(), HandlerError> {
        let document = match End::decode(event)? {
            Some(End::Ingested(ingested)) => ingested.document_id,
            Some(End::Rejected(rejected)) => rejected.document_id,
            None => return Ok(()),
        };
        let waiting = [incoming(&document), ObjectKey::new(format!("extracted/{document}"))];
        for object in waiting {
            let object = object.map_err(|error| HandlerError::permanent("document.object", error))?;
            self.objects.delete(&object).await.map_err(HandlerError::transient)?;
        }
        Ok(())
    }
}
