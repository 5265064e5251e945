//! The third step: the text can be found.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::key;
use crate::catalogue::events;

/// The saga asks to index a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentIndexingRequested {
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
    /// The extracted text, as a key of the object store.
    #[schemars(length(min = 1, max = crate::limits::OBJECT_KEY))]
    pub object: String,
}

/// A document can be found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentIndexed {
    /// The document.
    #[schemars(length(min = 1, max = crate::limits::DOCUMENT_ID))]
    pub document_id: String,
    /// How many pieces are in the index.
    pub chunks: u64,
}

/// A document could not be indexed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentIndexingFailed {
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

/// The saga asks to take a document out of the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentUnindexingRequested {
    /// The document.
    #[schemars(length(min = 1, max = crate::limits::DOCUMENT_ID))]
    pub document_id: String,
    /// The workspace it belongs to.
    #[schemars(length(min = 1, max = crate::limits::WORKSPACE))]
    pub workspace: String,
}

/// A document is not in the index any more, or never was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentUnindexed {
    /// The document.
    #[schemars(length(min = 1, max = crate::limits::DOCUMENT_ID))]
    pub document_id: String,
}

/// A document could not be taken out of the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentUnindexingFailed {
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
    DocumentIndexingRequested = "document.indexing.requested" v 1, key(e) key(&e.document_id),
        example {
            "document_id": "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f",
            "workspace": "research", "title": "On tides",
            "object": "research/0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f/text"
        };
    DocumentIndexed = "document.indexed" v 1, key(e) key(&e.document_id),
        example { "document_id": "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f", "chunks": 16 };
    DocumentIndexingFailed = "document.indexing.failed" v 1, key(e) key(&e.document_id),
        example {
            "document_id": "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f",
            "code": "index.full", "reason": "no room is left for the index"
        };
    DocumentUnindexingRequested = "document.unindexing.requested" v 1, key(e) key(&e.document_id),
        example { "document_id": "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f", "workspace": "research" };
    DocumentUnindexed = "document.unindexed" v 1, key(e) key(&e.document_id),
        example { "document_id": "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f" };
    DocumentUnindexingFailed = "document.unindexing.failed" v 1, key(e) key(&e.document_id),
        example {
            "document_id": "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f",
            "code": "index.full", "reason": "no room is left for the index"
        };
}
