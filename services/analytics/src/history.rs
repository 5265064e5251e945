//! `analytics.activity`: what each user did, one row per activity.

use chrono::{DateTime, Utc};
use events::{ActivityTracked, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tidewire::{Envelope, Projection, event_set};

event_set! {
    /// What histories are made of.
    pub enum HistoryEvent { Tracked(ActivityTracked) }
}

/// One activity in somebody's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The id of the event.
    pub id: String,
    /// When it happened.
    pub time: DateTime<Utc>,
    /// What was done.
    pub action: String,
    /// What it was done to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Whatever else belongs to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

/// Histories: rows `<user>/<place>`, where places sort in the order the log took the activities. That order,
/// unlike the emitters' clocks, never puts a new row among those a reader has paged through.
pub struct History;

/// The prefix of one user's rows.
pub(crate) fn prefix(user: &UserId) -> String {
    format!("{user}/")
}

impl Projection for History {
    const NAME: &'static str = "analytics.activity";
    const COLLECTION: &'static str = "activity";
    type Event = HistoryEvent;
    type Row = Entry;

    fn rows(HistoryEvent::Tracked(event): &HistoryEvent, envelope: &Envelope) -> Vec<String> {
        let recorded = envelope.recordedtime.unwrap_or(envelope.time).timestamp_micros().max(0);
        // Those of one commit share their time; the sequence tells their order, and the id tells them apart
        // should they come from different streams.
        let sequence = envelope.sequence.unwrap_or(0);
        vec![format!("{}{recorded:016}-{sequence:012}-{}", prefix(&event.user_id), envelope.id)]
    }

    fn apply(row: &mut Option<Entry>, _: &str, event: &HistoryEvent, envelope: &Envelope) {
        let HistoryEvent::Tracked(event) = event;
        *row = Some(Entry {
            id: envelope.id.clone(),
            time: envelope.time,
            action: event.action.clone(),
            object: event.object.clone(),
            metadata: event.metadata.clone(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_sort_as_the_log_took_them() {
        let row = |recorded: &str, sequence: u32, id: &str| {
            let envelope: Envelope = serde_json::from_value(json!({
                "specversion": "1.0", "id": id, "source": "/t", "type": "activity.tracked.v2", "partitionkey": "k",
                "time": "2031-01-01T00:00:00Z", "recordedtime": recorded, "sequence": sequence.to_string()
            }))
            .unwrap();
            let event = ActivityTracked {
                user_id: UserId::new("7").unwrap(),
                action: "a".into(),
                object: None,
                metadata: None,
            };
            History::rows(&event.into(), &envelope).remove(0)
        };
        let rows = [
            row("1999-12-31T23:59:59Z", 500, "z"),
            row("2026-01-01T00:00:00Z", 9, "y"),
            row("2026-01-01T00:00:00Z", 10, "x"),
            row("2026-01-01T00:00:00.000001Z", 1, "a"),
        ];
        assert!(rows.is_sorted_by(|a, b| a < b), "{rows:?}");
        assert!(rows.iter().all(|row| row.starts_with("7/")));
    }
}
