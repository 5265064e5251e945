//! The documents of each workspace, newest last by id.

use chrono::{DateTime, Utc};
use events::{DocumentIngested, DocumentRejected, DocumentSubmitted};
use serde::{Deserialize, Serialize};
use tidewire::{Envelope, Projection, event_set};

use crate::view::Status;

/// Its collection; ids are `<workspace>/<document>`.
pub const LISTING: &str = "document_listing";

event_set! {
    /// What changes a listing.
    pub enum Listed { Submitted(DocumentSubmitted), Ingested(DocumentIngested), Rejected(DocumentRejected) }
}

/// A line of the listing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    document: String,
    workspace: String,
    status: Status,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    filename: Option<String>,
    submitted: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<String>,
}

/// Keeps the listing.
pub struct Listing;

impl Projection for Listing {
    const NAME: &'static str = "documents.listing";
    const COLLECTION: &'static str = LISTING;
    type Event = Listed;
    type Row = Line;

    fn rows(event: &Listed, _: &Envelope) -> Vec<String> {
        let (workspace, document) = match event {
            Listed::Submitted(event) => (&event.workspace, &event.document_id),
            Listed::Ingested(event) => (&event.workspace, &event.document_id),
            Listed::Rejected(event) => (&event.workspace, &event.document_id),
        };
        vec![format!("{workspace}/{document}")]
    }

    fn apply(row: &mut Option<Line>, _: &str, event: &Listed, envelope: &Envelope) {
        match (event, row) {
            (Listed::Submitted(event), row) => {
                *row = Some(Line {
                    document: event.document_id.clone(),
                    workspace: event.workspace.clone(),
                    status: Status::Ingesting,
                    title: event.title.clone(),
                    filename: event.filename.clone(),
                    submitted: envelope.time,
                    code: None,
                });
            }
            (Listed::Ingested(event), Some(line)) => {
                line.status = Status::Ingested;
                line.title = event.title.clone().or(line.title.take());
            }
            (Listed::Rejected(event), Some(line)) => {
                line.status = Status::Rejected;
                line.code = Some(event.code.clone());
            }
            // In order per key, a document is submitted before it ends.
            (_, None) => {}
        }
    }
}
