//! Enrich: the last step of ingestion.

use async_trait::async_trait;
use events::{
    DocumentEnriched, DocumentEnrichmentFailed, DocumentEnrichmentRemovalFailed, DocumentEnrichmentRemovalRequested,
    DocumentEnrichmentRemoved, DocumentEnrichmentRequested, Entity, NearDuplicate,
};
use serde::{Deserialize, Serialize};
use tidewire::objects::{ObjectKey, Objects};
use tidewire::saga::{Failure, Part, Reversible};
use tidewire::{Context, Draft, HandlerError, SchemaError};

use crate::analysis::{Analysis, Entities, Fingerprint, analyze};
use crate::near;

/// What was found out about each document, by its id.
const ENRICHMENT: &str = "enrichment";
/// Entities named in the reply; the most mentioned of each kind.
const MAX_ENTITIES: usize = 100;
/// Bytes of one entity's text and of one keyword, as the event's schema has them.
const MAX_ENTITY_BYTES: usize = 512;
const MAX_KEYWORD_BYTES: usize = 100;

/// What is kept, so that it can be taken back.
#[derive(Serialize, Deserialize)]
struct Kept {
    workspace: String,
    fingerprint: Option<Fingerprint>,
}

/// Finds out what a document is about.
pub struct Enrichment {
    /// Where texts lie.
    pub objects: Objects,
}

#[async_trait]
impl Part for Enrichment {
    type Request = DocumentEnrichmentRequested;
    type Done = DocumentEnriched;
    type Failed = DocumentEnrichmentFailed;

    async fn perform(&self, request: &Self::Request, cx: &mut Context<'_>) -> Result<Self::Done, HandlerError> {
        let analysis = self.analyse(&request.object).await?;
        let (workspace, document) = (&request.workspace, &request.document_id);
        let near = match analysis.fingerprint {
            Some(fingerprint) => near::find(workspace, document, fingerprint, cx).await?,
            None => Vec::new(),
        };
        if let Some(fingerprint) = analysis.fingerprint {
            near::remember(workspace, document, fingerprint, cx)?;
        }
        let kept = Kept { workspace: workspace.clone(), fingerprint: analysis.fingerprint };
        cx.put(ENRICHMENT, document, &kept)?;
        let near = near.into_iter();
        Ok(DocumentEnriched {
            document_id: document.clone(),
            language: analysis.language.map(|language| language.tag),
            words: analysis.words,
            reading_seconds: analysis.reading_seconds,
            keywords: analysis
                .keywords
                .into_iter()
                .map(|k| k.text)
                .filter(|text| text.len() <= MAX_KEYWORD_BYTES)
                .collect(),
            entities: entities(analysis.entities),
            near_duplicates: near
                .map(|n| NearDuplicate { document_id: n.document, similarity: n.similarity })
                .collect(),
        })
    }

    fn failed(&self, request: &Self::Request, failure: &Failure) -> Self::Failed {
        let Failure { code, reason } = failure.clone();
        DocumentEnrichmentFailed { document_id: request.document_id.clone(), code, reason }
    }
}

#[async_trait]
impl Reversible for Enrichment {
    type UndoRequest = DocumentEnrichmentRemovalRequested;
    type Undone = DocumentEnrichmentRemoved;

    async fn undo(&self, request: &Self::UndoRequest, cx: &mut Context<'_>) -> Result<Self::Undone, HandlerError> {
        let document = &request.document_id;
        if let Some(kept) = cx.get::<Kept>(ENRICHMENT, document).await? {
            if let Some(fingerprint) = kept.fingerprint {
                near::forget(&kept.workspace, document, fingerprint, cx);
            }
            cx.remove(ENRICHMENT, document);
        }
        Ok(DocumentEnrichmentRemoved { document_id: document.clone() })
    }

    fn undo_failed(&self, request: &Self::UndoRequest, failure: &Failure) -> Result<Option<Draft>, SchemaError> {
        let Failure { code, reason } = failure.clone();
        Draft::of(&DocumentEnrichmentRemovalFailed { document_id: request.document_id.clone(), code, reason }).map(Some)
    }
}

impl Enrichment {
    /// Analysis takes a second for a book: it runs where it holds nobody up.
    async fn analyse(&self, object: &str) -> Result<Analysis, HandlerError> {
        let key = ObjectKey::new(object).map_err(|error| HandlerError::permanent("document.object", error))?;
        let bytes = self.objects.get(&key).await.map_err(|error| match error.is_transient() {
            true => HandlerError::transient(error),
            false => HandlerError::permanent("document.object", error),
        })?;
        let analysis = tokio::task::spawn_blocking(move || analyze(&String::from_utf8_lossy(&bytes))).await;
        let analysis = analysis.map_err(|error| HandlerError::transient(format!("the analysis broke off: {error}")))?;
        analysis.map_err(|error| HandlerError::permanent("document.too_large", error))
    }
}

fn entities(found: Entities) -> Vec<Entity> {
    let emails = found.emails.into_iter().map(|mention| ("email", mention.text));
    let links = found.links.into_iter().map(|mention| ("link", mention.text));
    let dates = found.dates.into_iter().map(|date| ("date", date.date.to_string()));
    let amounts = found.amounts.into_iter().map(|amount| ("amount", format!("{} {}", amount.currency, amount.value)));
    let all = emails.chain(links).chain(dates).chain(amounts);
    all.filter(|(_, text)| text.len() <= MAX_ENTITY_BYTES)
        .take(MAX_ENTITIES)
        .map(|(kind, text)| Entity { kind: kind.to_owned(), text })
        .collect()
}
