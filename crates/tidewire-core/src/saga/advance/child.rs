//! A saga that is a step of another: it is started and undone by that one's requests, and how it ends is the reply.

use super::Ignored;
use super::course::Course;
use crate::draft::Draft;
use crate::envelope::Envelope;
use crate::saga::definition::Saga;
use crate::saga::history::{Entry, What};
use crate::saga::log::Status;
use crate::saga::reference::{Direction, Failure, SagaRef};

/// Why a saga was undone that is a step of another, which asked for it.
pub const UNDO_ASKED: &str = "saga.undo_asked";

impl<G: Saga> Course<'_, G> {
    /// Says how it ended; to the saga of which it is a step, as that step's reply.
    pub(super) fn tell(&mut self, drafts: Vec<Draft>) {
        let parent = self.log.parent.clone();
        self.emit(
            drafts
                .into_iter()
                .map(|draft| match &parent {
                    Some(parent) => parent.stamp(draft),
                    None => draft,
                })
                .collect(),
        );
    }

    /// The same start once more. One who asks again has not heard the answer: it is given again.
    pub(super) fn started_again(&mut self, start: &Envelope) -> Result<(), Ignored> {
        let newer = SagaRef::of(start).filter(|at| self.is_newer(at));
        let Some(at) = newer.filter(|_| self.log.cause != start.id) else { return Err(Ignored::StartedBefore) };
        // Undone because it was asked to: whoever asks for it now has forgotten that, or comes late.
        let is_withdrawn = self.log.failure.as_ref().is_some_and(|failure| failure.code == UNDO_ASKED);
        if is_withdrawn {
            return Err(Ignored::Late);
        }
        self.log.parent = Some(at);
        self.tell_again();
        Ok(())
    }

    /// The saga of which it is a step wants it undone.
    pub(super) fn undo_asked(&mut self, request: &Envelope) -> Result<(), Ignored> {
        let at = SagaRef::of(request).filter(|at| self.is_newer(at)).ok_or(Ignored::Late)?;
        let was_asked = self.log.failure.as_ref().is_some_and(|failure| failure.code == UNDO_ASKED);
        let failure = Failure::new(UNDO_ASKED, "the saga of which this is a step asked for its undo");
        if self.log.status == Status::Undone {
            self.log.parent = Some(at);
            self.log.failure = Some(failure);
            self.tell_again();
            return Ok(());
        }
        if self.log.heading() == Direction::Undo {
            self.log.parent = Some(at);
            self.log.failure = Some(failure);
            return if was_asked { Err(Ignored::Repeated) } else { Ok(()) };
        }
        if self.past_recall().is_some() {
            // There is no way back: the saga that asked learns of it by its deadline, and a person by that one.
            return Err(Ignored::Over);
        }
        self.log.parent = Some(at);
        let entry = Entry::new(self.now, What::UndoAsked).event(&request.id);
        self.log.history.push(entry);
        let last = self.log.steps.len().saturating_sub(1);
        self.turn_back(last, failure);
        self.go_on();
        Ok(())
    }

    /// Whether a request is at least as new as what its saga asked for last.
    fn is_newer(&self, at: &SagaRef) -> bool {
        self.log.parent.as_ref().is_some_and(|parent| parent.id == at.id && at.epoch >= parent.epoch)
    }

    fn tell_again(&mut self) {
        let drafts = match self.log.status {
            Status::Completed => self.definition.saga.completed(&self.log),
            Status::Undone => {
                let unknown = || Failure::new("saga.undone", "the saga was undone");
                let failure = self.log.failure.clone().unwrap_or_else(unknown);
                self.definition.saga.undone(&self.log, &failure)
            }
            // It will tell when it has come to its end.
            _ => return,
        };
        // What could be written once can be written again; were it not so, its saga asks once more.
        if let Ok(drafts) = drafts {
            self.log.history.push(Entry::new(self.now, What::ToldAgain));
            self.tell(drafts);
        }
    }
}
