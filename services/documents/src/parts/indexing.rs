//! Index: so that it can be found.

use async_trait::async_trait;
use events::{
    DocumentIndexed, DocumentIndexingFailed, DocumentIndexingRequested, DocumentUnindexed, DocumentUnindexingFailed,
    DocumentUnindexingRequested,
};
use tidewire::objects::{ObjectKey, Objects};
use tidewire::saga::{Failure, Part, Reversible};
use tidewire::{Context, Draft, HandlerError, SchemaError};

use super::{index_error, objects_error};
use crate::chunk::{ChunkOptions, split};
use crate::live::Live;
use crate::view::{DocumentView, life};

/// Puts a document into the full-text index.
pub struct Indexing {
    /// Where its text lies.
    pub objects: Objects,
    /// The index, where this process has it.
    pub index: Option<Live>,
}

impl Indexing {
    /// A run here was asked for by mistake; where the index is, it will do.
    fn index(&self) -> Result<&Live, HandlerError> {
        let elsewhere = "the search index is in the process that runs the role documents (index.elsewhere)";
        self.index.as_ref().ok_or_else(|| HandlerError::transient(elsewhere))
    }
}

#[async_trait]
impl Part for Indexing {
    type Request = DocumentIndexingRequested;
    type Done = DocumentIndexed;
    type Failed = DocumentIndexingFailed;

    async fn perform(&self, request: &Self::Request, cx: &mut Context<'_>) -> Result<Self::Done, HandlerError> {
        let object = ObjectKey::new(request.object.as_str()).map_err(objects_error)?;
        let bytes = self.objects.get(&object).await.map_err(objects_error)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let chunks = split(&text, ChunkOptions::default()).len() as u64;
        let stream = life(cx.store().as_ref(), &request.document_id).await?;
        let view = DocumentView::fold(&stream, |_| String::new())?;
        let unknown = || HandlerError::permanent("index.invalid", "the document was never submitted");
        self.index()?.put(view.ok_or_else(unknown)?.entry(text)).await.map_err(index_error)?;
        Ok(DocumentIndexed { document_id: request.document_id.clone(), chunks })
    }

    fn failed(&self, request: &Self::Request, failure: &Failure) -> Self::Failed {
        let Failure { code, reason } = failure.clone();
        DocumentIndexingFailed { document_id: request.document_id.clone(), code, reason }
    }
}

#[async_trait]
impl Reversible for Indexing {
    type UndoRequest = DocumentUnindexingRequested;
    type Undone = DocumentUnindexed;

    async fn undo(&self, request: &Self::UndoRequest, _: &mut Context<'_>) -> Result<Self::Undone, HandlerError> {
        self.index()?.remove(&request.document_id).await.map_err(index_error)?;
        Ok(DocumentUnindexed { document_id: request.document_id.clone() })
    }

    fn undo_failed(&self, request: &Self::UndoRequest, failure: &Failure) -> Result<Option<Draft>, SchemaError> {
        let Failure { code, reason } = failure.clone();
        Draft::of(&DocumentUnindexingFailed { document_id: request.document_id.clone(), code, reason }).map(Some)
    }
}
