//! The first step: text out of the original.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::key;
use crate::catalogue::events;

/// The saga asks for the text of an original.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentExtractionRequested {
    /// The document.
    #[schemars(length(min = 1, max = crate::limits::DOCUMENT_ID))]
    pub document_id: String,
    /// The workspace it belongs to.
    #[schemars(length(min = 1, max = crate::limits::WORKSPACE))]
    pub workspace: String,
    /// Its title, as far as known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = crate::limits::TITLE))]
    pub title: Option<String>,
    /// The name of the file it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = crate::limits::FILENAME))]
    pub filename: Option<String>,
    /// What the sender says it is.
    #[schemars(length(max = crate::limits::MEDIA_TYPE))]
    pub media_type: String,
    /// The length of the original, in bytes.
    pub bytes: u64,
    /// The SHA-256 of the original, in hexadecimal.
    #[schemars(length(min = 64, max = 64))]
    pub sha256: String,
    /// The original, as a key of the object store.
    #[schemars(length(min = 1, max = crate::limits::OBJECT_KEY))]
    pub original: String,
}

/// The text of a document was extracted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentExtracted {
    /// The document.
    #[schemars(length(min = 1, max = crate::limits::DOCUMENT_ID))]
    pub document_id: String,
    /// The title the document itself states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = crate::limits::TITLE))]
    pub title: Option<String>,
    /// What it was found to be, whatever the sender said.
    #[schemars(length(max = crate::limits::MEDIA_TYPE))]
    pub media_type: String,
    /// The length of the text, in characters.
    pub characters: u64,
    /// How many pieces the text was cut into.
    pub chunks: u64,
    /// How many pages it has, for media types that have pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<u64>,
    /// The language it is in, when that is clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = crate::limits::LANGUAGE))]
    pub language: Option<String>,
    /// The extracted text, as a key of the object store.
    #[schemars(length(min = 1, max = crate::limits::OBJECT_KEY))]
    pub object: String,
}

/// No text could be extracted from a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentExtractionFailed {
    /// The document.
    #[schemars(length(min = 1, max = crate::limits::DOCUMENT_ID))]
    pub document_id: String,
    /// Why, as a stable code.
    #[schemars(length(min = 1, max = crate::limits::CODE))]
    pub code: String,
    /// Why, for people.
    #[schemars(length(max = crate::limits::REASON))]
    pub reason: String,
}

/// The saga asks to forget what was extracted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentExtractionUndoRequested {
    /// The document.
    #[schemars(length(min = 1, max = crate::limits::DOCUMENT_ID))]
    pub document_id: String,
    /// The workspace it belongs to.
    #[schemars(length(min = 1, max = crate::limits::WORKSPACE))]
    pub workspace: String,
}

/// What was extracted from a document is gone, or never was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentExtractionUndone {
    /// The document.
    #[schemars(length(min = 1, max = crate::limits::DOCUMENT_ID))]
    pub document_id: String,
}

events! {
    DocumentExtractionRequested = "document.extraction.requested" v 1, key(e) key(&e.document_id),
        example {
            "document_id": "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f",
            "workspace": "research", "title": "On tides", "filename": "tides.pdf", "media_type": "application/pdf",
            "bytes": 48_213, "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "original": "research/0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f/original"
        };
    DocumentExtracted = "document.extracted" v 1, key(e) key(&e.document_id),
        example {
            "document_id": "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f",
            "title": "On tides", "media_type": "application/pdf", "characters": 18_204, "chunks": 16, "pages": 7,
            "language": "en", "object": "research/0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f/text"
        };
    DocumentExtractionFailed = "document.extraction.failed" v 1, key(e) key(&e.document_id),
        example {
            "document_id": "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f",
            "code": "document.encrypted", "reason": "the PDF is encrypted and cannot be read without its password"
        };
    DocumentExtractionUndoRequested = "document.extraction.undo_requested" v 1, key(e) key(&e.document_id),
        example { "document_id": "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f", "workspace": "research" };
    DocumentExtractionUndone = "document.extraction.undone" v 1, key(e) key(&e.document_id),
        example { "document_id": "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f" };
}
