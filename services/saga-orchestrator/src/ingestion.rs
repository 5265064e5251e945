//! Document ingestion: extract, store, index, enrich; or nothing at all.

use events::limits::{self, cut};
use events::{
    DocumentDeleted, DocumentDeletionFailed, DocumentDeletionRequested, DocumentEnriched, DocumentEnrichmentFailed,
    DocumentEnrichmentRemovalFailed, DocumentEnrichmentRemovalRequested, DocumentEnrichmentRemoved,
    DocumentEnrichmentRequested, DocumentExtracted, DocumentExtractionFailed, DocumentExtractionRequested,
    DocumentExtractionUndoRequested, DocumentExtractionUndone, DocumentIndexed, DocumentIndexingFailed,
    DocumentIndexingRequested, DocumentIngested, DocumentRejected, DocumentStorageFailed, DocumentStorageRequested,
    DocumentStored, DocumentSubmitted, DocumentUnindexed, DocumentUnindexingFailed, DocumentUnindexingRequested,
    SagaStuck,
};
use serde::{Deserialize, Serialize};
use tidewire::saga::{Failure, Plan, Policy, Saga, SagaLog, Step, Steps};
use tidewire::{Draft, Envelope, SchemaError};

/// Takes a submitted document through extraction, storage, index and enrichment. Every step can be undone, so a
/// document ends either ingested, and found by search, or rejected, with nothing of it left.
pub struct Ingestion {
    policy: Policy,
}

/// What ingestion knows of its document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IngestionState {
    submitted: DocumentSubmitted,
    /// The extracted text, once there is one.
    object: String,
    /// The sender's title, else the document's own.
    title: Option<String>,
    characters: u64,
    chunks: u64,
    language: Option<String>,
    keywords: Vec<String>,
}

impl IngestionState {
    fn new(submitted: DocumentSubmitted) -> Self {
        let title = submitted.title.clone();
        let object = String::new();
        Self { submitted, object, title, characters: 0, chunks: 0, language: None, keywords: Vec::new() }
    }

    fn document(&self) -> String {
        self.submitted.document_id.clone()
    }

    fn workspace(&self) -> String {
        self.submitted.workspace.clone()
    }
}

impl Ingestion {
    /// Ingestion with this patience for each step.
    pub fn new(policy: Policy) -> Self {
        Self { policy }
    }
}

impl Saga for Ingestion {
    // The documents service makes the saga's id of this name and of the event that submits the document.
    const NAME: &'static str = "document-ingestion";
    const DEFINITION: u16 = 1;
    type State = IngestionState;
    type Start = DocumentSubmitted;

    fn start(&self, event: &DocumentSubmitted, _: &Envelope) -> Option<IngestionState> {
        Some(IngestionState::new(event.clone()))
    }

    fn steps(&self, plan: Plan<IngestionState>) -> Steps<IngestionState> {
        plan.then(extract().policy(self.policy))
            .then(store().policy(self.policy))
            .then(index().policy(self.policy))
            .then(enrich().policy(self.policy))
            .end()
    }

    fn completed(&self, log: &SagaLog<IngestionState>) -> Result<Vec<Draft>, SchemaError> {
        let state = &log.state;
        let ingested = DocumentIngested {
            document_id: state.document(),
            workspace: state.workspace(),
            title: state.title.clone(),
            filename: state.submitted.filename.clone(),
            characters: state.characters,
            chunks: state.chunks,
            language: state.language.clone(),
            keywords: state.keywords.clone(),
        };
        Ok(vec![Draft::of(&ingested)?])
    }

    fn undone(&self, log: &SagaLog<IngestionState>, failure: &Failure) -> Result<Vec<Draft>, SchemaError> {
        let state = &log.state;
        let rejected = DocumentRejected {
            document_id: state.document(),
            workspace: state.workspace(),
            title: state.submitted.title.clone(),
            filename: state.submitted.filename.clone(),
            code: failure.code.clone(),
            reason: cut(&failure.reason, limits::REASON),
        };
        Ok(vec![Draft::of(&rejected)?])
    }

