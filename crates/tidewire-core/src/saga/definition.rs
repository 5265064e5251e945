//! Definitions: what a saga is.

use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::log::SagaLog;
use super::plan::{Plan, Steps};
use super::reference::{Direction, Failure};
use super::step::StepSpec;
use crate::draft::Draft;
use crate::envelope::Envelope;
use crate::event::{Event, SchemaError};
use crate::event_type::EventType;

/// The most steps one saga may have: its log is read and written whole on every transition.
pub const MAX_STEPS: usize = 64;

/// A long workflow: one event starts it, each step asks a participant for something and waits for the reply,
/// and when a step fails, those before it are undone in reverse. Pure: everything is computed from the state,
/// which the replies fill.
///
/// Every instance ends *completed*, *undone*, or *stuck* with a reason for a person to see to.
pub trait Saga: Send + Sync + 'static {
    /// Its name, such as `document-ingestion`: part of every instance's id, so it never changes.
    const NAME: &'static str;
    /// To be raised when the steps, or the meaning of the state, change. Instances of a definition this build
    /// does not know are stalled until a build that does; they never fail.
    const DEFINITION: u16;
    /// What it knows: filled from the starting event and the replies.
    type State: Serialize + DeserializeOwned + Clone + Send + Sync + 'static;
    /// The event that starts it.
    type Start: Event;

    /// The state an instance starts with; `None` when this event starts none.
    fn start(&self, event: &Self::Start, envelope: &Envelope) -> Option<Self::State>;

    /// The steps, in order.
    fn steps(&self, plan: Plan<Self::State>) -> Steps<Self::State>;

    /// Takes over an instance that an older definition of this saga has begun: its state, read as JSON, becomes this
    /// definition's, and its steps keep their names and their order, so that they are the first of this definition's.
    /// `None`, as by default, leaves it stalled until a build that has its definition runs.
    fn take_over(&self, older: SagaLog<Value>) -> Option<SagaLog<Self::State>> {
        let _ = older;
        None
    }

    /// What is emitted once every step happened.
    fn completed(&self, log: &SagaLog<Self::State>) -> Result<Vec<Draft>, SchemaError>;

    /// What is emitted once everything is undone, because of `failure`. For a saga that is a step of another: the reply
    /// that the step failed, or, when the code is [`UNDO_ASKED`](super::UNDO_ASKED), that it is undone.
    fn undone(&self, log: &SagaLog<Self::State>, failure: &Failure) -> Result<Vec<Draft>, SchemaError>;

    /// The event by which another saga, of which this one is a step, asks for its undo; `None`, as by default: it is no
    /// step of another.
    fn undo_request(&self) -> Option<EventType> {
        None
    }

    /// What is replied to a request for its undo when it never began; it never will then. As by default, nothing.
    fn never_began(&self, request: &Envelope) -> Result<Vec<Draft>, SchemaError> {
        let _ = request;
        Ok(Vec::new())
    }

    /// What is emitted when it goes neither forward nor back without a person. `step` is where it stands.
    fn stuck(&self, log: &SagaLog<Self::State>, step: &str, reason: &str) -> Result<Vec<Draft>, SchemaError>;
}

/// Why a saga's definition makes no sense. A defect of the program: refuse to start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDefinition {
    /// No steps, or more than [`MAX_STEPS`].
    #[error("saga `{saga}` has {found} steps; 1 to {MAX_STEPS} are taken")]
    Steps {
        /// The saga.
        saga: &'static str,
        /// How many it has.
        found: usize,
    },
    /// A name that is none.
    #[error("`{found}` cannot name a saga or a step: 1 to 64 lower-case letters, digits and `-`")]
    Name {
        /// The name.
        found: &'static str,
    },
    /// Two steps of one name.
    #[error("saga `{saga}` has two steps named `{step}`")]
    Twice {
        /// The saga.
        saga: &'static str,
        /// The name.
        step: &'static str,
    },
    /// One event with two meanings.
    #[error("step `{step}` of saga `{saga}` uses `{event}` for two different requests or replies")]
    Ambiguous {
        /// The saga.
        saga: &'static str,
        /// The step.
        step: &'static str,
        /// The event's name.
        event: String,
    },
    /// A step that is never asked for.
    #[error("step `{step}` of saga `{saga}` allows no attempt; at least 1 is needed in each direction")]
    Attempts {
        /// The saga.
        saga: &'static str,
        /// The step.
        step: &'static str,
    },
}

/// What answers a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// The step it is for.
    pub step: &'static str,
    /// Whether it asks for the step or for its undo.
    pub direction: Direction,
    /// The reply when it happened.
    pub done: EventType,
    /// The reply when it did not; none where only the deadline tells.
    pub failed: Option<EventType>,
}

/// A saga whose plan has been checked, ready to advance instances.
pub struct Definition<G: Saga> {
    pub(super) saga: G,
    pub(super) steps: Vec<StepSpec<G::State>>,
    fingerprint: String,
}

