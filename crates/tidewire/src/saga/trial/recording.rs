//! Recordings: what a release decided, to be held against every later one.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidewire_core::saga::{Advanced, Definition, Input, Saga, SagaLog};
use tidewire_core::{Draft, Envelope};

/// One saga from its start to its end, with every decision. Written once by the release that has the definition, and
/// kept: sagas that were begun then may still be on their way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// The saga.
    pub saga: String,
    /// Its version.
    pub definition: u16,
    /// Its steps.
    pub fingerprint: String,
    /// The event that started it.
    pub start: Envelope,
    /// What came in, and what was decided. The first is the start itself.
    pub turns: Vec<Turn>,
    /// Its log in the end.
    pub end: Value,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// When.
    pub at: DateTime<Utc>,
    /// The reply that came in; none when its timer fired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Envelope>,
    /// The status it has after this.
    pub status: String,
    /// What it emitted.
    pub emitted: Vec<Emitted>,
}

/// An event that was emitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Emitted {
    /// Its id: the same decision gives the same one.
    pub id: Option<String>,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: String,
    /// Its data.
    pub data: Value,
    /// The attributes that say where it belongs.
    pub attributes: Value,
}

impl Recording {
    /// Records what `definition` decides, from `start` through these inputs.
    pub fn of<G: Saga>(
        definition: &Definition<G>,
        start: &Envelope,
        inputs: &[(DateTime<Utc>, Option<Envelope>)],
    ) -> Result<Self, String> {
        let at = inputs.first().map_or(DateTime::UNIX_EPOCH, |(at, _)| *at);
        let begun = definition.begin(start, at).map_err(|error| error.to_string())?;
        let mut advanced = begun.ok_or("the event starts nothing")?;
        let mut turns = vec![Turn::of(at, None, &advanced)];
        for (at, reply) in inputs {
            let input = reply.as_ref().map_or(Input::Wake, Input::Reply);
            advanced = definition.advance(advanced.log, input, *at);
            turns.push(Turn::of(*at, reply.clone(), &advanced));
        }
        let SagaLog { saga, definition: version, fingerprint, .. } = &advanced.log;
        let end = serde_json::to_value(&advanced.log).map_err(|error| error.to_string())?;
        let (saga, definition, fingerprint) = (saga.clone(), *version, fingerprint.clone());
        Ok(Self { saga, definition, fingerprint, start: start.clone(), turns, end })
    }

    /// Whether this build decides the same: what was emitted under the same ids with the same data, the same statuses,
    /// and in the end the same state and steps. What is different, otherwise.
    pub fn replay<G: Saga>(&self, definition: &Definition<G>) -> Result<(), String> {
        let (saga, pinned) = (G::NAME, definition.is_pinned(self.definition, &self.fingerprint));
        if self.saga != saga || !pinned {
            return Err(format!("`{saga}` of this build has other steps than definition {}", self.definition));
        }
        let inputs: Vec<_> = self.turns.iter().skip(1).map(|turn| (turn.at, turn.reply.clone())).collect();
        let again = Self::of(definition, &self.start, &inputs)?;
        for (n, (then, now)) in self.turns.iter().zip(&again.turns).enumerate() {
            if then != now {
                return Err(format!("turn {n} was {then:?}, and is now {now:?}"));
            }
        }
        // A build may note more about a saga than the one before; what it decided must be the same.
        for pointer in ["/status", "/state", "/epoch", "/failure", "/stuck", "/emitted"] {
            let (then, now) = (self.end.pointer(pointer), again.end.pointer(pointer));
            if then != now {
                return Err(format!("in the end `{pointer}` was {then:?}, and is now {now:?}"));
            }
        }
        let steps = |end: &Value| -> Vec<Value> {
            let steps = end["steps"].as_array().cloned().unwrap_or_default();
            let part =
                |step: &Value| ["name", "status", "epoch", "attempts", "undo_attempts"].map(|name| step[name].clone());
            steps.iter().map(|step| Value::from(part(step).to_vec())).collect()
        };
        if steps(&self.end) != steps(&again.end) {
            return Err("in the end its steps are others".into());
        }
        // And what it stored then is read by this build, as it was.
        match definition.read(&self.end) {
            Ok(Some(tidewire_core::saga::stall::Stored::Known(_))) => Ok(()),
            Ok(Some(tidewire_core::saga::stall::Stored::Unknown(reason))) => Err(reason),
            Ok(None) => Err("it is another saga's".into()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Turn {
    fn of<S>(at: DateTime<Utc>, reply: Option<Envelope>, advanced: &Advanced<S>) -> Self {
        let status = advanced.log.status.as_str().to_owned();
        Self { at, reply, status, emitted: advanced.drafts.iter().map(Emitted::of).collect() }
    }
}

impl Emitted {
    fn of(draft: &Draft) -> Self {
        let data = draft.data.as_deref().and_then(|data| serde_json::from_slice(data).ok()).unwrap_or_default();
        let attributes = draft.extensions.iter().map(|(name, value)| (name.clone(), Value::from(value.to_text())));
        Self { id: draft.id.clone(), ty: draft.ty.to_string(), data, attributes: Value::Object(attributes.collect()) }
    }
}
