//! Extract: from the original to its text.

use async_trait::async_trait;
use bytes::Bytes;
use events::{
    DocumentExtracted, DocumentExtractionFailed, DocumentExtractionRequested, DocumentExtractionUndoRequested,
    DocumentExtractionUndone,
};
use tidewire::objects::{ObjectKey, Objects};
use tidewire::saga::{Failure, Part, Reversible};
use tidewire::{Context, HandlerError};

use super::{extracted, objects_error};
use crate::chunk::{ChunkOptions, split};
use crate::extract::{ExtractorChild, Original};

/// Reads the text out of an original, in a child process.
pub struct Extraction {
    /// Where originals and texts lie.
    pub objects: Objects,
    /// What reads them.
    pub extractor: ExtractorChild,
}

#[async_trait]
impl Part for Extraction {
    type Request = DocumentExtractionRequested;
    type Done = DocumentExtracted;
    type Failed = DocumentExtractionFailed;

    async fn perform(&self, request: &Self::Request, _: &mut Context<'_>) -> Result<Self::Done, HandlerError> {
        let original = ObjectKey::new(request.original.as_str()).map_err(objects_error)?;
        let bytes = self.objects.get(&original).await.map_err(objects_error)?;
        let original = Original {
            bytes: &bytes,
            content_type: Some(request.media_type.as_str()),
            file_name: request.filename.as_deref(),
        };
        let found = self.extractor.extract(original).await.map_err(|error| match error.is_transient() {
            true => HandlerError::transient(error),
            false => HandlerError::permanent(error.code(), error),
        })?;
        let object = extracted(&request.document_id).map_err(objects_error)?;
        let (characters, chunks) = (found.text.chars().count(), split(&found.text, ChunkOptions::default()).len());
        self.objects.put(&object, Bytes::from(found.text)).await.map_err(objects_error)?;
        Ok(DocumentExtracted {
            document_id: request.document_id.clone(),
            title: found.title,
            media_type: found.media_type.as_str().to_owned(),
            characters: characters as u64,
            chunks: chunks as u64,
            pages: found.pages.map(u64::from),
            language: None,
            object: object.as_str().to_owned(),
        })
    }

    fn failed(&self, request: &Self::Request, failure: &Failure) -> Self::Failed {
        let Failure { code, reason } = failure.clone();
        DocumentExtractionFailed { document_id: request.document_id.clone(), code, reason }
    }
}

#[async_trait]
impl Reversible for Extraction {
    type UndoRequest = DocumentExtractionUndoRequested;
    type Undone = DocumentExtractionUndone;

    async fn undo(&self, request: &Self::UndoRequest, _: &mut Context<'_>) -> Result<Self::Undone, HandlerError> {
        let object = extracted(&request.document_id).map_err(objects_error)?;
        self.objects.delete(&object).await.map_err(objects_error)?;
        Ok(DocumentExtractionUndone { document_id: request.document_id.clone() })
    }
}
