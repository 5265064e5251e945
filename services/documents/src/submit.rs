//! Submitting a document: the original first, then the event that says it is there.

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use events::DocumentSubmitted;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tidewire::objects::{ObjectKey, Objects, ObjectsError};
use tidewire::{
    Append, Commit, Committed, DocumentWrite, Draft, Event, Expect, Ports, Position, SchemaError, Store, StoreError,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::parts::incoming;

/// The source its events carry.
pub const SOURCE: &str = "/documents";
/// The saga that ingests documents, by the name it is defined under.
pub const SAGA: &str = "document-ingestion";

/// An original that no event names is removed once it is this old: whoever submitted it has long been told
/// that it failed.
const ORPHAN_AGE: TimeDelta = TimeDelta::hours(24);
/// How often orphans are looked for.
const SWEEP_EVERY: std::time::Duration = std::time::Duration::from_secs(3_600);

/// What the sender gives.
pub struct Submission {
    /// The workspace.
    pub workspace: String,
    /// A title, if the sender has one.
    pub title: Option<String>,
    /// The name of the file.
    pub filename: Option<String>,
    /// What the sender says it is.
    pub media_type: String,
    /// The original.
    pub bytes: Bytes,
}

/// What became of it.
pub struct Submitted {
    /// The document's id, and the id of its saga.
    pub answer: Value,
    /// The document's id.
    pub document: String,
    /// Where the event is in the log.
    pub position: Position,
}

/// Why a document could not be submitted. Nothing was accepted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The object store.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The event itself.
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

/// Stores the original, then commits `document.submitted` together with what `alongside` gives for the answer.
/// A crash in between leaves an original nobody knows, which [`sweep`] removes.
pub async fn submit(
    ports: &Ports,
    objects: &Objects,
    submission: Submission,
    alongside: impl FnOnce(&Value, &str) -> Vec<DocumentWrite>,
) -> Result<Submitted, SubmitError> {
    let document = ports.clock.id().to_string();
    let original = incoming(&document)?;
    let event = describe(&document, &original, &submission);
    objects.put(&original, submission.bytes).await?;
    let envelope = Draft::of(&event)?.seal(ports.clock.as_ref(), SOURCE, None);
    let answer = json!({ "document": document, "saga": tidewire::saga::saga_id(SAGA, &envelope.id).to_string() });
    let documents = alongside(&answer, &document);
    let append = Append { key: event.key(), expect: Expect::Version(0), events: vec![envelope] };
    match ports.store.commit(Commit { append: vec![append], documents, ..Commit::default() }).await {
        Ok(Committed::Applied { last }) => Ok(Submitted { answer, document, position: last }),
        Ok(Committed::Duplicate) => Err(StoreError::Invalid("a submission cannot be a duplicate".into()).into()),
        Err(error) => {
            // An unknown outcome may have been a success: then the original is needed.
            if !matches!(error, StoreError::Unknown(_)) {
                let _ = objects.delete(&original).await;
            }
            Err(error.into())
        }
    }
}

fn describe(document: &str, original: &ObjectKey, submission: &Submission) -> DocumentSubmitted {
    let digest = Sha256::digest(&submission.bytes);
    DocumentSubmitted {
        document_id: document.to_owned(),
        workspace: submission.workspace.clone(),
        title: submission.title.clone(),
        media_type: submission.media_type.clone(),
        bytes: submission.bytes.len() as u64,
        filename: submission.filename.clone(),
        sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        original: original.as_str().to_owned(),
    }
}

/// Removes originals whose event was never committed, until told to stop.
pub async fn sweep(ports: Ports, objects: Objects, stop: CancellationToken) {
    while !stop.is_cancelled() {
        if let Err(error) = sweep_once(&ports, &objects).await {
            tracing::warn!(%error, "could not look for orphaned originals");
        }
        let _ = tokio::time::timeout(SWEEP_EVERY, stop.cancelled()).await;
    }
}

async fn sweep_once(ports: &Ports, objects: &Objects) -> Result<(), SubmitError> {
    let now = ports.clock.now();
    for (key, _) in objects.list("incoming").await? {
        let id = key.as_str().trim_start_matches("incoming/");
        let old = born(id).is_some_and(|born| now - born > ORPHAN_AGE);
        if old && is_unknown(ports.store.as_ref(), id).await? {
            tracing::info!(object = key.as_str(), "removing an original that was never submitted");
            objects.delete(&key).await?;
        }
    }
    Ok(())
}

/// Whether no such document was ever submitted. One whose events were retired was.
async fn is_unknown(store: &dyn Store, id: &str) -> Result<bool, StoreError> {
    match store.stream(&events::document::key(id), 0, 1).await {
        Err(StoreError::Retired(_)) => Ok(false),
        stream => Ok(stream?.is_empty()),
    }
}

/// When a document's id was drawn, which a UUIDv7 tells.
fn born(id: &str) -> Option<DateTime<Utc>> {
    let (seconds, nanos) = id.parse::<Uuid>().ok()?.get_timestamp()?.to_unix();
    DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanos)
}
