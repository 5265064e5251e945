//! Documents, from submission to the index. Every event lies in the stream of its document, so a document's
//! whole life reads in order.
//!
//! The steps of ingestion are requests and replies: `….requested` is asked by the saga, what a participant
//! answers is a fact. Requests carry all that the participant needs; it keeps no state of its own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidewire_core::Key;

mod enrichment;
mod extraction;
mod indexing;
mod storage;

pub use enrichment::{
    DocumentEnriched, DocumentEnrichmentFailed, DocumentEnrichmentRemovalFailed, DocumentEnrichmentRemovalRequested,
    DocumentEnrichmentRemoved, DocumentEnrichmentRequested, Entity, NearDuplicate,
};
pub use extraction::{
    DocumentExtracted, DocumentExtractionFailed, DocumentExtractionRequested, DocumentExtractionUndoRequested,
    DocumentExtractionUndone,
};
pub use indexing::{
    DocumentIndexed, DocumentIndexingFailed, DocumentIndexingRequested, DocumentUnindexed, DocumentUnindexingFailed,
    DocumentUnindexingRequested,
};
pub use storage::{
    DocumentDeleted, DocumentDeletionFailed, DocumentDeletionRequested, DocumentStorageFailed,
    DocumentStorageRequested, DocumentStored,
};

use crate::Entry;
use crate::catalogue::events;

/// Somebody handed in a document; its original is in the object store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentSubmitted {
    /// The new document.
    #[schemars(length(min = 1, max = crate::limits::DOCUMENT_ID))]
    pub document_id: String,
    /// The workspace it belongs to.
    #[schemars(length(min = 1, max = crate::limits::WORKSPACE))]
    pub workspace: String,
    /// The title given by the sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = crate::limits::TITLE))]
    pub title: Option<String>,
    /// What the sender says it is.
    #[schemars(length(max = crate::limits::MEDIA_TYPE))]
    pub media_type: String,
    /// The length of the original, in bytes.
    pub bytes: u64,
    /// The name of the file it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = crate::limits::FILENAME))]
    pub filename: Option<String>,
    /// The SHA-256 of the original, in hexadecimal.
    #[schemars(length(min = 64, max = 64))]
    pub sha256: String,
    /// The original, as a key of the object store.
    #[schemars(length(min = 1, max = crate::limits::OBJECT_KEY))]
    pub original: String,
}

/// A document went through every step and can be found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentIngested {
    /// The document.
    #[schemars(length(min = 1, max = crate::limits::DOCUMENT_ID))]
    pub document_id: String,
    /// The workspace it belongs to.
    #[schemars(length(min = 1, max = crate::limits::WORKSPACE))]
    pub workspace: String,
    /// Its title: the sender's, else the document's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = crate::limits::TITLE))]
    pub title: Option<String>,
    /// The name of the file it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = crate::limits::FILENAME))]
    pub filename: Option<String>,
    /// Its length, in characters of text.
    pub characters: u64,
    /// How many pieces it was cut into for the index.
    pub chunks: u64,
    /// The language it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = crate::limits::LANGUAGE))]
    pub language: Option<String>,
    /// What it is about, most telling first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = crate::limits::KEYWORDS), inner(length(max = crate::limits::KEYWORD)))]
    pub keywords: Vec<String>,
}

/// A document could not be ingested, and whatever had been done for it was undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentRejected {
    /// The document.
    #[schemars(length(min = 1, max = crate::limits::DOCUMENT_ID))]
    pub document_id: String,
    /// The workspace it was submitted to.
    #[schemars(length(min = 1, max = crate::limits::WORKSPACE))]
    pub workspace: String,
    /// The title given by the sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = crate::limits::TITLE))]
    pub title: Option<String>,
    /// The name of the file it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = crate::limits::FILENAME))]
    pub filename: Option<String>,
    /// Why, as a stable code.
    #[schemars(length(min = 1, max = crate::limits::CODE))]
    pub code: String,
    /// Why, for people.
    #[schemars(length(max = crate::limits::REASON))]
    pub reason: String,
}

/// The stream of a document.
pub fn key(document: &str) -> Key {
    Key::of("document", document)
}

mod ends {
    use super::*;
    events! {
        DocumentSubmitted = "document.submitted" v 1, key(e) key(&e.document_id),
            example {
                "document_id": "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f", "workspace": "research", "title": "On tides",
                "media_type": "application/pdf", "bytes": 48_213, "filename": "tides.pdf",
                "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "original": "research/0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f/original"
            };
        DocumentIngested = "document.ingested" v 1, key(e) key(&e.document_id),
            example {
                "document_id": "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f", "workspace": "research", "title": "On tides",
                "filename": "tides.pdf", "characters": 18_204, "chunks": 16, "language": "en",
                "keywords": ["tide", "moon", "estuary"]
            };
        DocumentRejected = "document.rejected" v 1, key(e) key(&e.document_id),
            example {
                "document_id": "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f", "workspace": "research", "title": "On tides",
                "filename": "tides.pdf", "code": "document.encrypted",
                "reason": "the PDF is encrypted and cannot be read without its password"
            };
    }
}

pub(crate) fn entries() -> Vec<Entry> {
    [ends::entries(), extraction::entries(), storage::entries(), indexing::entries(), enrichment::entries()]
        .into_iter()
        .flatten()
        .collect()
}
