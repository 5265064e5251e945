//! Replies: which step they answer, and what they change.

use super::Ignored;
use super::course::Course;
use crate::envelope::Envelope;
use crate::event::SchemaError;
use crate::saga::definition::Saga;
use crate::saga::history::{Entry, What};
use crate::saga::log::{Status, StepStatus, Then};
use crate::saga::reference::{Direction, Failure, SagaRef};
use crate::saga::step::{StepKind, StepSpec};

/// What a reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Done,
    Failed,
    Undone,
    UndoFailed,
}

impl Says {
    fn direction(self) -> Direction {
        match self {
            Self::Done | Self::Failed => Direction::Do,
            Self::Undone | Self::UndoFailed => Direction::Undo,
        }
    }
}

fn says<S>(spec: &StepSpec<S>, reply: &Envelope) -> Option<Says> {
    let name = reply.ty.name();
    let undo = spec.undo.as_ref();
    if spec.done.ty.name() == name {
        Some(Says::Done)
    } else if spec.failed.as_ref().is_some_and(|failed| failed.ty.name() == name) {
        Some(Says::Failed)
    } else if undo.is_some_and(|undo| undo.undone.ty.name() == name) {
        Some(Says::Undone)
    } else if undo.and_then(|undo| undo.failed.as_ref()).is_some_and(|failed| failed.ty.name() == name) {
        Some(Says::UndoFailed)
    } else {
        None
    }
}

