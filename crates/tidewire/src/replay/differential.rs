//! Differential replay: what a handler does for a recorded window of events, and how two versions of it differ.
//!
//! A [`Recording`] is what one version did: what it emitted, set and asked for at each event, how it failed, and the rows
//! it left behind. It can be kept as JSON, so that a build is compared with what an earlier build recorded. Nothing is
//! written anywhere, and nothing asked for is carried out.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidewire_core::{Envelope, Handler, Muted, TimerWrite, Unit};

use super::apply::prepare;
use super::driver::handle;
use super::view::View;
use crate::consume::{ConsumeLoop, ConsumeOptions};
use crate::ports::Ports;

/// Events that share one look-up for what they need.
const BATCH: usize = 512;
/// Differences named; all are counted.
pub const MAX_NAMED: usize = 100;

/// What a handler did for one event. Ids and times that a run draws for itself are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The event.
    pub event: String,
    /// What it emitted: type, key and data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emitted: Vec<Value>,
    /// The effects it asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<Value>,
    /// The timers it set or cancelled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timers: Vec<Value>,
    /// The code it failed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// What one version of a handler did for a window of events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// The consumer.
    pub consumer: String,
    /// Event by event.
    pub outcomes: Vec<Outcome>,
    /// The rows it left, by `<collection>/<id>`. A row it removed is not there.
    pub rows: BTreeMap<String, Value>,
}

impl Recording {
    /// Runs `handler` for `events`, in this order. Collections it [keeps](tidewire_core::Consumer::keeps) begin empty;
    /// others are read as they are now. All rows it writes are in memory: windows of up to some 100,000 events.
    pub async fn of(ports: &Ports, handler: Arc<dyn Handler>, events: &[Envelope]) -> Self {
        let runner = ConsumeLoop::new(ports, handler, "/differential", ConsumeOptions::default());
        // A generation that is never written: everything kept there is in the unit.
        let view = Arc::new(View::beside(ports.store.clone(), &runner.consumer.keeps, "differential"));
        let mut unit = Unit::new(view, ports.clock.clone(), &runner.consumer.name, &runner.source).muted();
        let mut recording = Self { consumer: runner.consumer.name.clone(), ..Self::default() };
        for batch in events.chunks(BATCH) {
            prepare(&runner, &mut unit, batch.iter()).await;
            for envelope in batch {
                let failed = handle(&runner, &mut unit, envelope).await.err().map(|failure| failure.code);
                recording.outcomes.push(Outcome { failed, ..outcome(&envelope.id, unit.take_muted()) });
            }
        }
        for write in unit.into_commit().documents {
            if let Some(value) = write.value {
                let value = serde_json::from_slice(&value).unwrap_or(Value::Null);
                recording.rows.insert(format!("{}/{}", write.collection, write.id), value);
            }
        }
        recording
    }

    /// How `new` differs from this one.
    pub fn differences(&self, new: &Self) -> Differences {
        let mut found =
            Differences { events: self.outcomes.len().max(new.outcomes.len()) as u64, ..Default::default() };
        let mut other: BTreeMap<&str, &Outcome> =
            new.outcomes.iter().map(|outcome| (outcome.event.as_str(), outcome)).collect();
        let nothing = Outcome::default();
        for old in &self.outcomes {
            match other.remove(old.event.as_str()) {
                Some(new) => found.at_event(old, new),
                None => found.name("window", &old.event, json!("handled"), Value::Null),
            }
        }
        for (event, outcome) in other {
            found.name("window", event, Value::Null, json!("handled"));
            found.at_event(&nothing, outcome);
        }
        let keys: std::collections::BTreeSet<&String> = self.rows.keys().chain(new.rows.keys()).collect();
        for key in keys {
            let (old, new) = (self.rows.get(key), new.rows.get(key));
            if old != new {
                found.name("row", key, old.cloned().unwrap_or_default(), new.cloned().unwrap_or_default());
            }
        }
        found
    }
}

fn outcome(event: &str, muted: Muted) -> Outcome {
    let emitted = |event: &Envelope| {
        let data = event.data.as_deref().unwrap_or(b"null");
        let data = serde_json::from_slice::<Value>(data).unwrap_or_else(|_| json!(event.data_text()));
        json!({"type": event.ty.to_string(), "key": event.key.as_str(), "subject": event.subject, "data": data})
    };
    let timer = |write: &TimerWrite| match write {
        TimerWrite::Set(timer) => {
            json!({"set": timer.id, "key": timer.key.as_str(), "data": String::from_utf8_lossy(&timer.data)})
        }
        TimerWrite::Cancel { id, .. } => json!({"cancel": id}),
        TimerWrite::Fire { id, .. } => json!({"fire": id}),
    };
    Outcome {
        event: event.to_owned(),
        emitted: muted.events.iter().map(emitted).collect(),
        effects: muted.effects.iter().map(|effect| serde_json::to_value(&effect.call).unwrap_or_default()).collect(),
        timers: muted.timers.iter().map(timer).collect(),
        failed: None,
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// `emitted`, `effects`, `timers`, `failed`, `row`, or `window` for an event that only one of them was given.
    pub what: &'static str,
    /// The event's id, or the row's collection and id.
    pub at: String,
    /// As it was.
    pub old: Value,
    /// As it is.
    pub new: Value,
}

/// How two recordings differ.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Differences {
    /// Events in the window.
    pub events: u64,
    /// How many differences there are, by what they are about.
    pub counts: BTreeMap<&'static str, u64>,
    /// The first of them.
    pub first: Vec<Change>,
}

impl Differences {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    fn at_event(&mut self, old: &Outcome, new: &Outcome) {
        let lists = [
            ("emitted", &old.emitted, &new.emitted),
            ("effects", &old.effects, &new.effects),
            ("timers", &old.timers, &new.timers),
        ];
        for (what, before, after) in lists {
            if before != after {
                self.name(what, &new.event, json!(before), json!(after));
            }
        }
        if old.failed != new.failed {
            self.name("failed", &new.event, json!(old.failed), json!(new.failed));
        }
    }

    fn name(&mut self, what: &'static str, at: &str, old: Value, new: Value) {
        *self.counts.entry(what).or_default() += 1;
        if self.first.len() < MAX_NAMED {
            self.first.push(Change { what, at: at.to_owned(), old, new });
        }
    }
}
