//! `POST /v1/parked/{ordinal}/edit` and `…/drop`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tidewire::Envelope;
use tidewire::http::{Json, Problem};
use tidewire::operate::{Actor, Operator};

use crate::contracts::Contracts;
use crate::operate::{problem, told};

/// The most differences that are listed.
const MAX_CHANGES: usize = 200;
/// What of an event is its payload; all else is locked.
const DATA: [&str; 2] = ["data", "data_base64"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Edit {
    /// The new data.
    data: Option<Value>,
    /// Or the whole event, of which only the data may differ.
    event: Option<Map<String, Value>>,
    /// The id of the event as it was looked at: another one was edited meanwhile.
    expect: Option<String>,
    #[serde(default)]
    dry_run: bool,
    reason: Option<String>,
}

/// Other data for a parked event: checked against its schema, under a new id, with a link to the old one. It stays parked,
/// in its place, until it is redriven.
pub(super) async fn edit(
    State((operator, contracts)): State<(Operator, Arc<Contracts>)>,
    Path(ordinal): Path<u64>,
    actor: Actor,
    Json(body): Json<Edit>,
) -> Result<Json<Value>, Problem> {
    let parked = operator.parked_one(ordinal).await.map_err(problem)?;
    let before = shown(&parked.envelope)?;
    if body.expect.is_some_and(|expected| expected != parked.envelope.id) {
        let detail = format!("what is parked under {ordinal} is another event by now");
        return Err(Problem::conflict("parked.changed", detail));
    }
    let data = match (body.data, body.event) {
        (Some(data), None) => data,
        (None, Some(event)) => data_of(event, &before)?,
        _ => return Err(Problem::invalid("either `data` or `event` is needed")),
    };
    let bytes = written(&parked.envelope, &data)?;
    let (parked, after) = operator.edit_preview(ordinal, bytes).await.map_err(problem)?;
    contracts.fits(&after)?;
    let mut changes = Vec::new();
    let old = before.get("data").unwrap_or(&Value::Null);
    differences("/data", old, &data, &mut changes);
    if changes.is_empty() {
        return Err(Problem::invalid("the data is as it was; there is nothing to edit"));
    }
    let (before, after) = match body.dry_run {
        true => (parked.envelope, after),
        false => {
            let edited = operator.edit(&actor, &told(body.reason), parked, after).await.map_err(problem)?;
            (edited.before, edited.after)
        }
    };
    Ok(Json(json!({
        "ordinal": ordinal, "before": before, "after": after, "changes": changes, "dry_run": body.dry_run,
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Drop {
    /// Why: what is dropped is never handled, and somebody will ask.
    reason: String,
}

/// Takes a parked event out for good. What waited behind it runs, in order.
pub(super) async fn drop(
    State(operator): State<Operator>,
    Path(ordinal): Path<u64>,
    actor: Actor,
    Json(body): Json<Drop>,
) -> Result<Json<Value>, Problem> {
    if body.reason.trim().is_empty() {
        return Err(Problem::invalid("`reason` is needed: what is dropped is never handled"));
    }
    let dropped = operator.drop_parked(&actor, &told(Some(body.reason)), ordinal).await.map_err(problem)?;
    Ok(Json(serde_json::to_value(dropped).map_err(Problem::internal)?))
}

fn shown(envelope: &Envelope) -> Result<Value, Problem> {
    serde_json::to_value(envelope).map_err(Problem::internal)
}

/// The data of an event that was sent whole. 400 `parked.locked` where anything else differs.
fn data_of(mut event: Map<String, Value>, before: &Value) -> Result<Value, Problem> {
    for (name, value) in &event {
        if !DATA.contains(&name.as_str()) && before.get(name) != Some(value) {
            let detail = format!("attribute `{name}` is locked: only the data of a parked event can be edited");
            return Err(Problem::new(StatusCode::BAD_REQUEST, "parked.locked", detail).with("attribute", name.clone()));
        }
    }
    event.remove("data").ok_or_else(|| Problem::invalid("the event has no `data`"))
}

/// The data as the envelope carries it: JSON, or a text that is declared as one.
fn written(envelope: &Envelope, data: &Value) -> Result<Bytes, Problem> {
    if envelope.is_json() {
        return Ok(data.to_string().into());
    }
    match (data, envelope.data.as_deref().map(std::str::from_utf8)) {
        (Value::String(text), Some(Ok(_))) => Ok(text.clone().into()),
        _ => Err(Problem::invalid("this event carries neither JSON nor text; it cannot be edited here")),
    }
}

/// Where two pieces of JSON differ, as pointers with what was and what is there.
fn differences(at: &str, before: &Value, after: &Value, found: &mut Vec<Value>) {
    if before == after || found.len() >= MAX_CHANGES {
        return;
    }
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
            for name in names {
                let escaped = name.replace('~', "~0").replace('/', "~1");
                let (old, new) = (old.get(name), new.get(name));
                match (old, new) {
                    (Some(old), Some(new)) => differences(&format!("{at}/{escaped}"), old, new, found),
                    _ => found.push(json!({ "pointer": format!("{at}/{escaped}"), "before": old, "after": new })),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (n, (old, new)) in old.iter().zip(new).enumerate() {
                differences(&format!("{at}/{n}"), old, new, found);
            }
        }
        _ => found.push(json!({ "pointer": at, "before": before, "after": after })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named_by_their_place() {
        let mut found = Vec::new();
        let (before, after) = (
            json!({"a": 1, "b": {"c/d": [1, 2]}, "gone": true, "same": null}),
            json!({"a": 2, "b": {"c/d": [1, 3]}, "new": [], "same": null}),
        );
        differences("/data", &before, &after, &mut found);
        let places: Vec<_> = found.iter().map(|one| one["pointer"].as_str().unwrap()).collect();
        assert_eq!(places, ["/data/a", "/data/b/c~1d/1", "/data/gone", "/data/new"]);
        assert_eq!((&found[0]["before"], &found[0]["after"]), (&json!(1), &json!(2)));
    }

    #[test]
    fn everything_but_the_data_is_locked() {
        let before = json!({"id": "1", "type": "a.b.v1", "data": {"n": 1}});
        let event = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        assert_eq!(data_of(event(r#"{"id":"1","data":{"n":2}}"#), &before).unwrap(), json!({"n": 2}));
        for locked in [r#"{"id":"2","data":1}"#, r#"{"id":"1","subject":"s","data":1}"#] {
            assert!(data_of(event(locked), &before).is_err(), "{locked}");
        }
        assert!(data_of(event(r#"{"id":"1"}"#), &before).is_err());
    }
}
