//! Store: original and text, where they stay.

use async_trait::async_trait;
use events::{
    DocumentDeleted, DocumentDeletionFailed, DocumentDeletionRequested, DocumentStorageFailed,
    DocumentStorageRequested, DocumentStored,
};
use tidewire::objects::{ObjectKey, Objects};
use tidewire::saga::{Failure, Part, Reversible};
use tidewire::{Context, Draft, HandlerError, SchemaError};

use super::{incoming, objects_error};

/// Keeps a document's original and text.
pub struct Storage {
    /// Where both lie.
    pub objects: Objects,
}

#[async_trait]
impl Part for Storage {
    type Request = DocumentStorageRequested;
    type Done = DocumentStored;
    type Failed = DocumentStorageFailed;

    async fn perform(&self, request: &Self::Request, _: &mut Context<'_>) -> Result<Self::Done, HandlerError> {
        let id = &request.document_id;
        let extracted = ObjectKey::new(request.object.as_str()).map_err(objects_error)?;
        let original = self.objects.get(&incoming(id).map_err(objects_error)?).await.map_err(objects_error)?;
        let text = self.objects.get(&extracted).await.map_err(objects_error)?;
        let bytes = original.len() as u64;
        let stored = ObjectKey::of_document(id, "text").map_err(objects_error)?;
        self.objects.put(&ObjectKey::original(id).map_err(objects_error)?, original).await.map_err(objects_error)?;
        self.objects.put(&stored, text).await.map_err(objects_error)?;
        Ok(DocumentStored { document_id: id.clone(), object: stored.as_str().to_owned(), bytes })
    }

    fn failed(&self, request: &Self::Request, failure: &Failure) -> Self::Failed {
        let Failure { code, reason } = failure.clone();
        DocumentStorageFailed { document_id: request.document_id.clone(), code, reason }
    }
}

#[async_trait]
impl Reversible for Storage {
    type UndoRequest = DocumentDeletionRequested;
    type Undone = DocumentDeleted;

    async fn undo(&self, request: &Self::UndoRequest, _: &mut Context<'_>) -> Result<Self::Undone, HandlerError> {
        for name in ["text", "original"] {
            let object = ObjectKey::of_document(&request.document_id, name).map_err(objects_error)?;
            self.objects.delete(&object).await.map_err(objects_error)?;
        }
        Ok(DocumentDeleted { document_id: request.document_id.clone() })
    }

    fn undo_failed(&self, request: &Self::UndoRequest, failure: &Failure) -> Result<Option<Draft>, SchemaError> {
        let Failure { code, reason } = failure.clone();
        Draft::of(&DocumentDeletionFailed { document_id: request.document_id.clone(), code, reason }).map(Some)
    }
}
