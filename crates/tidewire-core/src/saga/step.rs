//! Steps: what a saga does, as data.

use std::marker::PhantomData;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::reference::Failure;
use crate::backoff::Backoff;
use crate::draft::Draft;
use crate::envelope::Envelope;
use crate::event::{Event, SchemaError};
use crate::event_type::EventType;

/// What may become of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// It can be undone; when it fails, everything before it is.
    Compensatable,
    /// The point of no return: when it fails, everything before it is undone; once it happened, nothing is.
    Pivot,
    /// After the point of no return: tried again until it happens.
    Retriable,
}

impl StepKind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Compensatable => "compensatable",
            Self::Pivot => "pivot",
            Self::Retriable => "retriable",
        }
    }
}

/// How patient a saga is with a step. May be changed while sagas run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a request may stay without a reply before it is repeated.
    pub deadline: Duration,
    /// How many requests are sent for the step before its outcome counts as unknown (or, for a retriable step,
    /// the saga as stuck).
    pub attempts: u32,
    /// How many requests are sent for the undo before the saga is stuck.
    pub undo_attempts: u32,
    /// The wait between a failed retriable step, or a failed undo, and its next request.
    pub backoff: Backoff,
}

impl Default for Policy {
    /// A deadline of five minutes and three requests; 24 for an undo, an hour apart in the end, so that an
    /// undo outlasts the outage of a day before a person is called.
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(300),
            attempts: 3,
            undo_attempts: 24,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(3600)),
        }
    }
}

type Make<S> = Box<dyn Fn(&S) -> Result<Draft, SchemaError> + Send + Sync>;
/// `Some` when what came says no.
type Absorb<S> = Box<dyn Fn(&mut S, &Envelope) -> Result<Option<Failure>, SchemaError> + Send + Sync>;
type Read = Box<dyn Fn(&Envelope) -> Result<Failure, SchemaError> + Send + Sync>;

pub(super) struct Request<S> {
    pub(super) ty: EventType,
    pub(super) make: Make<S>,
}

pub(super) struct Success<S> {
    pub(super) ty: EventType,
    pub(super) absorb: Absorb<S>,
}

pub(super) struct Refusal {
    pub(super) ty: EventType,
    pub(super) read: Read,
}

pub(super) struct UndoSpec<S> {
    pub(super) request: Request<S>,
    pub(super) undone: Success<S>,
    pub(super) failed: Option<Refusal>,
}

/// A step with its types taken away.
pub(super) struct StepSpec<S> {
    pub(super) name: &'static str,
    pub(super) kind: StepKind,
    pub(super) policy: Policy,
    /// Steps of one stage are asked for together.
    pub(super) stage: usize,
    /// `None` where nobody is asked: the saga waits for what comes from outside.
    pub(super) request: Option<Request<S>>,
    pub(super) done: Success<S>,
    /// `None` where what comes says itself whether it is a no.
    pub(super) failed: Option<Refusal>,
    /// `None` where there is nothing to undo.
    pub(super) undo: Option<UndoSpec<S>>,
}

impl<S> StepSpec<S> {
    /// Everything that may answer its requests.
    pub(super) fn replies(&self) -> impl Iterator<Item = &EventType> {
        let undo = self
            .undo
            .iter()
            .flat_map(|undo| std::iter::once(&undo.undone.ty).chain(undo.failed.as_ref().map(|failed| &failed.ty)));
        std::iter::once(&self.done.ty).chain(self.failed.as_ref().map(|failed| &failed.ty)).chain(undo)
    }

    /// Everything it asks others for.
    pub(super) fn requests(&self) -> impl Iterator<Item = &EventType> {
        let undo = self.undo.as_ref().map(|undo| &undo.request.ty);
        self.request.as_ref().map(|request| &request.ty).into_iter().chain(undo)
    }

    /// Whether it waits for what comes from outside, rather than for a participant.
    pub(super) fn is_wait(&self) -> bool {
        self.request.is_none()
    }
}

/// Marks a step without an undo.
pub enum Final {}
/// Marks a step that can be undone.
pub enum Undoable {}

