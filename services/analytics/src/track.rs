//! Reading what was tracked.

use std::collections::HashMap;

use events::{ActivityTracked, UserId, limits};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tidewire::http::Problem;
use tidewire::{Append, Clock, Draft, Expect};

use crate::SOURCE;

/// The most activities in one request: a commit of a few milliseconds.
pub const MAX_TRACKED: usize = 500;
/// The most metadata of one activity, in bytes of JSON.
const MAX_METADATA_BYTES: usize = 8 * 1024;

/// One activity as it is sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tracked {
    user: UserId,
    action: String,
    object: Option<String>,
    metadata: Option<Map<String, Value>>,
}

/// Reads one activity or a list of them. What is wrong is named one by one, under `errors`; then nothing is taken.
pub(crate) fn read(body: Value) -> Result<Vec<ActivityTracked>, Problem> {
    let items = match body {
        Value::Array(items) => items,
        item => vec![item],
    };
    if items.is_empty() || items.len() > MAX_TRACKED {
        let detail = format!("a request holds 1 to {MAX_TRACKED} activities; this one holds {}", items.len());
        return Err(Problem::invalid(detail));
    }
    let (mut taken, mut errors) = (Vec::with_capacity(items.len()), Vec::new());
    for (index, item) in items.into_iter().enumerate() {
        match activity(item) {
            Ok(activity) => taken.push(activity),
            Err(detail) => errors.push(json!({ "index": index, "detail": detail })),
        }
    }
    match errors.first() {
        None => Ok(taken),
        Some(first) => {
            let detail = format!("activity {}: {}", first["index"], first["detail"].as_str().unwrap_or_default());
            Err(Problem::invalid(detail).with("errors", errors))
        }
    }
}

fn activity(item: Value) -> Result<ActivityTracked, String> {
    let Tracked { user, action, object, metadata } =
        serde_json::from_value(item).map_err(|error| events::limits::cut(&error.to_string(), 300))?;
    let action = action.trim().to_owned();
    if !(1..=limits::ACTION).contains(&action.chars().count()) || action.chars().any(char::is_control) {
        return Err(format!("`action` must have 1 to {} characters, none of them control characters", limits::ACTION));
    }
    if object.as_ref().is_some_and(|object| object.chars().count() > limits::OBJECT) {
        return Err(format!("`object` must have at most {} characters", limits::OBJECT));
    }
    if let Some(metadata) = &metadata {
        if metadata.len() > limits::METADATA {
            return Err(format!("`metadata` must have at most {} members", limits::METADATA));
        }
        let bytes = serde_json::to_vec(metadata).map_or(usize::MAX, |json| json.len());
        if bytes > MAX_METADATA_BYTES {
            return Err(format!("`metadata` must have at most {MAX_METADATA_BYTES} bytes"));
        }
    }
    Ok(ActivityTracked { user_id: user, action, object, metadata })
}

/// The activities as appends, one per user, and their ids in the order given.
pub(crate) fn appends(
    activities: &[ActivityTracked],
    clock: &dyn Clock,
) -> Result<(Vec<Append>, Vec<String>), tidewire::SchemaError> {
    let mut appends: Vec<Append> = Vec::new();
    let mut by_key = HashMap::new();
    let mut ids = Vec::with_capacity(activities.len());
    for activity in activities {
        let envelope = Draft::of(activity)?.seal(clock, SOURCE, None);
        ids.push(envelope.id.clone());
        let at = *by_key.entry(envelope.key.clone()).or_insert_with(|| {
            appends.push(Append { key: envelope.key.clone(), expect: Expect::Any, events: Vec::new() });
            appends.len() - 1
        });
        appends[at].events.push(envelope);
    }
    Ok((appends, ids))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire::ManualClock;

    #[test]
    fn one_or_many() {
        let one = json!({ "user": "42", "action": "page.viewed", "object": "/", "metadata": { "a": [1] } });
        assert_eq!(read(one.clone()).unwrap().len(), 1);
        assert_eq!(read(Value::Array(vec![one; MAX_TRACKED])).unwrap().len(), MAX_TRACKED);
    }

    #[test]
    fn what_is_wrong_is_named_one_by_one() {
        let good = json!({ "user": "42", "action": "a" });
        let bad = [
            json!({ "user": "a/b", "action": "a" }),
            json!({ "user": "42" }),
            json!({ "user": "42", "action": " " }),
            json!({ "user": "42", "action": "a\u{7}" }),
            json!({ "user": "42", "action": "a".repeat(101) }),
            json!({ "user": "42", "action": "a", "objekt": "typing error" }),
            json!({ "user": "42", "action": "a", "object": "o".repeat(513) }),
            json!({ "user": "42", "action": "a", "metadata": [] }),
            json!({ "user": "42", "action": "a", "metadata": { "a": "x".repeat(9_000) } }),
            json!({ "user": "42", "action": "a", "metadata": (0..65).map(|n| (n.to_string(), json!(n))).collect::<Map<_, _>>() }),
            json!("page.viewed"),
        ];
        for bad in bad {
            let problem = read(json!([good, bad, good])).unwrap_err();
            assert_eq!(problem.status, 400);
            assert_eq!(problem.extra["errors"][0]["index"], 1, "{bad}");
            assert_eq!(problem.extra["errors"].as_array().unwrap().len(), 1, "{bad}");
        }
        for bad in [json!([]), Value::Array(vec![good; MAX_TRACKED + 1])] {
            assert!(read(bad).is_err());
        }
    }

    #[test]
    fn a_users_activities_stay_in_order() {
        let body = json!([
            { "user": "1", "action": "a" }, { "user": "2", "action": "b" }, { "user": "1", "action": "c" }
        ]);
        let clock = ManualClock::new(Default::default(), 1);
        let (appends, ids) = appends(&read(body).unwrap(), &clock).unwrap();
        let by_key: Vec<(&str, Vec<&str>)> = appends
            .iter()
            .map(|append| (append.key.as_str(), append.events.iter().map(|event| event.id.as_str()).collect()))
            .collect();
        assert_eq!(by_key, [("activity/1", vec![&*ids[0], &*ids[2]]), ("activity/2", vec![&*ids[1]])]);
    }
}
