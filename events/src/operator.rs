//! What operators did, and why.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tidewire_core::Key;

use crate::catalogue::events;

/// An operator changed something by hand. It is in the log if and only if the change was made: both are one commit.
/// Only the house emits it; what a client sends under this name is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OperatorActed {
    /// Who: `key:<id>` or `jwt:<subject>` of whoever was recognised, else `local`, or `local:<user>` as he called himself.
    #[schemars(length(min = 1, max = 256))]
    pub actor: String,
    /// What was done, as the command line calls it, such as `parked redrive`.
    #[schemars(length(min = 1, max = crate::limits::CODE))]
    pub verb: String,
    /// What it was done to, such as `notifications.inbox` or `notifications.inbox#17`.
    #[schemars(length(min = 1, max = crate::limits::OBJECT))]
    pub target: String,
    /// Why, in his words; empty where he gave none.
    #[schemars(length(max = crate::limits::REASON))]
    pub reason: String,
    /// What else tells what was done: counts, ids, what was there before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = crate::limits::METADATA))]
    pub details: Option<Map<String, Value>>,
}

/// What one operator did, in order.
fn key(actor: &str) -> Key {
    Key::of("operator", actor)
}

events! {
    OperatorActed = "operator.acted" v 1, key(e) key(&e.actor),
        example {
            "actor": "local:ana", "verb": "parked redrive", "target": "notifications.inbox#17",
            "reason": "the mail server is back", "details": { "event": "0198c5a2-7b1e-7d3f-9a64-3f2b1c0d9e8f" }
        };
}