    fn stuck(&self, log: &SagaLog<IngestionState>, step: &str, reason: &str) -> Result<Vec<Draft>, SchemaError> {
        let stuck = SagaStuck {
            saga_id: log.id.to_string(),
            saga: Self::NAME.to_owned(),
            step: step.to_owned(),
            reason: cut(reason, limits::REASON),
            subject: log.key.to_string(),
        };
        Ok(vec![Draft::of(&stuck)?])
    }
}

type Undoable = tidewire::saga::step::Undoable;

fn extract() -> Step<IngestionState, Undoable> {
    let request = |state: &IngestionState| {
        let submitted = state.submitted.clone();
        DocumentExtractionRequested {
            document_id: submitted.document_id,
            workspace: submitted.workspace,
            title: submitted.title,
            filename: submitted.filename,
            media_type: submitted.media_type,
            bytes: submitted.bytes,
            sha256: submitted.sha256,
            original: submitted.original,
        }
    };
    let done = |state: &mut IngestionState, reply: DocumentExtracted| {
        state.object = reply.object;
        state.characters = reply.characters;
        state.chunks = reply.chunks;
        state.language = reply.language;
        state.title = state.title.take().or(reply.title);
    };
    Step::new("extract", request, done, |reply: DocumentExtractionFailed| Failure::new(reply.code, reply.reason)).undo(
        |state: &IngestionState| DocumentExtractionUndoRequested {
            document_id: state.document(),
            workspace: state.workspace(),
        },
        |_, _: DocumentExtractionUndone| {},
    )
}

fn store() -> Step<IngestionState, Undoable> {
    let request = |state: &IngestionState| DocumentStorageRequested {
        document_id: state.document(),
        workspace: state.workspace(),
        title: state.title.clone(),
        filename: state.submitted.filename.clone(),
        object: state.object.clone(),
    };
    let done = |state: &mut IngestionState, reply: DocumentStored| state.object = reply.object;
    Step::new("store", request, done, |reply: DocumentStorageFailed| Failure::new(reply.code, reply.reason))
        .undo(
            |state: &IngestionState| DocumentDeletionRequested {
                document_id: state.document(),
                workspace: state.workspace(),
            },
            |_, _: DocumentDeleted| {},
        )
        .undo_failed(|reply: DocumentDeletionFailed| Failure::new(reply.code, reply.reason))
}

fn index() -> Step<IngestionState, Undoable> {
    let request = |state: &IngestionState| DocumentIndexingRequested {
        document_id: state.document(),
        workspace: state.workspace(),
        title: state.title.clone(),
        object: state.object.clone(),
    };
    let done = |state: &mut IngestionState, reply: DocumentIndexed| state.chunks = reply.chunks;
    Step::new("index", request, done, |reply: DocumentIndexingFailed| Failure::new(reply.code, reply.reason))
        .undo(
            |state: &IngestionState| DocumentUnindexingRequested {
                document_id: state.document(),
                workspace: state.workspace(),
            },
            |_, _: DocumentUnindexed| {},
        )
        .undo_failed(|reply: DocumentUnindexingFailed| Failure::new(reply.code, reply.reason))
}

fn enrich() -> Step<IngestionState, Undoable> {
    let request = |state: &IngestionState| DocumentEnrichmentRequested {
        document_id: state.document(),
        workspace: state.workspace(),
        title: state.title.clone(),
        object: state.object.clone(),
    };
    let done = |state: &mut IngestionState, reply: DocumentEnriched| {
        state.language = reply.language.or(state.language.take());
        state.keywords = reply.keywords;
    };
    Step::new("enrich", request, done, |reply: DocumentEnrichmentFailed| Failure::new(reply.code, reply.reason))
        .undo(
            |state: &IngestionState| DocumentEnrichmentRemovalRequested {
                document_id: state.document(),
                workspace: state.workspace(),
            },
            |_, _: DocumentEnrichmentRemoved| {},
        )
        .undo_failed(|reply: DocumentEnrichmentRemovalFailed| Failure::new(reply.code, reply.reason))
}

#[cfg(test)]
mod tests;
