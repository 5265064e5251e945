//! Orders: what a person decides about a saga that cannot go on by itself, or should not.

use bytes::Bytes;
use serde::Serialize;

use super::course::Course;
use crate::envelope::Envelope;
use crate::saga::definition::Saga;
use crate::saga::history::{Entry, What};
use crate::saga::log::{Status, StepStatus, Then};
use crate::saga::reference::{Direction, Failure};
use crate::saga::step::StepKind;

/// What is to become of a saga.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verb {
    /// Ask again, now, for what failed or is waited for, with its tries counted from the beginning.
    Retry {
        /// Only this step; without it, every step that keeps the saga, or else every step that waits.
        step: Option<String>,
    },
    /// Go on without the reply of a step. Whether it happened stays open: it is undone like one that may have.
    Skip {
        /// The step; it may be left out where only one can be meant.
        step: Option<String>,
        /// What the reply would have said, as the JSON of the event; without it the state learns nothing.
        output: Option<Bytes>,
    },
    /// A person saw to it that the step happened, or, when the saga goes back, that it is undone.
    Done {
        /// The step; it may be left out where only one can be meant.
        step: Option<String>,
        /// What the reply would have said, as the JSON of the event; an undo has none.
        output: Option<Bytes>,
    },
    /// Turn back from here and undo everything. A point of no return whose outcome nobody knows counts as not passed:
    /// that is what the person who says so has found out.
    Compensate,
    /// Stop undoing, and go forward again: what is undone already is asked for again.
    Forward,
    /// Turn back, if that can still be done without harm.
    Cancel,
}

impl Verb {
    /// The verb as commands write it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Retry { .. } => "retry",
            Self::Skip { .. } => "skip",
            Self::Done { .. } => "done",
            Self::Compensate => "compensate",
            Self::Forward => "forward",
            Self::Cancel => "cancel",
        }
    }
}

/// What a person orders, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What is to be done.
    pub verb: Verb,
    /// Who says so; kept in the history.
    pub by: String,
    /// Why; kept in the history, and in the event that tells of an undone saga.
    pub reason: String,
}

/// Why an order cannot be carried out. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "refused")]
pub enum Refused {
    /// The saga has ended.
    #[error("the saga is {}: nothing of it can be changed any more", .status.as_str())]
    Over {
        /// How.
        status: Status,
    },
    /// The saga has no such step, or has not reached it.
    #[error("the saga has not come to a step `{step}`; it has come to: {known}")]
    NoStep {
        /// The name.
        step: String,
        /// The steps it has come to.
        known: String,
    },
    /// The step waits for nothing, so there is nothing to decide about it.
    #[error("step `{step}` is {status}: there is nothing to decide about it")]
    Settled {
        /// The step.
        step: String,
        /// Where it is.
        status: String,
    },
    /// Several steps could be meant, or none.
    #[error("name the step; what waits or failed: {candidates}")]
    WhichStep {
        /// Those it could be.
        candidates: String,
    },
    /// There is no way back.
    #[error(
        "step `{step}` happened or may have, and cannot be undone: the saga can only go forward (retry, skip, done)"
    )]
    PastRecall {
        /// The point of no return, or the first step behind it.
        step: String,
    },
    /// Nobody knows whether there is a way back.
    #[error(
        "nobody knows whether `{step}`, the point of no return, happened: find out, then `done` says that it did, `compensate` that it did not"
    )]
    InDoubt {
        /// The point of no return.
        step: String,
    },
    /// It goes that way already.
    #[error("the saga goes {way} already")]
    SameWay {
        /// `forward` or `back`.
        way: &'static str,
    },
    /// What was supplied is not what the step replies.
    #[error("the output supplied for step `{step}` is not what the step replies: {reason}")]
    Output {
        /// The step.
        step: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Refused {
    /// The stable code for operators.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Output { .. } => "saga.output_invalid",
            _ => "saga.order_refused",
        }
    }
}

