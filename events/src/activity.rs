//! What people do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tidewire_core::{Key, SchemaError};

use crate::catalogue::events;
use crate::user_id::UserId;

/// Somebody did something worth counting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ActivityTracked {
    /// Who did it.
    pub user_id: UserId,
    /// What was done, such as `page.viewed`.
    #[schemars(length(min = 1, max = crate::limits::ACTION))]
    pub action: String,
    /// What it was done to, such as a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = crate::limits::OBJECT))]
    pub object: Option<String>,
    /// Whatever else belongs to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = crate::limits::METADATA))]
    pub metadata: Option<Map<String, Value>>,
}

/// The stream of one user's activity.
pub fn key(user: &UserId) -> Key {
    Key::of("activity", user)
}

/// Version 1 called the action `verb`.
fn upcast(from: u16, mut data: Value) -> Result<Value, SchemaError> {
    match (from, &mut data) {
        (1, Value::Object(fields)) => {
            if let Some(verb) = fields.remove("verb") {
                fields.insert("action".to_owned(), verb);
            }
            Ok(data)
        }
        // What is no object has no fields to rename; reading it as the type says so.
        (1, _) => Ok(data),
        _ => Err(SchemaError::no_upcast::<ActivityTracked>(from)),
    }
}

events! {
    ActivityTracked = "activity.tracked" v 2, key(e) key(&e.user_id),
        example { "user_id": "42", "action": "page.viewed", "object": "/pricing", "metadata": { "referrer": "search" } },
        older [1] upcast upcast;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tidewire_core::Event;

    #[test]
    fn the_verb_of_version_one_is_the_action() {
        let event = upcast(1, json!({ "user_id": "42", "verb": "page.viewed" })).unwrap();
        assert_eq!(event, json!({ "user_id": "42", "action": "page.viewed" }));
        assert!(upcast(2, event).is_err());
        assert_eq!(ActivityTracked::TYPE.version(), 2);
    }
}
