//! Whether this build can go on with a saga that is stored.

use serde::Deserialize;
use serde_json::Value;
use tidewire::saga::{Definition, Policy, Saga};

use crate::{Ingestion, IngestionState};

/// What of a saga, as it is shown, says how to read it.
#[derive(Deserialize)]
struct Shown {
    #[serde(rename = "type")]
    name: String,
    status: String,
    definition: u16,
    fingerprint: String,
    state: Value,
}

/// Whether a saga, as `GET /v1/sagas/{id}` shows it, can be read by this build's orchestrators: its name, definition and
/// steps are known, and its state is one of theirs. What is wrong with it, otherwise. One that has ended under another
/// definition is only ever shown, which needs none.
pub fn read(saga: &Value) -> Result<(), String> {
    let shown = Shown::deserialize(saga).map_err(|error| error.to_string())?;
    if shown.name != Ingestion::NAME {
        return Err(format!("this build does not know the saga `{}`", shown.name));
    }
    let definition = Definition::new(Ingestion::new(Policy::default())).map_err(|error| error.to_string())?;
    let is_this = shown.definition == Ingestion::DEFINITION && shown.fingerprint == definition.fingerprint();
    match (is_this, shown.status.as_str()) {
        (true, _) => IngestionState::deserialize(&shown.state).map(drop).map_err(|error| error.to_string()),
        (false, "completed" | "undone" | "cancelled") => Ok(()),
        (false, _) => Err(format!(
            "it is of definition {} with the steps {}; this build knows {} with {}",
            shown.definition,
            shown.fingerprint,
            Ingestion::DEFINITION,
            definition.fingerprint()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_an_orchestrator_could_not_go_on_with_is_named() {
        let definition = Definition::new(Ingestion::new(Policy::default())).unwrap();
        let fingerprint = definition.fingerprint();
        let state = json!({ "submitted": events::entry("document.submitted").unwrap().example, "object": "", "title": null,
            "characters": 0, "chunks": 0, "language": null, "keywords": [] });
        let saga = |definition: u16, status: &str, state: &Value| {
            json!({ "type": Ingestion::NAME, "status": status, "definition": definition,
                    "fingerprint": fingerprint, "state": state })
        };
        assert_eq!(read(&saga(1, "running", &state)), Ok(()));
        assert_eq!(read(&saga(9, "completed", &json!(7))), Ok(()), "it is never gone on with");
        assert!(read(&saga(9, "running", &state)).unwrap_err().contains("definition 9"));
        assert!(read(&saga(1, "completed", &json!(7))).is_err());
        let mut other = saga(1, "running", &state);
        other["type"] = json!("another");
        assert!(read(&other).unwrap_err().contains("another"));
    }
}
