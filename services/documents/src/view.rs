//! A document as its readers see it: folded from its stream, so it is never behind.

use chrono::{DateTime, Utc};
use events::{
    DocumentEnriched, DocumentExtracted, DocumentIndexed, DocumentIndexingRequested, DocumentIngested,
    DocumentRejected, DocumentStored, DocumentSubmitted, DocumentUnindexingRequested, Entity, NearDuplicate, SagaStuck,
};
use serde::{Deserialize, Serialize};
use tidewire::store::Recorded;
use tidewire::{EventSet, SchemaError, Store, StoreError, event_set};

use crate::index::IndexedDocument;

/// More events than a document can have: every step asked, answered, undone, with retries.
const MAX_LIFE: usize = 1_000;

/// The stream of a document, whole; empty when it never was submitted.
pub async fn life(store: &dyn Store, id: &str) -> Result<Vec<Recorded>, StoreError> {
    store.stream(&events::document::key(id), 0, MAX_LIFE).await
}

event_set! {
    /// What of a document's life its readers are shown, and what says whether search finds it.
    pub enum Life {
        Submitted(DocumentSubmitted),
        Extracted(DocumentExtracted),
        Stored(DocumentStored),
        IndexingRequested(DocumentIndexingRequested),
        Indexed(DocumentIndexed),
        UnindexingRequested(DocumentUnindexingRequested),
        Enriched(DocumentEnriched),
        Ingested(DocumentIngested),
        Rejected(DocumentRejected),
        Stuck(SagaStuck),
    }
}

/// Where a document stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// On its way through the steps.
    #[default]
    Ingesting,
    /// Can be found.
    Ingested,
    /// Refused, and everything undone.
    Rejected,
    /// Neither; an operator has to look.
    Stuck,
}

/// Whether the index ought to hold a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Findable {
    /// Nobody has said so yet. The step that indexes it may be under way.
    #[default]
    NotYet,
    /// It was indexed.
    Indexed,
    /// It was, or was about to be, until it was decided to take it out. That is final: a saga turns back once.
    Withdrawn,
}

/// A document.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DocumentView {
    /// Its id.
    pub document: String,
    /// The saga that ingests it.
    pub saga: String,
    /// Its workspace.
    pub workspace: String,
    /// Where it stands.
    pub status: Status,
    /// Its title: the sender's, else its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The name of its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// What it was found to be; what the sender said, until then.
    pub media_type: String,
    /// The length of the original, in bytes.
    pub bytes: u64,
    /// The SHA-256 of the original.
    pub sha256: String,
    /// When it was submitted.
    pub submitted: Option<DateTime<Utc>>,
    /// When it was ingested, rejected or stuck.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<DateTime<Utc>>,
    /// The length of its text, in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub characters: Option<u64>,
    /// Into how many pieces its text was cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunks: Option<u64>,
    /// Its pages, where it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pages: Option<u64>,
    /// Its language.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Its keywords, most telling first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keywords: Vec<String>,
    /// What it mentions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entities: Vec<Entity>,
    /// What it is nearly the same as.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub near_duplicates: Vec<NearDuplicate>,
    /// Why it was rejected or is stuck, as a stable code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether search ought to find it.
    #[serde(skip)]
    pub findable: Findable,
    /// When it was first asked to be indexed: what search shows as the time of its ingestion.
    #[serde(skip)]
    pub indexing: Option<DateTime<Utc>>,
}

impl DocumentView {
    /// Folds the stream of a document. `None` when it never was submitted.
    pub fn fold(stream: &[Recorded], saga_of: impl Fn(&str) -> String) -> Result<Option<Self>, SchemaError> {
        let mut view: Option<Self> = None;
        for recorded in stream {
            let Some(event) = Life::decode(&recorded.envelope)? else { continue };
            match (event, &mut view) {
                (Life::Submitted(submitted), None) => {
                    view = Some(Self::submitted(submitted, recorded, saga_of(&recorded.envelope.id)));
                }
                (event, Some(view)) => view.apply(event, recorded.envelope.time),
                (_, None) => {}
            }
        }
        Ok(view)
    }

    /// What the index holds of it. All but the text comes from the stream, so that indexing it again, whenever
    /// that is, gives the same.
    pub fn entry(&self, text: String) -> IndexedDocument {
        let at = self.indexing.or(self.ended).or(self.submitted);
        IndexedDocument {
            id: self.document.clone(),
            workspace: self.workspace.clone(),
            title: self.title.clone(),
            text,
            media_type: self.media_type.clone(),
            ingested: at.unwrap_or(DateTime::UNIX_EPOCH),
        }
    }

    fn submitted(event: DocumentSubmitted, recorded: &Recorded, saga: String) -> Self {
        Self {
            document: event.document_id,
            saga,
            workspace: event.workspace,
            title: event.title,
            filename: event.filename,
            media_type: event.media_type,
            bytes: event.bytes,
            sha256: event.sha256,
            submitted: Some(recorded.envelope.time),
            ..Self::default()
        }
    }

    fn apply(&mut self, event: Life, at: DateTime<Utc>) {
        match event {
            Life::Submitted(_) | Life::Stored(_) => {}
            Life::Extracted(extracted) => {
                self.title = self.title.take().or(extracted.title);
                self.media_type = extracted.media_type;
                self.characters = Some(extracted.characters);
                self.chunks = Some(extracted.chunks);
                self.pages = extracted.pages;
            }
            Life::IndexingRequested(_) => self.indexing = self.indexing.or(Some(at)),
            Life::Indexed(_) => self.findable(Findable::Indexed),
            Life::UnindexingRequested(_) => self.findable(Findable::Withdrawn),
            Life::Enriched(enriched) => {
                self.language = enriched.language;
                self.keywords = enriched.keywords;
                self.entities = enriched.entities;
                self.near_duplicates = enriched.near_duplicates;
            }
            Life::Ingested(_) => {
                self.findable(Findable::Indexed);
                self.end(Status::Ingested, at, None);
            }
            Life::Rejected(rejected) => {
                self.findable(Findable::Withdrawn);
                self.end(Status::Rejected, at, Some((rejected.code, rejected.reason)));
            }
            Life::Stuck(stuck) => self.end(Status::Stuck, at, Some(("saga.stuck".into(), stuck.reason))),
        }
    }

    /// A step that answers after its undo was asked for changes nothing any more.
    fn findable(&mut self, findable: Findable) {
        if self.findable != Findable::Withdrawn {
            self.findable = findable;
        }
    }

    fn end(&mut self, status: Status, at: DateTime<Utc>, why: Option<(String, String)>) {
        self.status = status;
        self.ended = Some(at);
        (self.code, self.reason) = why.unzip();
    }
}
