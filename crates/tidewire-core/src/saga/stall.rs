//! Stalling: what an orchestrator does with a saga whose definition it does not know. Nothing is lost, nothing
//! fails; a build that knows the definition goes on where the other one stopped.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::definition::{Definition, Saga};
use super::history::{Entry, What};
use super::log::{SagaLog, Status};
use crate::envelope::Envelope;

/// The most replies a stalled saga keeps. It has no more than one outstanding request with few repetitions, so
/// more than this is a fault elsewhere.
pub const MAX_WAITING: usize = 64;

/// Why a saga is stalled, and what arrived since.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stall {
    /// The status it had.
    pub was: Status,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// The replies that arrived since, in order.
    #[serde(default)]
    pub waiting: Vec<Envelope>,
}

/// Why a stored saga could be neither advanced nor stalled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StallError {
    /// The document is not a saga's log at all.
    #[error("the stored saga cannot be read: {0}")]
    Unreadable(String),
    /// It is stalled and keeps as many replies as it may.
    #[error("the stalled saga keeps {MAX_WAITING} replies already")]
    Full,
}

/// A stored saga, as far as this build can read it.
pub enum Stored<S> {
    /// It can be advanced.
    Known(Box<SagaLog<S>>),
    /// It cannot, for this reason.
    Unknown(String),
}

/// The part of a log that every build can read.
#[derive(Deserialize)]
struct Head {
    saga: String,
    definition: u16,
    fingerprint: String,
    status: Status,
    stall: Option<Stall>,
}

fn head(raw: &Value) -> Result<Head, StallError> {
    Head::deserialize(raw).map_err(|error| StallError::Unreadable(error.to_string()))
}

impl<G: Saga> Definition<G> {
    /// Reads a stored saga. `None` when it is of another name: somebody else's.
    pub fn read(&self, raw: &Value) -> Result<Option<Stored<G::State>>, StallError> {
        let head = head(raw)?;
        if head.saga != G::NAME {
            return Ok(None);
        }
        let read = if head.definition < G::DEFINITION {
            self.take_over(raw, &head)
        } else if head.definition > G::DEFINITION {
            Err(format!(
                "it is of definition {}, this build knows {}: run a build that knows it",
                head.definition,
                G::DEFINITION
            ))
        } else if head.fingerprint != self.fingerprint() {
            Err(format!(
                "definition {} has other steps in this build ({} instead of {}): raise the definition's version",
                head.definition,
                self.fingerprint(),
                head.fingerprint
            ))
        } else {
            SagaLog::deserialize(raw).map_err(|error| format!("its state cannot be read by this build: {error}"))
        };
        Ok(Some(read.map_or_else(Stored::Unknown, |log| Stored::Known(Box::new(log)))))
    }

    /// Whether an instance of this definition and these steps goes on as it is.
    pub fn is_pinned(&self, definition: u16, fingerprint: &str) -> bool {
        definition == G::DEFINITION && fingerprint == self.fingerprint()
    }

    /// An instance of an older definition, as this one's.
    fn take_over(&self, raw: &Value, head: &Head) -> Result<SagaLog<G::State>, String> {
        let (older, known) = (head.definition, G::DEFINITION);
        let log = SagaLog::deserialize(raw).map_err(|error| format!("it cannot be read by this build: {error}"))?;
        let Some(mut log) = self.saga.take_over(log) else {
            return Err(format!("it is of definition {older}, this build knows {known}: run a build that knows it"));
        };
        let fits = log.steps.len() <= self.steps.len()
            && log.steps.iter().zip(&self.steps).all(|(step, spec)| step.name == spec.name);
        if !fits {
            return Err(format!(
                "definition {known} was to take it over from definition {older}, but its steps are not the first of {known}'s"
            ));
        }
        log.definition = known;
        log.fingerprint = self.fingerprint().to_owned();
        let note = format!("definition {known} took over from definition {older}");
        log.history.push(Entry::new(log.updated_at, What::TakenOver).because(note));
        Ok(log)
    }
}

/// Stalls a stored saga, or adds to one that is stalled, without understanding more of it than its head.
/// Everything else stays what the other build wrote. Answers with the status it had before this call.
pub fn stall(
    mut raw: Value,
    reason: &str,
    input: Option<&Envelope>,
    now: DateTime<Utc>,
) -> Result<(Value, Status), StallError> {
    let head = head(&raw)?;
    let unreadable = |error: serde_json::Error| StallError::Unreadable(error.to_string());
    let was = head.status;
    if was.is_over() {
        return Ok((raw, was));
    }
    let fresh = || Stall { was, reason: reason.to_owned(), since: now, waiting: Vec::new() };
    let mut stall = head.stall.unwrap_or_else(fresh);
    if let Some(input) = input {
        if stall.waiting.len() >= MAX_WAITING {
            return Err(StallError::Full);
        }
        stall.waiting.push(input.clone());
    }
    let status = serde_json::to_value(Status::Stalled).map_err(unreadable)?;
    let stall = serde_json::to_value(stall).map_err(unreadable)?;
    let Value::Object(members) = &mut raw else { return Err(StallError::Unreadable("not an object".into())) };
    members.insert("status".into(), status);
    members.insert("stall".into(), stall);
    Ok((raw, was))
}

impl<S> SagaLog<S> {
    /// Takes a saga that this build knows out of its stall; the replies that waited are to be taken in next.
    pub(super) fn unstall(&mut self, now: DateTime<Utc>) -> Vec<Envelope> {
        let Some(stall) = self.stall.take() else { return Vec::new() };
        self.status = stall.was;
        // Stalling moved the timer.
        self.timer = None;
        self.history.push(Entry::new(now, What::Resumed).because(stall.reason));
        stall.waiting
    }
}