/// A step on its way into a [`Plan`](super::Plan): a request, and the two replies it may have. `K` says at compile time
/// whether it can be undone ([`Undoable`]) or not ([`Final`]), and so where in the plan it may stand.
pub struct Step<S, K = Final> {
    pub(super) spec: StepSpec<S>,
    kind: PhantomData<K>,
}

fn request<S, Q: Event>(make: impl Fn(&S) -> Q + Send + Sync + 'static) -> Request<S> {
    Request { ty: Q::TYPE, make: Box::new(move |state| Draft::of(&make(state))) }
}

fn success<S, D: Event>(absorb: impl Fn(&mut S, D) + Send + Sync + 'static) -> Success<S> {
    heard(move |state, reply: D| {
        absorb(state, reply);
        Ok(())
    })
}

fn heard<S, D: Event>(absorb: impl Fn(&mut S, D) -> Result<(), Failure> + Send + Sync + 'static) -> Success<S> {
    let absorb = move |state: &mut S, reply: &Envelope| D::decode(reply).map(|reply| absorb(state, reply).err());
    Success { ty: D::TYPE, absorb: Box::new(absorb) }
}

fn refusal<F: Event>(read: impl Fn(F) -> Failure + Send + Sync + 'static) -> Refusal {
    Refusal { ty: F::TYPE, read: Box::new(move |reply| F::decode(reply).map(&read)) }
}

impl<S> Step<S, Final> {
    /// A step: its request made from the state, what the state takes from the reply when it is done, and what the
    /// reply says when it failed. All three are pure.
    pub fn new<Q: Event, D: Event, F: Event>(
        name: &'static str,
        make: impl Fn(&S) -> Q + Send + Sync + 'static,
        done: impl Fn(&mut S, D) + Send + Sync + 'static,
        failed: impl Fn(F) -> Failure + Send + Sync + 'static,
    ) -> Self {
        let spec = StepSpec {
            name,
            kind: StepKind::Retriable,
            policy: Policy::default(),
            stage: 0,
            request: Some(request(make)),
            done: success(done),
            failed: Some(refusal(failed)),
            undo: None,
        };
        Self { spec, kind: PhantomData }
    }

    /// A step that asks nobody: it waits for a person, or for an event from outside. Whoever signals emits an `E`
    /// that carries the saga and the step ([`SagaRef::signal`](super::SagaRef::signal)); one that comes before the
    /// step is reached is kept for it. `heard` takes it into the state, or says why the answer is no, which counts as
    /// a failed step.
    ///
    /// Nothing within `deadline` counts as a no as well, so that what came before is undone; behind the point of no
    /// return the saga is stuck until it is signalled.
    pub fn wait<E: Event>(
        name: &'static str,
        deadline: Duration,
        heard: impl Fn(&mut S, E) -> Result<(), Failure> + Send + Sync + 'static,
    ) -> Self {
        let spec = StepSpec {
            name,
            kind: StepKind::Retriable,
            policy: Policy { deadline, attempts: 1, ..Policy::default() },
            stage: 0,
            request: None,
            done: self::heard(heard),
            failed: None,
            undo: None,
        };
        Self { spec, kind: PhantomData }
    }

    /// With an undo: its request, and what the state takes from the reply.
    pub fn undo<Q: Event, U: Event>(
        mut self,
        make: impl Fn(&S) -> Q + Send + Sync + 'static,
        undone: impl Fn(&mut S, U) + Send + Sync + 'static,
    ) -> Step<S, Undoable> {
        self.spec.undo = Some(UndoSpec { request: request(make), undone: success(undone), failed: None });
        Step { spec: self.spec, kind: PhantomData }
    }

    /// The step leaves no trace, so that there is nothing to undo.
    pub fn nothing_to_undo(self) -> Step<S, Undoable> {
        Step { spec: self.spec, kind: PhantomData }
    }
}

impl<S> Step<S, Undoable> {
    /// The reply to an undo that failed. Without one, only the deadline tells.
    pub fn undo_failed<F: Event>(mut self, failed: impl Fn(F) -> Failure + Send + Sync + 'static) -> Self {
        if let Some(undo) = &mut self.spec.undo {
            undo.failed = Some(refusal(failed));
        }
        self
    }
}

impl<S, K> Step<S, K> {
    /// With this patience instead of the default.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.spec.policy = policy;
        self
    }
}
