//! One transition: the log as it changes, and what is emitted on the way.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{Advanced, Ignored, Input, TimerWish};
use crate::draft::Draft;
use crate::envelope::Envelope;
use crate::event::SchemaError;
use crate::saga::definition::{Definition, Saga};
use crate::saga::history::{Entry, What};
use crate::saga::log::{Due, SagaLog, Status, StepLog, StepStatus, Then};
use crate::saga::reference::{Direction, Failure, SagaRef, emitted_id, request_id};
use crate::saga::step::StepKind;

pub(super) struct Course<'a, G: Saga> {
    pub(super) definition: &'a Definition<G>,
    pub(super) log: SagaLog<G::State>,
    pub(super) now: DateTime<Utc>,
    drafts: Vec<Draft>,
    ignored: Option<Ignored>,
}

impl<'a, G: Saga> Course<'a, G> {
    pub(super) fn new(definition: &'a Definition<G>, log: SagaLog<G::State>, now: DateTime<Utc>) -> Self {
        Self { definition, log, now, drafts: Vec::new(), ignored: None }
    }

    /// The transition's result.
    pub(super) fn end(mut self) -> Advanced<G::State> {
        let due = self.log.due();
        let timer = match (self.log.timer, due) {
            // A timer that fires too early costs one look; moving it at every step would cost a write each.
            (Some(set), Some(due)) if set <= due => None,
            (_, Some(due)) => Some(TimerWish::Set(due)),
            (Some(_), None) => Some(TimerWish::Cancel),
            (None, None) => None,
        };
        if let Some(wish) = timer {
            self.log.timer = if wish == TimerWish::Cancel { None } else { due };
        }
        Advanced { log: self.log, drafts: self.drafts, timer, ignored: self.ignored }
    }

    pub(super) fn take(&mut self, input: Input<'_>) {
        self.ignored = match input {
            Input::Started(start) => self.started_again(start).err(),
            Input::Undo(request) => self.undo_asked(request).err(),
            Input::Reply(reply) => self.reply(reply).err(),
            Input::Wake => {
                self.log.timer = None;
                self.wake().err()
            }
        };
        match self.ignored {
            None => self.log.updated_at = self.now,
            // An early timer is our own doing.
            Some(Ignored::Early) => {}
            Some(reason) => {
                self.log.ignored = self.log.ignored.saturating_add(1);
                let entry = Entry::new(self.now, What::Ignored).because(reason.as_str());
                let entry = match input {
                    Input::Reply(event) | Input::Started(event) | Input::Undo(event) => entry.event(&event.id),
                    Input::Wake => entry,
                };
                self.log.history.push(entry);
            }
        }
    }

    // ── forward and back ────────────────────────────────────────────────────────────────────────────

    /// Does whatever can be done without waiting.
    pub(super) fn go_on(&mut self) {
        loop {
            let moved = match self.log.status {
                Status::Running => self.forward(),
                Status::Compensating => self.back(),
                Status::Completed | Status::Undone | Status::Stuck | Status::Stalled => false,
            };
            if !moved {
                return;
            }
        }
    }

    /// Asks for the next stage once every step before it happened.
    fn forward(&mut self) -> bool {
        let passed = |step: &StepLog| matches!(step.status, StepStatus::Ok | StepStatus::Skipped);
        let specs = &self.definition.steps;
        let Some(first) = (0..specs.len()).find(|at| !self.log.steps.get(*at).is_some_and(passed)) else {
            self.complete();
            return true;
        };
        let mut moved = false;
        for at in (first..specs.len()).take_while(|at| specs[*at].stage == specs[first].stage) {
            match self.log.steps.get(at).map(|step| step.status) {
                None => self.log.steps.push(StepLog::new(specs[at].name, self.log.epoch, self.now)),
                Some(StepStatus::Again) => self.next_epoch(at),
                Some(_) => continue,
            }
            self.ask(at);
            moved = true;
            // It could not even be asked for, so that the saga turned back.
            if self.log.status != Status::Running {
                break;
            }
        }
        moved
    }

