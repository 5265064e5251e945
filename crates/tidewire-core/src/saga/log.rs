//! The log of one saga: everything there is to know about an instance.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::history::History;
use super::reference::{Direction, Failure, SagaRef};
use super::stall::Stall;
use crate::envelope::Envelope;
use crate::key::Key;

/// Where a saga is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// On its way forward.
    Running,
    /// A step failed; those before it are being undone.
    Compensating,
    /// Every step happened.
    Completed,
    /// As if it had never started.
    Undone,
    /// Goes neither forward nor back: a person must see to it, or a late reply.
    Stuck,
    /// Of a definition that this build does not know: waits for one that does.
    Stalled,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 6] =
        [Self::Running, Self::Compensating, Self::Completed, Self::Undone, Self::Stuck, Self::Stalled];

    /// The status as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Compensating => "compensating",
            Self::Completed => "completed",
            Self::Undone => "undone",
            Self::Stuck => "stuck",
            Self::Stalled => "stalled",
        }
    }

    /// Whether nothing more will ever happen.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Undone)
    }
}

/// Where a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Asked for; no reply yet.
    Sent,
    /// Waits for a signal from outside.
    Waiting,
    /// It happened.
    Ok,
    /// It did not happen.
    Failed,
    /// Nobody answered in time: it may have happened, so it is undone as if it had.
    Unknown,
    /// The undo is asked for.
    Undoing,
    /// As if it had never happened.
    Undone,
    /// The undo failed too often.
    UndoFailed,
    /// A person decided that the saga goes on without its reply.
    Skipped,
    /// To be asked for again: a person turned the saga forward.
    Again,
}

/// What a step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// Until when.
    pub at: DateTime<Utc>,
    /// What happens then.
    pub then: Then,
}

/// What happens when the wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// The reply is late: ask again, or stop waiting for it.
    Deadline,
    /// It failed and is tried again.
    Retry,
}

/// What became of one step so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepLog {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub status: StepStatus,
    /// The epoch of its last request; replies of an older one are late.
    pub epoch: u32,
    /// Requests sent for it.
    pub attempts: u32,
    /// Requests sent for its undo.
    #[serde(default)]
    pub undo_attempts: u32,
    /// Of its requests, those that do not count any more, because a person decided to try on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub forgiven: u32,
    /// The same of the requests for its undo.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub undo_forgiven: u32,
    /// Its last request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Uuid>,
    /// The last request for its undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo_request: Option<Uuid>,
    /// When it was first asked for.
    pub started_at: DateTime<Utc>,
    /// When its status or its attempts last changed.
    pub updated_at: DateTime<Utc>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Due>,
    /// Why it, or its undo, failed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

impl StepLog {
    pub(super) fn new(name: &str, epoch: u32, now: DateTime<Utc>) -> Self {
        Self {
            name: name.to_owned(),
            status: StepStatus::Sent,
            epoch,
            attempts: 0,
            undo_attempts: 0,
            forgiven: 0,
            undo_forgiven: 0,
            request: None,
            undo_request: None,
            started_at: now,
            updated_at: now,
            due: None,
            failure: None,
        }
    }

    /// Whether there may be something to undo.
    pub fn may_have_happened(&self) -> bool {
        match self.status {
            StepStatus::Ok
            | StepStatus::Sent
            | StepStatus::Waiting
            | StepStatus::Unknown
            | StepStatus::Undoing
            | StepStatus::UndoFailed => true,
            // Passed without its reply: whoever was asked for it may have done it all the same.
            StepStatus::Skipped => true,
            StepStatus::Failed | StepStatus::Undone | StepStatus::Again => false,
        }
    }
}

/// One saga: its state, its steps, and how it came to this. Stored as one document and replaced as one value,
/// so there is no half-made transition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SagaLog<S> {
    /// Which one.
    pub id: Uuid,
    /// Of which saga.
    pub saga: String,
    /// Of which version of it.
    pub definition: u16,
    /// With which steps.
    pub fingerprint: String,
    /// The key of the event that started it, under which it is found.
    pub key: Key,
    /// The flow it belongs to.
    pub correlationid: String,
    /// The event that started it.
    pub cause: String,
    /// The step of another saga that it is, if one started it: how it ends is that step's reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SagaRef>,
    /// Where it is.
    pub status: Status,
    /// Raised whenever it turns back or tries again what failed.
    pub epoch: u32,
    /// Why it turned back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Why it is stuck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck: Option<Failure>,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
    /// What it knows.
    pub state: S,
    /// The steps that were asked for, in that order.
    pub steps: Vec<StepLog>,
    /// How it came to this.
    pub history: History,
    /// Inputs that meant nothing: late, repeated, or never asked for.
    #[serde(default)]
    pub ignored: u32,
    /// Events emitted about itself, which numbers their ids.
    #[serde(default)]
    pub emitted: u32,
    /// When the timer that is set for it fires. It may fire too early, never too late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<DateTime<Utc>>,
    /// Why it is stalled, and what arrived since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall: Option<Stall>,
    /// Signals that came before their step, at most one for each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub early: Vec<Envelope>,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl<S> SagaLog<S> {
    /// The same log with another state; `None` when `map` has none.
    pub fn try_map_state<T>(self, map: impl FnOnce(S) -> Option<T>) -> Option<SagaLog<T>> {
        Some(SagaLog {
            state: map(self.state)?,
            id: self.id,
            saga: self.saga,
            definition: self.definition,
            fingerprint: self.fingerprint,
            key: self.key,
            correlationid: self.correlationid,
            cause: self.cause,
            parent: self.parent,
            status: self.status,
            epoch: self.epoch,
            failure: self.failure,
            stuck: self.stuck,
            started_at: self.started_at,
            updated_at: self.updated_at,
            steps: self.steps,
            history: self.history,
            ignored: self.ignored,
            emitted: self.emitted,
            timer: self.timer,
            stall: self.stall,
            early: self.early,
        })
    }

    /// The way it goes, or went before it was stuck: forward, or back.
    pub fn heading(&self) -> Direction {
        if self.failure.is_some() { Direction::Undo } else { Direction::Do }
    }

    /// When it next wants to be woken.
    pub fn due(&self) -> Option<DateTime<Utc>> {
        self.steps.iter().filter_map(|step| step.due).map(|due| due.at).min()
    }

    /// The step it is at: the one that waits for something, or else the last one that changed.
    pub fn step(&self) -> Option<&StepLog> {
        let waiting = self.steps.iter().find(|step| step.due.is_some());
        waiting.or_else(|| self.steps.iter().max_by_key(|step| step.updated_at))
    }
}
