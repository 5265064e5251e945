//! Waiting: what happens when it was in vain.

use super::Ignored;
use super::course::{Course, later};
use crate::saga::definition::Saga;
use crate::saga::history::What;
use crate::saga::log::{Due, StepStatus, Then};
use crate::saga::reference::{Direction, Failure, request_id};
use crate::saga::step::{StepKind, StepSpec};

impl<G: Saga> Course<'_, G> {
    pub(super) fn wake(&mut self) -> Result<(), Ignored> {
        if self.log.status.is_over() {
            return Err(Ignored::Over);
        }
        let mut early = true;
        for at in 0..self.log.steps.len() {
            let Some(due) = self.log.steps[at].due.filter(|due| due.at <= self.now) else { continue };
            early = false;
            self.log.steps[at].due = None;
            // A step of its group failed a moment ago: it is undone, not asked for again.
            if self.log.heading() == Direction::Undo && self.direction(at) == Direction::Do {
                continue;
            }
            match due.then {
                Then::Retry => {
                    self.next_epoch(at);
                    self.send(at, self.direction(at));
                }
                Then::Deadline => self.deadline(at),
            }
        }
        self.go_on();
        if early { Err(Ignored::Early) } else { Ok(()) }
    }

    /// A request got no reply in time: it is repeated within its epoch, so that the participant knows it again.
    fn deadline(&mut self, at: usize) {
        let Some(spec) = self.definition.steps.get(at) else { return };
        let direction = self.direction(at);
        let entry = self.entry(What::DeadlinePassed, at, direction);
        self.log.history.push(entry);
        if spec.is_wait() {
            let failure = Failure::new("saga.not_signalled", format!("nobody signalled `{}` in time", spec.name));
            return self.refused(at, spec, failure);
        }
        if self.attempts_left(at, spec, direction) {
            return self.send(at, direction);
        }
        let what = if direction == Direction::Do { "the step" } else { "the undo" };
        let reason = format!("no reply to {} requests for {what} `{}`", self.attempts(at, direction), spec.name);
        let failure = Failure::new("saga.step_timed_out", reason);
        match (direction, spec.kind) {
            (Direction::Do, StepKind::Compensatable) => {
                self.fail(at, StepStatus::Unknown, &failure);
                self.turn_back(at, failure);
            }
            (Direction::Do, StepKind::Pivot | StepKind::Retriable) => {
                self.fail(at, StepStatus::Unknown, &failure);
                self.stick(at, failure);
            }
            (Direction::Undo, _) => {
                self.fail(at, StepStatus::UndoFailed, &failure);
                self.stick(at, failure);
            }
        }
    }

    /// Tries again what failed, after a wait; or sticks when it was tried often enough.
    pub(super) fn retry(&mut self, at: usize, spec: &StepSpec<G::State>, direction: Direction, failure: Failure) {
        if !self.attempts_left(at, spec, direction) {
            let last = if direction == Direction::Do { StepStatus::Failed } else { StepStatus::UndoFailed };
            self.fail(at, last, &failure);
            return self.stick(at, failure);
        }
        let status = self.log.steps[at].status;
        self.fail(at, status, &failure);
        // Jitter that is the same each time the same decision is taken.
        let seed = request_id(self.log.id, spec.name, direction, self.attempts(at, direction)).as_u64_pair().0;
        let wait = spec.policy.backoff.after(self.attempts(at, direction), seed);
        self.log.steps[at].due = Some(Due { at: later(self.now, wait), then: Then::Retry });
    }

    /// What the saga waited for will not come, or is a no.
    pub(super) fn refused(&mut self, at: usize, spec: &StepSpec<G::State>, failure: Failure) {
        if spec.kind == StepKind::Retriable {
            self.fail(at, StepStatus::Unknown, &failure);
            return self.stick(at, failure);
        }
        self.fail(at, StepStatus::Failed, &failure);
        self.turn_back(at, failure);
    }

    pub(super) fn attempts(&self, at: usize, direction: Direction) -> u32 {
        let step = &self.log.steps[at];
        if direction == Direction::Do { step.attempts } else { step.undo_attempts }
    }

    fn attempts_left(&self, at: usize, spec: &StepSpec<G::State>, direction: Direction) -> bool {
        let policy = &spec.policy;
        let most = if direction == Direction::Do { policy.attempts } else { policy.undo_attempts };
        let step = &self.log.steps[at];
        let forgiven = if direction == Direction::Do { step.forgiven } else { step.undo_forgiven };
        self.attempts(at, direction).saturating_sub(forgiven) < most
    }

    pub(super) fn direction(&self, at: usize) -> Direction {
        match self.log.steps[at].status {
            StepStatus::Undoing | StepStatus::Undone | StepStatus::UndoFailed => Direction::Undo,
            StepStatus::Sent
            | StepStatus::Waiting
            | StepStatus::Ok
            | StepStatus::Failed
            | StepStatus::Unknown
            | StepStatus::Skipped
            | StepStatus::Again => Direction::Do,
        }
    }
}
