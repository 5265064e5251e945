//! The last step: what the document is about.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::key;
use crate::catalogue::events;

/// The saga asks what a document is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentEnrichmentRequested {
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

/// What a document is about is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentEnriched {
    /// The document.
    #[schemars(length(min = 1, max = crate::limits::DOCUMENT_ID))]
    pub document_id: String,
    /// The language it is in, when that is clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = crate::limits::LANGUAGE))]
    pub language: Option<String>,
    /// How many words it has.
    pub words: u64,
    /// How long it takes to read, in seconds.
    pub reading_seconds: u64,
    /// What it is about, most telling first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = crate::limits::KEYWORDS), inner(length(max = crate::limits::KEYWORD)))]
    pub keywords: Vec<String>,
    /// Addresses, links and dates it mentions, in the order of their first mention.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = crate::limits::ENTITIES))]
    pub entities: Vec<Entity>,
    /// Documents of the same workspace that say nearly the same, closest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = crate::limits::DUPLICATES))]
    pub near_duplicates: Vec<NearDuplicate>,
}

/// Something a document mentions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Entity {
    /// What it is: `email`, `link`, `date` and such.
    #[schemars(length(min = 1, max = 32))]
    pub kind: String,
    /// The thing itself.
    #[schemars(length(max = crate::limits::OBJECT))]
    pub text: String,
}

/// A document that says nearly the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NearDuplicate {
    /// The other document.
    #[schemars(length(min = 1, max = crate::limits::DOCUMENT_ID))]
    pub document_id: String,
    /// How alike they are, from 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub similarity: f64,
}

/// It could not be found out what a document is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentEnrichmentFailed {
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

/// The saga asks to forget what was found out about a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentEnrichmentRemovalRequested {
    /// The document.
    #[schemars(length(min = 1, max = crate::limits::DOCUMENT_ID))]
    pub document_id: String,
    /// The workspace it belongs to.
    #[schemars(length(min = 1, max = crate::limits::WORKSPACE))]
    pub workspace: String,
}

/// What was found out about a document is gone, or never was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentEnrichmentRemoved {
    /// The document.
    #[schemars(length(min = 1, max = crate::limits::DOCUMENT_ID))]
    pub document_id: String,
}

/// What was found out about a document could not be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentEnrichmentRemovalFailed {
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
    DocumentEnrichmentRequested = "document.enrichment.requested" v 1, key(e) key(&e.document_id),
        example {
            "document_id": "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f",
            "workspace": "research", "title": "On tides",
            "object": "research/0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f/text"
        };
    DocumentEnriched = "document.enriched" v 1, key(e) key(&e.document_id),
        example {
            "document_id": "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f",
            "language": "en", "words": 3_120, "reading_seconds": 816,
            "keywords": ["tide", "moon", "estuary"], "entities": [{ "kind": "link", "text": "https://example.org/tides" }],
            "near_duplicates": [{ "document_id": "0198c5a1-0000-7000-8000-000000000001", "similarity": 0.92 }]
        };
    DocumentEnrichmentFailed = "document.enrichment.failed" v 1, key(e) key(&e.document_id),
        example {
            "document_id": "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f",
            "code": "enrichment.failed", "reason": "the text cannot be read back"
        };
    DocumentEnrichmentRemovalRequested = "document.enrichment.removal_requested" v 1, key(e) key(&e.document_id),
        example { "document_id": "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f", "workspace": "research" };
    DocumentEnrichmentRemoved = "document.enrichment.removed" v 1, key(e) key(&e.document_id),
        example { "document_id": "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f" };
    DocumentEnrichmentRemovalFailed = "document.enrichment.removal_failed" v 1, key(e) key(&e.document_id),
        example {
            "document_id": "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f",
            "code": "enrichment.failed", "reason": "the record is in use"
        };
}
