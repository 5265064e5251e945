//! What happened to a saga, for people.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// The most entries kept: a saga's log is read and written whole on every transition. The first entry and the
/// newest ones stay.
pub const MAX_HISTORY: usize = 128;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The saga started.
    Started,
    /// A step was asked for.
    Requested,
    /// A step happened.
    Done,
    /// A step did not happen.
    Failed,
    /// Nobody answered in time.
    DeadlinePassed,
    /// Nobody answered any request: the step may have happened.
    Unknown,
    /// An undo was asked for.
    UndoRequested,
    /// A step was undone.
    Undone,
    /// An undo failed.
    UndoFailed,
    /// The saga turned back.
    TurnedBack,
    /// Every step happened.
    Completed,
    /// Every step was undone.
    AllUndone,
    /// The saga goes neither forward nor back.
    Stuck,
    /// A late reply set the stuck saga going again.
    Revived,
    /// It was stalled, and a build that knows its definition went on with it.
    Resumed,
    /// An input meant nothing.
    Ignored,
    /// A step waits for a signal.
    Waiting,
    /// A signal came before its step, and was kept for it.
    SignalKept,
    /// A person decided something.
    Ordered,
    /// A step was passed without its reply.
    Skipped,
    /// A build of a newer definition took it over.
    TakenOver,
    /// The saga of which it is a step asked for its undo.
    UndoAsked,
    /// How it ended was asked for once more, and told again.
    ToldAgain,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    pub what: What,
    /// To which step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// In which attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The id of the event that was emitted or came in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Entry {
    pub(super) fn new(at: DateTime<Utc>, what: What) -> Self {
        Self { at, what, step: None, attempt: None, event: None, reason: None }
    }

    pub(super) fn step(mut self, step: &str, attempt: u32) -> Self {
        self.step = Some(step.to_owned());
        self.attempt = Some(attempt);
        self
    }

    pub(super) fn event(mut self, id: impl ToString) -> Self {
        self.event = Some(id.to_string());
        self
    }

    pub(super) fn because(mut self, reason: impl ToString) -> Self {
        self.reason = Some(reason.to_string());
        self
    }
}

/// What happened to one saga, oldest first, at most [`MAX_HISTORY`] entries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The entries.
    pub entries: Vec<Entry>,
    /// How many older ones were dropped, after the first.
    #[serde(default)]
    pub dropped: u32,
}

impl History {
    pub(super) fn push(&mut self, entry: Entry) {
        if self.entries.len() >= MAX_HISTORY {
            self.entries.remove(1);
            self.dropped = self.dropped.saturating_add(1);
        }
        self.entries.push(entry);
    }
}
