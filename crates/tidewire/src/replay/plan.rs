//! A plan: what would be replayed, to whom, and what that would do. Made without changing anything, and the only thing
//! that can be applied.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::source::{Source, Wanted};

/// Where the events go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// To a consumer there is, onto its live documents. What it has handled is left alone, unless `again`: then its
    /// handler runs for every event once more, as a new generation of the consumer.
    Consumer {
        /// Its name.
        name: String,
        /// Also what it has handled.
        #[serde(default)]
        again: bool,
    },
    /// To the handler of a consumer under another name, with documents of its own beside the live ones
    /// (`<collection>~<name>`), which it has to say it keeps.
    New {
        /// The new name.
        name: String,
        /// Whose handler runs.
        handler: String,
    },
    /// Into a new generation of a projection, which is built from the whole log, compared with the live one, and takes its
    /// place.
    Projection {
        /// Its consumer's name.
        name: String,
        /// Bring the generation that was live before up to date instead, and go back to it.
        #[serde(default)]
        rollback: bool,
        /// Swap only if both generations hold the same.
        #[serde(default)]
        only_if_equal: bool,
    },
    /// Into a file of whoever applies the plan, as JSON lines.
    File,
    /// To the broker once more, under a domain of its own (`<domain>-<name>`): other subjects or topics, which no consumer
    /// of this installation reads.
    Domain {
        /// What is put behind the installation's own domain.
        name: String,
    },
}

impl Target {
    /// What only one replay at a time may go to.
    pub fn seat(&self) -> String {
        match self {
            Self::Consumer { name, .. } => format!("consumer/{name}"),
            Self::New { name, .. } => format!("new/{name}"),
            Self::Projection { name, .. } => format!("projection/{name}"),
            Self::File => "file".into(),
            Self::Domain { name } => format!("domain/{name}"),
        }
    }

    /// The consumer whose handler runs.
    pub fn handler(&self) -> Option<&str> {
        match self {
            Self::Consumer { name, .. } | Self::Projection { name, .. } => Some(name),
            Self::New { handler, .. } => Some(handler),
            Self::File | Self::Domain { .. } => None,
        }
    }
}

/// What an operator asks to be planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Which events.
    #[serde(default)]
    pub events: Wanted,
    /// Where to.
    pub target: Target,
    /// Carry out what the handler asks for: effects, timers, and the events it emits. Otherwise all of that is muted.
    #[serde(default)]
    pub with_effects: bool,
    /// Events per second at most; as fast as it goes without one, where nobody's live documents are touched.
    #[serde(default)]
    pub rate: Option<u32>,
}

/// A plan. Its hash names everything that decides what applying it does; what it reports was true when it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Its name: 32 hexadecimal digits.
    pub hash: String,
    /// What decides.
    #[serde(flatten)]
    pub terms: Terms,
    /// When it was made.
    pub made: DateTime<Utc>,
    /// What it would do.
    pub report: Report,
}

/// What decides what a replay does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// The log it is of.
    pub log_id: String,
    /// Which events.
    pub source: Source,
    /// Where to.
    pub target: Target,
    /// The how-manieth replay to this target it would be. So the same wish, once carried out, is another plan.
    pub generation: u32,
    /// What the handler reads, with the versions its build knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<String>,
    /// Whether effects, timers and emitted events become true.
    pub with_effects: bool,
    /// Events per second at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
}

impl Terms {
    /// The plan's name.
    pub fn hash(&self) -> String {
        // Of structs, texts and numbers: it cannot fail, and were it to, the plan would not be found again.
        let json = serde_json::to_vec(self).unwrap_or_default();
        Sha256::digest(json).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What a plan would do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Events it is about.
    pub events: u64,
    /// Their size, roughly.
    pub bytes: u64,
    /// Events by type and version.
    pub types: BTreeMap<String, u64>,
    /// When the first and the last of them were recorded.
    pub first: Option<DateTime<Utc>>,
    /// The same of the last.
    pub last: Option<DateTime<Utc>>,
    /// The consumers whose handlers run.
    pub handlers: Vec<String>,
    /// Events that are read through upcasts: from which version to which, and how many.
    pub upcasts: BTreeMap<String, u64>,
    /// Events of a newer version than this build knows. A plan with any cannot be applied by it.
    pub newer: BTreeMap<String, u64>,
    /// Events the consumer has handled or parked already, which are left alone.
    pub handled: Option<u64>,
    /// Events whose keys are parked for the consumer, and how many keys those are.
    pub parked_events: u64,
    /// The keys.
    pub parked_keys: u64,
    /// What the handler asked for in a trial on the first of these events, without anything being kept of it.
    pub trial: Option<Trial>,
    /// How long it would take, if all goes as in the trial.
    pub seconds: f64,
}

/// What a handler did for the first events of a plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// How many events it was tried on.
    pub events: u64,
    /// Effects it asked for, by kind. They are muted, unless the plan says otherwise; so is the rest.
    pub effects: BTreeMap<String, u64>,
    /// Events it emitted, by type.
    pub emitted: BTreeMap<String, u64>,
    /// Timers it set or cancelled.
    pub timers: u64,
    /// Documents it wrote.
    pub documents: u64,
    /// Events it failed for.
    pub failed: u64,
    /// Why it failed for the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The end of a range, for people.
pub(super) fn span(source: &Source) -> u64 {
    source.until.0.saturating_sub(source.after.0)
}
