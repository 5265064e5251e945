//! The second step: the text and its record are kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::key;
use crate::catalogue::events;

/// The saga asks to keep a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentStorageRequested {
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
    /// The extracted text, as a key of the object store.
    #[schemars(length(min = 1, max = crate::limits::OBJECT_KEY))]
    pub object: String,
}

/// A document is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentStored {
    /// The document.
    #[schemars(length(min = 1, max = crate::limits::DOCUMENT_ID))]
    pub document_id: String,
    /// The extracted text, as a key of the object store.
    #[schemars(length(min = 1, max = crate::limits::OBJECT_KEY))]
    pub object: String,
    /// How many bytes are kept.
    pub bytes: u64,
}

/// A document could not be kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentStorageFailed {
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

/// The saga asks to delete what was kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentDeletionRequested {
    /// The document.
    #[schemars(length(min = 1, max = crate::limits::DOCUMENT_ID))]
    pub document_id: String,
    /// The workspace it belongs to.
    #[schemars(length(min = 1, max = crate::limits::WORKSPACE))]
    pub workspace: String,
}

/// What was kept of a document is gone, or never was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentDeleted {
    /// The document.
    #[schemars(length(min = 1, max = crate::limits::DOCUMENT_ID))]
    pub document_id: String,
}

/// What was kept of a document could not be deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentDeletionFailed {
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

events! {
    DocumentStorageRequested = "document.storage.requested" v 1, key(e) key(&e.document_id),
        example {
            "document_id": "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f",
            "workspace": "research", "title": "On tides", "filename": "tides.pdf",
            "object": "research/0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f/text"
        };
    DocumentStored = "document.stored" v 1, key(e) key(&e.document_id),
        example {
            "document_id": "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f",
            "object": "research/0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f/text", "bytes": 18_950
        };
    DocumentStorageFailed = "document.storage.failed" v 1, key(e) key(&e.document_id),
        example {
            "document_id": "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f",
            "code": "objects.unavailable", "reason": "the object store cannot be reached"
        };
    DocumentDeletionRequested = "document.deletion.requested" v 1, key(e) key(&e.document_id),
        example { "document_id": "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f", "workspace": "research" };
    DocumentDeleted = "document.deleted" v 1, key(e) key(&e.document_id),
        example { "document_id": "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f" };
    DocumentDeletionFailed = "document.deletion.failed" v 1, key(e) key(&e.document_id),
        example {
            "document_id": "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f",
            "code": "objects.unavailable", "reason": "the object store cannot be reached"
        };
}