impl<G: Saga> Definition<G> {
    /// Checks a saga's definition.
    pub fn new(saga: G) -> Result<Self, InvalidDefinition> {
        let Steps(steps) = saga.steps(Plan::new());
        check::<G>(&steps)?;
        let fingerprint = fingerprint::<G>(&steps);
        Ok(Self { saga, steps, fingerprint })
    }

    /// A digest of the graph of steps: names, kinds, events. Patience does not count, it may change at any time.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Its steps' names, in order.
    pub fn step_names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.steps.iter().map(|step| step.name)
    }

    /// What answers a request of this type, if it is one of its requests. Where several steps ask the same, the first.
    pub fn answers(&self, request: &EventType) -> Option<Answers> {
        let name = request.name();
        self.steps.iter().find_map(|spec| {
            let is_do = spec.request.as_ref().is_some_and(|request| request.ty.name() == name);
            let undo = spec.undo.as_ref().filter(|undo| undo.request.ty.name() == name);
            let (direction, done, failed) = match undo {
                Some(undo) => (Direction::Undo, &undo.undone.ty, undo.failed.as_ref()),
                None if is_do => (Direction::Do, &spec.done.ty, spec.failed.as_ref()),
                None => return None,
            };
            let failed = failed.map(|failed| failed.ty.clone());
            Some(Answers { step: spec.name, direction, done: done.clone(), failed })
        })
    }

    /// Whether the step called `step` has an undo.
    pub fn has_undo(&self, step: &str) -> bool {
        self.steps.iter().any(|spec| spec.name == step && spec.undo.is_some())
    }

    /// The event that starts it.
    pub fn starts(&self) -> EventType {
        G::Start::TYPE
    }

    /// The event that the step called `step` waits for, if there is such a step and it waits for one from outside.
    pub fn signal(&self, step: &str) -> Option<EventType> {
        let step = self.steps.iter().find(|spec| spec.name == step)?;
        step.is_wait().then(|| step.done.ty.clone())
    }

    /// What `signal` would say to the step called `step` of a saga in this state: `None` when that step waits for no
    /// signal, a failure when it is a no.
    pub fn hears(
        &self,
        step: &str,
        state: &G::State,
        signal: &Envelope,
    ) -> Option<Result<Option<Failure>, SchemaError>> {
        let spec = self.steps.iter().find(|spec| spec.name == step && spec.is_wait())?;
        Some((spec.done.absorb)(&mut state.clone(), signal))
    }

    /// What an orchestrator reads: the starting event and every reply.
    pub fn types(&self) -> Vec<EventType> {
        let replies = self.steps.iter().flat_map(StepSpec::replies).cloned();
        let own = std::iter::once(G::Start::TYPE).chain(self.saga.undo_request());
        let types: BTreeSet<EventType> = own.chain(replies).collect();
        types.into_iter().collect()
    }
}

fn check<G: Saga>(steps: &[StepSpec<G::State>]) -> Result<(), InvalidDefinition> {
    let saga = G::NAME;
    if steps.is_empty() || steps.len() > MAX_STEPS {
        return Err(InvalidDefinition::Steps { saga, found: steps.len() });
    }
    let mut names = BTreeSet::new();
    for found in std::iter::once(saga).chain(steps.iter().map(|step| step.name)) {
        let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if found.is_empty() || found.len() > 64 || !found.bytes().all(known) {
            return Err(InvalidDefinition::Name { found });
        }
    }
    for step in steps {
        if !names.insert(step.name) {
            return Err(InvalidDefinition::Twice { saga, step: step.name });
        }
        if step.policy.attempts == 0 || step.policy.undo_attempts == 0 {
            return Err(InvalidDefinition::Attempts { saga, step: step.name });
        }
        let mut events = BTreeSet::from([G::Start::TYPE.name().to_owned()]);
        for ty in step.requests().chain(step.replies()) {
            if !events.insert(ty.name().to_owned()) {
                return Err(InvalidDefinition::Ambiguous { saga, step: step.name, event: ty.name().to_owned() });
            }
        }
    }
    Ok(())
}

fn fingerprint<G: Saga>(steps: &[StepSpec<G::State>]) -> String {
    let mut text = format!("{} starts {}\n", G::NAME, G::Start::TYPE.name());
    for step in steps {
        text.push_str(&format!("{} {}", step.name, step.kind.as_str()));
        // Said only where it is so: the digests of plain sagas, which are pinned to instances, stay what they were.
        if steps.iter().filter(|other| other.stage == step.stage).count() > 1 {
            text.push_str(&format!(" together {}", step.stage));
        }
        if step.is_wait() {
            text.push_str(" waits");
        }
        step.requests().chain(step.replies()).for_each(|ty| text.push_str(&format!(" {}", ty.name())));
        text.push('\n');
    }
    Sha256::digest(text.as_bytes())[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