    /// Asks for the undo of the last stage in which something may have happened.
    fn back(&mut self) -> bool {
        let specs = &self.definition.steps;
        let Some(last) = self.log.steps.iter().rposition(StepLog::may_have_happened) else {
            self.finish_undone();
            return true;
        };
        let stage = |at: usize| specs.get(at).map(|spec| spec.stage);
        let mut moved = false;
        for at in (0..=last).rev().take_while(|at| stage(*at) == stage(last)) {
            let status = self.log.steps[at].status;
            let is_open = self.log.steps[at].may_have_happened();
            if !is_open || matches!(status, StepStatus::Undoing | StepStatus::UndoFailed) {
                continue;
            }
            moved = true;
            if specs.get(at).is_some_and(|spec| spec.undo.is_some()) {
                self.set(at, StepStatus::Undoing);
                self.next_epoch(at);
                self.send(at, Direction::Undo);
            } else {
                self.set(at, StepStatus::Undone);
            }
            if self.log.status != Status::Compensating {
                break;
            }
        }
        moved
    }

    /// A step will not happen: undo what did, unless there is no way back.
    pub(super) fn turn_back(&mut self, at: usize, failure: Failure) {
        if self.past_recall().is_some() {
            return self.stick(at, failure);
        }
        let entry = self.entry(What::TurnedBack, at, Direction::Do);
        self.log.history.push(entry);
        self.log.status = Status::Compensating;
        self.log.stuck = None;
        self.log.failure = Some(failure);
    }

    /// The first step because of which nothing can be undone any more: a pivot that happened or may have, or any step
    /// behind it.
    pub(super) fn past_recall(&self) -> Option<usize> {
        let spec = |at: usize| self.definition.steps.get(at).map(|spec| spec.kind);
        let happened = |step: &StepLog| !matches!(step.status, StepStatus::Failed | StepStatus::Again);
        self.log.steps.iter().enumerate().position(|(at, step)| match spec(at) {
            Some(StepKind::Compensatable) => false,
            Some(StepKind::Pivot) => happened(step),
            Some(StepKind::Retriable) | None => true,
        })
    }

    /// Whether a step keeps the saga from going on by itself.
    pub(super) fn is_blocked(&self, at: usize) -> bool {
        let step = &self.log.steps[at];
        match self.log.heading() {
            Direction::Undo => step.status == StepStatus::UndoFailed,
            Direction::Do => matches!(step.status, StepStatus::Unknown | StepStatus::Failed),
        }
    }

    /// A stuck saga goes on once nothing keeps it any more.
    pub(super) fn unstick(&mut self) {
        if self.log.status == Status::Stuck && !(0..self.log.steps.len()).any(|at| self.is_blocked(at)) {
            self.log.stuck = None;
            self.log.status = if self.log.heading() == Direction::Do { Status::Running } else { Status::Compensating };
        }
    }

    // ── the three ends ──────────────────────────────────────────────────────────────────────────────

    pub(super) fn complete(&mut self) {
        self.log.status = Status::Completed;
        match self.definition.saga.completed(&self.log) {
            Ok(drafts) => {
                self.log.history.push(Entry::new(self.now, What::Completed));
                self.tell(drafts);
            }
            Err(error) => self.stick(self.log.steps.len().saturating_sub(1), unwritable(&error)),
        }
    }

    pub(super) fn finish_undone(&mut self) {
        let unknown = || Failure::new("saga.undone", "the saga was undone");
        let failure = self.log.failure.clone().unwrap_or_else(unknown);
        self.log.status = Status::Undone;
        match self.definition.saga.undone(&self.log, &failure) {
            Ok(drafts) => {
                self.log.history.push(Entry::new(self.now, What::AllUndone));
                self.tell(drafts);
            }
            Err(error) => self.stick(0, unwritable(&error)),
        }
    }

    /// Goes neither forward nor back.
    pub(super) fn stick(&mut self, at: usize, failure: Failure) {
        self.log.status = Status::Stuck;
        let name = self.log.steps.get(at).map(|step| step.name.clone()).unwrap_or_default();
        let entry = self.entry(What::Stuck, at, Direction::Do).because(&failure.reason);
        self.log.history.push(entry);
        let stuck = self.definition.saga.stuck(&self.log, &name, &failure.reason);
        self.log.stuck = Some(failure);
        match stuck {
            Ok(drafts) => self.emit(drafts),
            // It is stuck all the same, and listed as such.
            Err(error) => self.log.history.push(Entry::new(self.now, What::Stuck).because(error)),
        }
    }

    // ── sending ─────────────────────────────────────────────────────────────────────────────────────

    pub(super) fn next_epoch(&mut self, at: usize) {
        self.log.epoch = self.log.epoch.saturating_add(1);
        self.log.steps[at].epoch = self.log.epoch;
    }

