//! The reducer: from a saga's log and an input to its next log and what is to be emitted.
//!
//! Pure and total: every status takes every input, the same log and input give the same answer, and what means
//! nothing is counted, never an error.

mod child;
mod course;
mod order;
mod outlook;
mod reply;
mod waiting;

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::definition::{Definition, Saga};
use super::history::{Entry, History, What};
use super::log::{SagaLog, Status};
use super::reference::{SagaRef, child_id, never_id, saga_id};
use crate::draft::Draft;
use crate::envelope::Envelope;
use crate::event::{Event, SchemaError};

pub use child::UNDO_ASKED;
use course::Course;
pub use order::{Order, Refused, Verb};
pub use outlook::{Asked, Awaited, Outlook};

/// Something that may move a saga.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Input<'a> {
    /// The event that starts it, once more.
    Started(&'a Envelope),
    /// An event that may be a reply.
    Reply(&'a Envelope),
    /// The saga of which it is a step asks for its undo.
    Undo(&'a Envelope),
    /// The timer fired: look what is due.
    Wake,
}

/// Why an input meant nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ignored {
    /// The saga was started by this event before.
    StartedBefore,
    /// The event does not say which saga it replies to, or names another one.
    NoReply,
    /// There is no such step, or it was not asked for.
    NotAsked,
    /// The event is no reply of the step it names.
    WrongStep,
    /// A reply to a request that the saga no longer waits for.
    Late,
    /// The same was replied before.
    Repeated,
    /// Nothing is due yet.
    Early,
    /// The saga is over.
    Over,
}

impl Ignored {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StartedBefore => "started_before",
            Self::NoReply => "no_reply",
            Self::NotAsked => "not_asked",
            Self::WrongStep => "wrong_step",
            Self::Late => "late",
            Self::Repeated => "repeated",
            Self::Early => "early",
            Self::Over => "over",
        }
    }
}

/// What is to be done about the saga's one timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerWish {
    /// Set or move it.
    Set(DateTime<Utc>),
    /// Take it back.
    Cancel,
}

/// A saga after an input. All of it becomes true in one commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Advanced<S> {
    /// Its log now.
    pub log: SagaLog<S>,
    /// What it emits, each with a fixed id: deciding twice emits once.
    pub drafts: Vec<Draft>,
    /// What becomes of its timer; `None` leaves it.
    pub timer: Option<TimerWish>,
    /// Why the input meant nothing, if so.
    pub ignored: Option<Ignored>,
}

impl<G: Saga> Definition<G> {
    /// The id of the saga that `event` starts, if it is of the starting type.
    pub fn id_for(&self, event: &Envelope) -> Option<Uuid> {
        let starts = event.ty.name() == G::Start::TYPE.name();
        starts.then(|| SagaRef::of(event).map_or_else(|| saga_id(G::NAME, &event.id), |at| child_id(G::NAME, &at)))
    }

    /// The id of the saga that `event` asks to undo, if it is such an event.
    pub fn undone_by(&self, event: &Envelope) -> Option<Uuid> {
        let asked = self.saga.undo_request().is_some_and(|ty| ty.name() == event.ty.name());
        SagaRef::of(event).filter(|_| asked).map(|at| child_id(G::NAME, &at))
    }

    /// What an event that waited is to a saga that has begun.
    fn input_of<'e>(&self, event: &'e Envelope) -> Input<'e> {
        if self.undone_by(event).is_some() { Input::Undo(event) } else { Input::Reply(event) }
    }

    /// What is replied to the request for the undo of a saga that never began, each with a fixed id.
    pub fn never_began(&self, request: &Envelope) -> Result<Vec<Draft>, SchemaError> {
        let Some((at, id)) = SagaRef::of(request).zip(self.undone_by(request)) else { return Ok(Vec::new()) };
        let drafts = self.saga.never_began(request)?.into_iter().enumerate();
        Ok(drafts.map(|(n, draft)| at.stamp(draft.with_id(never_id(id, &request.id, n).to_string()))).collect())
    }

    /// Starts a saga, if `event` does start one.
    pub fn begin(&self, event: &Envelope, now: DateTime<Utc>) -> Result<Option<Advanced<G::State>>, SchemaError> {
        let start = G::Start::decode(event)?;
        let Some(state) = self.saga.start(&start, event) else { return Ok(None) };
        let mut history = History::default();
        history.push(Entry::new(now, What::Started).event(&event.id));
        let log = SagaLog {
            id: self.id_for(event).unwrap_or_else(|| saga_id(G::NAME, &event.id)),
            saga: G::NAME.to_owned(),
            definition: G::DEFINITION,
            fingerprint: self.fingerprint().to_owned(),
            key: event.key.clone(),
            correlationid: event.correlationid.clone().unwrap_or_else(|| event.id.clone()),
            cause: event.id.clone(),
            parent: SagaRef::of(event),
            status: Status::Running,
            epoch: 1,
            failure: None,
            stuck: None,
            started_at: now,
            updated_at: now,
            state,
            steps: Vec::new(),
            history,
            ignored: 0,
            emitted: 0,
            timer: None,
            stall: None,
            early: Vec::new(),
        };
        let mut course = Course::new(self, log, now);
        course.go_on();
        Ok(Some(course.end()))
    }

    /// Moves a saga by one input. A stalled saga that this build can read goes on first with what arrived while
    /// it was stalled.
    pub fn advance(&self, log: SagaLog<G::State>, input: Input<'_>, now: DateTime<Utc>) -> Advanced<G::State> {
        let mut course = Course::new(self, log, now);
        for waiting in course.log.unstall(now) {
            course.take(self.input_of(&waiting));
        }
        course.take(input);
        course.end()
    }

    /// Moves a saga as a person wants it moved, or says why that cannot be. Pure like [`advance`](Self::advance): asked
    /// twice of one log it answers the same, so what a rehearsal shows is what then happens.
    pub fn order(
        &self,
        log: SagaLog<G::State>,
        order: &Order,
        now: DateTime<Utc>,
    ) -> Result<Advanced<G::State>, Refused> {
        let mut course = Course::new(self, log, now);
        for waiting in course.log.unstall(now) {
            course.take(self.input_of(&waiting));
        }
        course.order(order)?;
        Ok(course.end())
    }
}