impl<G: Saga> Course<'_, G> {
    pub(super) fn reply(&mut self, reply: &Envelope) -> Result<(), Ignored> {
        if self.kept_for_later(reply)? {
            return Ok(());
        }
        let (at, said) = self.placed(reply)?;
        self.awaited(at, said)?;
        self.revive(at, said.direction());
        match said {
            Says::Done => self.done(at, reply),
            Says::Failed => self.failed(at, reply),
            Says::Undone => self.undone(at, reply),
            Says::UndoFailed => self.undo_failed(at, reply),
        }
        self.go_on();
        Ok(())
    }

    /// Keeps a signal for a step that is not reached yet; the first one counts.
    fn kept_for_later(&mut self, signal: &Envelope) -> Result<bool, Ignored> {
        let turn = SagaRef::of(signal).filter(|turn| turn.id == self.log.id).ok_or(Ignored::NoReply)?;
        let specs = &self.definition.steps;
        let Some(at) = specs.iter().position(|spec| spec.is_wait() && spec.name == turn.step) else { return Ok(false) };
        let is_reached = self.log.steps.get(at).is_some_and(|step| step.status != StepStatus::Again);
        if is_reached || specs[at].done.ty.name() != signal.ty.name() {
            return Ok(false);
        }
        if self.log.status.is_over() {
            return Err(Ignored::Over);
        }
        if self.log.early.iter().any(|early| SagaRef::of(early).is_some_and(|other| other.step == turn.step)) {
            return Err(Ignored::Repeated);
        }
        self.log.early.push(signal.clone());
        let entry = Entry::new(self.now, What::SignalKept).step(&turn.step, 0).event(&signal.id);
        self.log.history.push(entry);
        Ok(true)
    }

    /// Which step it answers, and what it says.
    fn placed(&self, reply: &Envelope) -> Result<(usize, Says), Ignored> {
        let turn = SagaRef::of(reply).filter(|turn| turn.id == self.log.id).ok_or(Ignored::NoReply)?;
        let at = self.log.steps.iter().position(|step| step.name == turn.step).ok_or(Ignored::NotAsked)?;
        let spec = self.definition.steps.get(at).filter(|spec| spec.name == turn.step).ok_or(Ignored::NotAsked)?;
        let said = says(spec, reply).ok_or(Ignored::WrongStep)?;
        if spec.is_wait() {
            return Ok((at, said));
        }
        match turn.epoch.cmp(&self.log.steps[at].epoch) {
            std::cmp::Ordering::Less => Err(Ignored::Late),
            std::cmp::Ordering::Greater => Err(Ignored::NotAsked),
            std::cmp::Ordering::Equal => Ok((at, said)),
        }
    }

    /// Whether the step waits for that.
    fn awaited(&self, at: usize, said: Says) -> Result<(), Ignored> {
        let step = &self.log.steps[at];
        // It failed in this epoch already and will be asked for again in the next.
        let retrying = step.due.is_some_and(|due| due.then == Then::Retry);
        match (step.status, said) {
            (_, Says::Failed | Says::UndoFailed) if retrying => Err(Ignored::Repeated),
            (StepStatus::Sent | StepStatus::Waiting | StepStatus::Unknown, Says::Done | Says::Failed) => Ok(()),
            (StepStatus::Undoing | StepStatus::UndoFailed, Says::Undone) => Ok(()),
            (StepStatus::Undoing, Says::UndoFailed) => Ok(()),
            (StepStatus::Ok, Says::Done)
            | (StepStatus::Failed, Says::Failed)
            | (StepStatus::Undone, Says::Undone)
            | (StepStatus::UndoFailed, Says::UndoFailed) => Err(Ignored::Repeated),
            (
                StepStatus::Sent
                | StepStatus::Waiting
                | StepStatus::Unknown
                | StepStatus::Ok
                | StepStatus::Failed
                | StepStatus::Skipped
                | StepStatus::Again,
                _,
            )
            | (StepStatus::Undoing | StepStatus::Undone | StepStatus::UndoFailed, _) => Err(Ignored::Late),
        }
    }

    /// A stuck saga that hears what it was waiting for is stuck no longer, unless something else keeps it as well.
    fn revive(&mut self, at: usize, direction: Direction) {
        let is_kept = (0..self.log.steps.len()).any(|other| other != at && self.is_blocked(other));
        if self.log.status != Status::Stuck || is_kept {
            return;
        }
        self.log.stuck = None;
        self.log.status = if direction == Direction::Do { Status::Running } else { Status::Compensating };
        let entry = self.entry(What::Revived, at, direction);
        self.log.history.push(entry);
    }

    pub(super) fn done(&mut self, at: usize, reply: &Envelope) {
        let Some(spec) = self.definition.steps.get(at) else { return };
        let mut state = self.log.state.clone();
        match (spec.done.absorb)(&mut state, reply) {
            Ok(None) => {}
            Ok(Some(no)) => return self.refused(at, spec, no),
            // A signal that cannot be read is one that did not come.
            Err(error) if spec.is_wait() => return self.unreadable_signal(at, reply, &error),
            Err(error) => {
                // It happened, but what came of it cannot be read.
                let failure = unreadable(&error);
                self.fail(at, StepStatus::Unknown, &failure);
                return self.turn_back(at, failure);
            }
        }
        self.log.state = state;
        self.set(at, StepStatus::Ok);
        let entry = self.entry(What::Done, at, Direction::Do).event(&reply.id);
        self.log.history.push(entry);
    }

    fn unreadable_signal(&mut self, at: usize, signal: &Envelope, error: &SchemaError) {
        let entry = self.entry(What::Ignored, at, Direction::Do).event(&signal.id).because(error);
        self.log.history.push(entry);
        self.log.ignored = self.log.ignored.saturating_add(1);
    }

    fn failed(&mut self, at: usize, reply: &Envelope) {
        let Some(spec) = self.definition.steps.get(at) else { return };
        let Some(failed) = &spec.failed else { return };
        let failure = (failed.read)(reply).unwrap_or_else(|error| unreadable(&error));
        if spec.kind == StepKind::Retriable {
            return self.retry(at, spec, Direction::Do, failure);
        }
        self.fail(at, StepStatus::Failed, &failure);
        self.turn_back(at, failure);
    }

    fn undone(&mut self, at: usize, reply: &Envelope) {
        let Some(undo) = self.definition.steps.get(at).and_then(|spec| spec.undo.as_ref()) else { return };
        let mut state = self.log.state.clone();
        // Whatever the reply holds, its name says that the step is undone.
        if (undo.undone.absorb)(&mut state, reply).is_ok() {
            self.log.state = state;
        }
        self.set(at, StepStatus::Undone);
        let entry = self.entry(What::Undone, at, Direction::Undo).event(&reply.id);
        self.log.history.push(entry);
    }

    fn undo_failed(&mut self, at: usize, reply: &Envelope) {
        let Some(spec) = self.definition.steps.get(at) else { return };
        let Some(failed) = spec.undo.as_ref().and_then(|undo| undo.failed.as_ref()) else { return };
        let failure = (failed.read)(reply).unwrap_or_else(|error| unreadable(&error));
        self.retry(at, spec, Direction::Undo, failure);
    }
}

fn unreadable(error: &SchemaError) -> Failure {
    Failure::new(error.code(), error.to_string())
}