    /// Asks for a step: sends its request, or waits for its signal.
    pub(super) fn ask(&mut self, at: usize) {
        let Some(spec) = self.definition.steps.get(at) else { return };
        if !spec.is_wait() {
            self.set(at, StepStatus::Sent);
            return self.send(at, Direction::Do);
        }
        self.set(at, StepStatus::Waiting);
        self.log.steps[at].attempts = self.log.steps[at].attempts.saturating_add(1);
        self.log.steps[at].due = Some(Due { at: later(self.now, spec.policy.deadline), then: Then::Deadline });
        let entry = self.entry(What::Waiting, at, Direction::Do);
        self.log.history.push(entry);
        let is_ours = |signal: &Envelope| SagaRef::of(signal).is_some_and(|turn| turn.step == spec.name);
        if let Some(early) = self.log.early.iter().position(is_ours) {
            let signal = self.log.early.remove(early);
            self.done(at, &signal);
        }
    }

    /// Sends the next request of a step in one direction.
    pub(super) fn send(&mut self, at: usize, direction: Direction) {
        let Some(spec) = self.definition.steps.get(at) else { return };
        let request = match direction {
            Direction::Do => spec.request.as_ref(),
            Direction::Undo => spec.undo.as_ref().map(|undo| &undo.request),
        };
        let Some(request) = request else { return };
        let draft = match (request.make)(&self.log.state) {
            Ok(draft) => draft,
            Err(error) => return self.unsendable(at, direction, unwritable(&error)),
        };
        let step = &mut self.log.steps[at];
        let attempts = if direction == Direction::Do { &mut step.attempts } else { &mut step.undo_attempts };
        *attempts = attempts.saturating_add(1);
        let id = request_id(self.log.id, &step.name, direction, *attempts);
        match direction {
            Direction::Do => step.request = Some(id),
            Direction::Undo => step.undo_request = Some(id),
        }
        step.due = Some(Due { at: later(self.now, spec.policy.deadline), then: Then::Deadline });
        step.updated_at = self.now;
        let at_step = SagaRef { id: self.log.id, step: step.name.clone(), epoch: step.epoch };
        let what = if direction == Direction::Do { What::Requested } else { What::UndoRequested };
        let entry = self.entry(what, at, direction).event(id);
        self.log.history.push(entry);
        self.push(at_step.stamp(draft), id);
    }

    fn unsendable(&mut self, at: usize, direction: Direction, failure: Failure) {
        self.fail(at, if direction == Direction::Do { StepStatus::Failed } else { StepStatus::UndoFailed }, &failure);
        match direction {
            Direction::Do => self.turn_back(at, failure),
            Direction::Undo => self.stick(at, failure),
        }
    }

    pub(super) fn emit(&mut self, drafts: Vec<Draft>) {
        for draft in drafts {
            let id = emitted_id(self.log.id, self.log.emitted);
            self.log.emitted = self.log.emitted.saturating_add(1);
            self.push(draft, id);
        }
    }

    fn push(&mut self, draft: Draft, id: Uuid) {
        // Named here, because a timer is no cause whose flow could be inherited.
        let correlationid = Some(self.log.correlationid.clone());
        self.drafts.push(Draft { id: Some(id.to_string()), correlationid, ..draft });
    }

    // ── writing down ────────────────────────────────────────────────────────────────────────────────

    pub(super) fn set(&mut self, at: usize, status: StepStatus) {
        let step = &mut self.log.steps[at];
        step.status = status;
        step.due = None;
        step.updated_at = self.now;
    }

    pub(super) fn fail(&mut self, at: usize, status: StepStatus, failure: &Failure) {
        let direction = self.direction(at);
        self.set(at, status);
        self.log.steps[at].failure = Some(failure.clone());
        let what = match (status, direction) {
            (StepStatus::Unknown, _) => What::Unknown,
            (_, Direction::Do) => What::Failed,
            (_, Direction::Undo) => What::UndoFailed,
        };
        let note = format!("{}: {}", failure.code, failure.reason);
        let entry = self.entry(what, at, direction).because(note);
        self.log.history.push(entry);
    }

    pub(super) fn entry(&self, what: What, at: usize, direction: Direction) -> Entry {
        let entry = Entry::new(self.now, what);
        match self.log.steps.get(at) {
            Some(step) => entry.step(&step.name, self.attempts(at, direction)),
            None => entry,
        }
    }
}

fn unwritable(error: &SchemaError) -> Failure {
    Failure::new(error.code(), error.to_string())
}

pub(super) fn later(now: DateTime<Utc>, wait: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(wait).ok().and_then(|wait| now.checked_add_signed(wait)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