impl<G: Saga> Course<'_, G> {
    pub(super) fn order(&mut self, order: &Order) -> Result<(), Refused> {
        if self.log.status.is_over() {
            return Err(Refused::Over { status: self.log.status });
        }
        let note = format!("{} by {}: {}", order.verb.as_str(), order.by, order.reason);
        self.log.history.push(Entry::new(self.now, What::Ordered).because(note));
        self.log.updated_at = self.now;
        match &order.verb {
            Verb::Retry { step } => self.order_retry(step.as_deref())?,
            Verb::Skip { step, output } => self.order_pass(step.as_deref(), output.as_ref(), StepStatus::Skipped)?,
            Verb::Done { step, output } => match self.log.heading() {
                Direction::Do => self.order_pass(step.as_deref(), output.as_ref(), StepStatus::Ok)?,
                Direction::Undo => self.order_undone(step.as_deref(), output.as_ref())?,
            },
            Verb::Compensate => self.order_back(true, "saga.compensated", order)?,
            Verb::Cancel => self.order_back(false, "saga.cancelled", order)?,
            Verb::Forward => self.order_forward()?,
        }
        self.unstick();
        self.go_on();
        Ok(())
    }

    fn order_retry(&mut self, step: Option<&str>) -> Result<(), Refused> {
        let all = 0..self.log.steps.len();
        let mut targets: Vec<usize> = all.clone().filter(|at| self.is_blocked(*at)).collect();
        if targets.is_empty() {
            targets = all.filter(|at| self.log.steps[*at].due.is_some()).collect();
        }
        if let Some(step) = step {
            let at = self.reached(step)?;
            if !self.is_blocked(at) && self.log.steps[at].due.is_none() {
                return Err(self.settled(at));
            }
            targets = vec![at];
        }
        // None at all: its end could not be written, which going on tries again.
        targets.into_iter().for_each(|at| self.again(at));
        Ok(())
    }

    fn again(&mut self, at: usize) {
        let direction = self.direction(at);
        // What was refused is asked for in a new epoch, or the participant would say the same again.
        let is_new = self.is_blocked(at) || self.log.steps[at].due.is_some_and(|due| due.then == Then::Retry);
        if is_new {
            self.next_epoch(at);
        }
        self.forgive(at);
        match direction {
            Direction::Do => self.ask(at),
            Direction::Undo => {
                self.set(at, StepStatus::Undoing);
                self.send(at, Direction::Undo);
            }
        }
    }

    fn forgive(&mut self, at: usize) {
        let step = &mut self.log.steps[at];
        (step.forgiven, step.undo_forgiven) = (step.attempts, step.undo_attempts);
    }

    /// Forward past a step without its reply.
    fn order_pass(&mut self, step: Option<&str>, output: Option<&Bytes>, status: StepStatus) -> Result<(), Refused> {
        if self.log.heading() == Direction::Undo {
            return Err(Refused::SameWay { way: "back" });
        }
        let at = self.target(step)?;
        let Some(spec) = self.definition.steps.get(at) else { return Err(self.settled(at)) };
        if let Some(output) = output {
            let wrong = |reason: String| Refused::Output { step: spec.name.to_owned(), reason };
            let mut state = self.log.state.clone();
            let reply = self.supplied(at, spec.done.ty.clone(), output);
            match (spec.done.absorb)(&mut state, &reply) {
                Ok(None) => self.log.state = state,
                Ok(Some(no)) => return Err(wrong(no.reason)),
                Err(error) => return Err(wrong(error.to_string())),
            }
        }
        // A reply that still comes is late, and a request that still waits is refused.
        self.next_epoch(at);
        self.set(at, status);
        let what = if status == StepStatus::Skipped { What::Skipped } else { What::Done };
        let entry = self.entry(what, at, Direction::Do);
        self.log.history.push(entry);
        Ok(())
    }

    fn order_undone(&mut self, step: Option<&str>, output: Option<&Bytes>) -> Result<(), Refused> {
        let at = self.target(step)?;
        if output.is_some() {
            let step = self.log.steps[at].name.clone();
            return Err(Refused::Output { step, reason: "an undo replies nothing that the saga takes in".into() });
        }
        self.next_epoch(at);
        self.set(at, StepStatus::Undone);
        let entry = self.entry(What::Undone, at, Direction::Undo);
        self.log.history.push(entry);
        Ok(())
    }

    fn order_back(&mut self, knows: bool, code: &str, order: &Order) -> Result<(), Refused> {
        if self.log.heading() == Direction::Undo {
            return Err(Refused::SameWay { way: "back" });
        }
        if let Some(at) = self.past_recall() {
            let step = self.log.steps[at].name.clone();
            let kind = self.definition.steps.get(at).map(|spec| spec.kind);
            let is_open = matches!(self.log.steps[at].status, StepStatus::Sent | StepStatus::Unknown);
            let is_waiting = self.log.steps[at].status == StepStatus::Waiting;
            match kind {
                // Nobody was asked, so nothing happened.
                Some(StepKind::Pivot) if is_waiting => {}
                Some(StepKind::Pivot) if is_open && knows => {}
                Some(StepKind::Pivot) if is_open => return Err(Refused::InDoubt { step }),
                _ => return Err(Refused::PastRecall { step }),
            }
            self.next_epoch(at);
            self.fail(at, StepStatus::Failed, &Failure::new(code, &order.reason));
        }
        (0..self.log.steps.len()).for_each(|at| self.forgive(at));
        let at = self.log.steps.len().saturating_sub(1);
        self.turn_back(at, Failure::new(code, &order.reason));
        Ok(())
    }

    fn order_forward(&mut self) -> Result<(), Refused> {
        if self.log.heading() == Direction::Do {
            return Err(Refused::SameWay { way: "forward" });
        }
        for at in 0..self.log.steps.len() {
            if !matches!(self.log.steps[at].status, StepStatus::Ok | StepStatus::Skipped) {
                self.forgive(at);
                self.set(at, StepStatus::Again);
            }
        }
        self.log.failure = None;
        self.log.stuck = None;
        self.log.status = Status::Running;
        Ok(())
    }

    // ── which step ──────────────────────────────────────────────────────────────────────────────────

    fn reached(&self, step: &str) -> Result<usize, Refused> {
        let names = || self.log.steps.iter().map(|log| log.name.as_str()).collect::<Vec<_>>().join(", ");
        let found = self.log.steps.iter().position(|log| log.name == step);
        found.ok_or_else(|| Refused::NoStep { step: step.to_owned(), known: names() })
    }

    /// The step that an order is about: the one it names, or the only one that is open.
    fn target(&self, step: Option<&str>) -> Result<usize, Refused> {
        let is_open = |at: usize| self.log.steps[at].due.is_some() || self.is_blocked(at);
        if let Some(step) = step {
            let at = self.reached(step)?;
            return if is_open(at) { Ok(at) } else { Err(self.settled(at)) };
        }
        let open: Vec<usize> = (0..self.log.steps.len()).filter(|at| is_open(*at)).collect();
        let names = || open.iter().map(|at| self.log.steps[*at].name.as_str()).collect::<Vec<_>>().join(", ");
        match open.as_slice() {
            [only] => Ok(*only),
            _ => Err(Refused::WhichStep { candidates: names() }),
        }
    }

    fn settled(&self, at: usize) -> Refused {
        let step = &self.log.steps[at];
        let status = serde_json::to_value(step.status).ok();
        let status = status.as_ref().and_then(|status| status.as_str()).unwrap_or_default().to_owned();
        Refused::Settled { step: step.name.clone(), status }
    }

    /// The reply a step would have given.
    fn supplied(&self, at: usize, ty: crate::event_type::EventType, output: &Bytes) -> Envelope {
        Envelope {
            id: self.log.steps[at].request.unwrap_or(self.log.id).to_string(),
            source: String::new(),
            ty,
            subject: None,
            time: self.now,
            key: self.log.key.clone(),
            datacontenttype: None,
            dataschema: None,
            data: Some(output.clone()),
            sequence: None,
            correlationid: Some(self.log.correlationid.clone()),
            causationid: None,
            traceparent: None,
            recordedtime: None,
            expirytime: None,
            dataref: None,
            extensions: Default::default(),
        }
    }
}
