//! What a change to a saga sets off: shown before it is made.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::Advanced;
use crate::saga::definition::{Definition, Saga};
use crate::saga::log::{SagaLog, Status, StepLog, StepStatus, Then};
use crate::saga::reference::Direction;
use crate::saga::step::{StepKind, StepSpec};
use crate::{Attribute, Draft};

/// How far a change reaches. Computed from the change itself, so what it says is what happens unless somebody else
/// moves the saga first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outlook {
    /// The status now.
    pub from: Status,
    /// The status after the change.
    pub to: Status,
    /// What is emitted with the change.
    pub emits: Vec<Asked>,
    /// Steps that are undone, or will be, in this order; those of one group together.
    pub undos: Vec<String>,
    /// Steps that have no undo, because they leave no trace.
    pub without_undo: Vec<String>,
    /// Steps that happened and cannot be undone.
    pub past_recall: Vec<String>,
    /// Steps of which nobody knows whether they happened.
    pub in_doubt: Vec<String>,
    /// Steps that are still to happen, in this order.
    pub remaining: Vec<String>,
    /// What the saga waits for after the change.
    pub waits: Vec<Awaited>,
}

/// An event that a change emits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// The step it asks for, or asks to undo; none for what the saga says about itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: String,
}

/// A step that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Awaited {
    /// The step.
    pub step: String,
    /// Which way.
    pub direction: Direction,
    /// Until when.
    pub until: DateTime<Utc>,
    /// What happens then.
    pub then: Then,
}

impl<G: Saga> Definition<G> {
    /// What a change from `before` sets off.
    pub fn outlook(&self, before: &SagaLog<G::State>, after: &Advanced<G::State>) -> Outlook {
        let log = &after.log;
        let back = log.heading() == Direction::Undo;
        let rows = || log.steps.iter().zip(&self.steps);
        let names = |wanted: &dyn Fn(&StepLog, &StepSpec<G::State>) -> bool| -> Vec<String> {
            rows().filter(|(step, spec)| wanted(step, spec)).map(|(step, _)| step.name.clone()).collect()
        };
        let mut undos = names(&|step, spec| back && spec.undo.is_some() && step.may_have_happened());
        undos.reverse();
        let was_open = |step: &StepLog| before.steps.iter().any(|old| old.name == step.name && old.may_have_happened());
        let passed = |at: usize| {
            log.steps.get(at).is_some_and(|step| matches!(step.status, StepStatus::Ok | StepStatus::Skipped))
        };
        let remaining = (0..self.steps.len()).filter(|at| !back && !passed(*at)).map(|at| self.steps[at].name.into());
        Outlook {
            from: before.status,
            to: log.status,
            emits: after.drafts.iter().map(asked).collect(),
            undos,
            without_undo: names(&|step, spec| {
                back && spec.kind == StepKind::Compensatable && spec.undo.is_none() && was_open(step)
            }),
            past_recall: names(&|step, spec| {
                spec.kind != StepKind::Compensatable && matches!(step.status, StepStatus::Ok | StepStatus::Skipped)
            }),
            in_doubt: names(&|step, _| {
                let before = before.steps.iter().find(|old| old.name == step.name);
                before.is_some_and(|old| matches!(old.status, StepStatus::Sent | StepStatus::Unknown))
            }),
            remaining: remaining.collect(),
            waits: log.steps.iter().filter_map(awaited).collect(),
        }
    }
}

fn asked(draft: &Draft) -> Asked {
    let step = draft.extensions.get(crate::saga::SAGA_STEP).map(Attribute::to_text);
    Asked { step, ty: draft.ty.to_string() }
}

fn awaited(step: &StepLog) -> Option<Awaited> {
    let due = step.due?;
    let undoing = matches!(step.status, StepStatus::Undoing | StepStatus::UndoFailed);
    let direction = if undoing { Direction::Undo } else { Direction::Do };
    Some(Awaited { step: step.name.clone(), direction, until: due.at, then: due.then })
}
