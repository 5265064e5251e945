//! What sagas tell the world about themselves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidewire_core::Key;

use crate::catalogue::events;

/// A saga can go neither forward nor back without a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SagaStuck {
    /// The saga.
    #[schemars(length(min = 1, max = 64))]
    pub saga_id: String,
    /// Its kind, such as `document-ingestion`.
    #[schemars(length(min = 1, max = 100))]
    pub saga: String,
    /// The step it is stuck at.
    #[schemars(length(max = 100))]
    pub step: String,
    /// Why, for people.
    #[schemars(length(max = crate::limits::REASON))]
    pub reason: String,
    /// The key it works on, such as `document/7`; the event lies in this stream.
    #[schemars(length(min = 1, max = 256))]
    pub subject: String,
}

/// The key a saga works on, taken as it is if it can be one.
fn key(subject: &str) -> Key {
    Key::new(subject).unwrap_or_else(|_| Key::of("saga", subject))
}

events! {
    SagaStuck = "saga.stuck" v 1, key(e) key(&e.subject),
        example {
            "saga_id": "0198c5a2-7b1e-5d3f-9a64-3f2b1c0d9e8f", "saga": "document-ingestion", "step": "index",
            "reason": "the index refuses to remove the document: out of disk space", "subject": "document/0198c5a2"
        };
}
