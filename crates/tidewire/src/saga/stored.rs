//! Where sagas lie: one document each, and an index by status for listing.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tidewire_core::Key;
use tidewire_core::saga::Status;
use uuid::Uuid;

/// The collection of sagas; a document's id is the saga's.
pub(super) const COLLECTION: &str = "saga";
/// The collection that lists them, `<status>/<started, in milliseconds>/<id>`.
pub(super) const INDEX: &str = "saga_index";

/// What the index says about a saga. It changes only with the saga's status.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Listed {
    pub(super) saga: String,
    pub(super) key: Key,
}

/// A saga's place among all of one status: sorts by start.
pub(super) fn place(started_at: DateTime<Utc>, id: Uuid) -> String {
    // Wide enough for thirty millennia, which keeps the text's order that of the numbers.
    format!("{:015}/{id}", started_at.timestamp_millis().max(0))
}

pub(super) fn index_id(status: Status, place: &str) -> String {
    format!("{}/{place}", status.as_str())
}
