//! The operators' desk for sagas: start, signal, and the orders that repair one.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use tidewire_core::saga::stall::StallError;
use tidewire_core::saga::{Failure, Order, Outlook, Refused, Saga, Status, Verb, saga_id};
use tidewire_core::{
    Append, Commit, Committed, Draft, Expect, ExpectDocument, HandlerError, Mark, Position, SchemaError, Seen,
    StoreError, Unit,
};
use uuid::Uuid;

use super::line::{Line, Moved, Ordered, Signal, pick};
use super::runner::{SagaRunner, consumer_name, keep};
use super::stored::COLLECTION;
use crate::operate::{Acted, Actor};
use crate::ports::Ports;

/// The inbox under which started sagas are marked, so that one start counts once.
const STARTS: &str = "sagas.start";

/// Starts sagas, signals them, and carries out what operators decide about them. Every change is one commit together
/// with the event `operator.acted`, which tells who did it and why.
#[derive(Clone)]
pub struct SagaDesk {
    ports: Ports,
    source: &'static str,
    lines: Arc<Vec<Arc<dyn Line>>>,
}

/// What an order does, or did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// The saga.
    pub id: String,
    /// Its kind.
    #[serde(rename = "type")]
    pub ty: String,
    /// What was ordered.
    pub verb: &'static str,
    /// The revision of the saga that this was decided upon: an order that names it is carried out only while it is
    /// still that.
    pub revision: u64,
    /// Whether it was carried out, and not only looked at.
    pub done: bool,
    /// How far it reaches.
    #[serde(flatten)]
    pub outlook: Outlook,
}

/// A saga that was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Started {
    /// The saga's id.
    pub id: String,
    /// The event that starts it.
    pub event: String,
    /// Whether this request started it; otherwise the same one before did.
    pub first: bool,
    /// Where in the log the event is, or the log's end if it was there before.
    #[serde(skip)]
    pub position: Position,
}

/// A signal that was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signalled {
    /// The saga.
    pub id: String,
    /// The step it is for.
    pub step: String,
    /// The event that carries it; none when it was only looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// Why the step takes it for a no, if it does: the saga then turns back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no: Option<Failure>,
    /// Where in the log it is.
    #[serde(skip)]
    pub position: Position,
}

/// Who wants something, and why.
#[derive(Clone, Copy, Debug)]
pub struct By<'a> {
    /// Who.
    pub actor: &'a Actor,
    /// Why.
    pub reason: &'a str,
}

/// Why the desk did nothing.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// There is no such saga.
    #[error("there is no saga of this id; one that was started just now may not have begun")]
    NotFound,
    /// No saga of this name is known to this build.
    #[error("there is no saga called `{name}`; there are: {known}")]
    NoKind {
        /// The name.
        name: String,
        /// The names there are.
        known: String,
    },
    /// Somebody or something moved the saga since its revision was read. Look at it again.
    #[error(
        "the saga changed meanwhile: it is at revision {current}, not {expected}; look at it again, then decide again"
    )]
    Moved {
        /// The revision that was expected.
        expected: u64,
        /// The revision it has.
        current: u64,
    },
    /// The saga is of a definition this build does not know.
    #[error("the saga can be changed only by a build that knows it: {reason}")]
    Unknown {
        /// Why this one does not.
        reason: String,
    },
    /// The order makes no sense for the saga as it is.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The step waits for no signal.
    #[error("no step `{step}` of the saga waits for a signal")]
    NoWait {
        /// The step.
        step: String,
    },
    /// What was supplied is not the event that is needed.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// What is stored is no saga.
    #[error(transparent)]
    Corrupt(#[from] StallError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl DeskError {
    /// The stable code for operators.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "http.not_found",
            Self::NoKind { .. } => "saga.unknown_type",
            Self::Moved { .. } => "saga.revision_changed",
            Self::Unknown { .. } | Self::Corrupt(_) => "saga.unknown_definition",
            Self::Refused(refused) => refused.code(),
            Self::NoWait { .. } => "saga.order_refused",
            Self::Schema(error) => error.code(),
            Self::Store(error) => error.code(),
        }
    }
}

impl From<HandlerError> for DeskError {
    fn from(error: HandlerError) -> Self {
        match error {
            HandlerError::Store(error) => Self::Store(error),
            HandlerError::Schema(error) => Self::Schema(error),
            other => Self::Store(StoreError::Corrupt(other.to_string())),
        }
    }
}

impl SagaDesk {
    /// A desk without sagas, whose events are emitted as `source`.
    pub fn new(ports: &Ports, source: &'static str) -> Self {
        Self { ports: ports.clone(), source, lines: Arc::default() }
    }

    /// That knows the sagas of `runner`, in all its versions.
    pub fn with<G: Saga>(mut self, runner: &SagaRunner<G>) -> Self {
        Arc::make_mut(&mut self.lines).extend(runner.lines());
        self
    }

    /// The names of the sagas it knows.
    pub fn kinds(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.lines.iter().map(|line| line.name()).collect();
        names.dedup();
        names
    }

    /// What an order would do, without doing it.
    pub async fn rehearse(&self, id: Uuid, order: &Order) -> Result<Decision, DeskError> {
        Ok(self.decide(id, order).await?.0)
    }

    /// Carries an order out, if the saga is still at `revision`. It races with nothing: a reply or a timer that comes
    /// first changes the revision, and the order is refused ([`DeskError::Moved`]).
    pub async fn act(&self, id: Uuid, revision: u64, verb: Verb, by: By<'_>) -> Result<Decision, DeskError> {
        let order = Order { verb, by: by.actor.name().to_owned(), reason: by.reason.to_owned() };
        let (mut decision, mut commit) = self.decide(id, &order).await?;
        if decision.revision != revision {
            return Err(DeskError::Moved { expected: revision, current: decision.revision });
        }
        commit.append.push(self.acted(&decision, &order.verb, by).append(self.ports.clock.as_ref()));
        match self.ports.store.commit(commit).await {
            Ok(_) => decision.done = true,
            Err(StoreError::Conflict(_)) => {
                let current = self.document(&id.to_string()).await?.0;
                return Err(DeskError::Moved { expected: revision, current });
            }
            Err(error) => return Err(error.into()),
        }
        Ok(decision)
    }

    fn acted(&self, decision: &Decision, verb: &Verb, by: By<'_>) -> Acted {
        let (name, step, supplied) = match verb {
            Verb::Retry { step } => ("sagas retry", step.as_deref(), false),
            Verb::Skip { step, output } => ("sagas skip", step.as_deref(), output.is_some()),
            Verb::Done { step, output } => ("sagas done", step.as_deref(), output.is_some()),
            Verb::Compensate => ("sagas compensate", None, false),
            Verb::Forward => ("sagas forward", None, false),
            _ => ("sagas cancel", None, false),
        };
        let outlook = &decision.outlook;
        let acted = Acted::new(by.actor, name, &decision.id, by.reason)
            .with("type", decision.ty.as_str())
            .with("from", outlook.from.as_str())
            .with("to", outlook.to.as_str())
            .with("revision", decision.revision)
            .with("undos", outlook.undos.join(", "))
            .with("output_supplied", supplied);
        match step {
            Some(step) => acted.with("step", step),
            None => acted,
        }
    }

    /// The decision, and the commit that would make it true.
    async fn decide(&self, id: Uuid, order: &Order) -> Result<(Decision, Commit), DeskError> {
        let id = id.to_string();
        let line = self.line_of(&self.document(&id).await?.1)?;
        // As the saga's own consumer, to which its timer belongs.
        let (store, clock) = (self.ports.store.clone(), self.ports.clock.clone());
        let mut unit = Unit::new(store, clock, &consumer_name(line.name()), self.source);
        let mut cx = unit.context(None, 1);
        let raw: Value = cx.get(COLLECTION, &id).await?.ok_or(DeskError::NotFound)?;
        let (before, ordered): (Status, Ordered) = settled(line.order(&raw, order, cx.now())?)?;
        let (advanced, outlook) = ordered?;
        keep(advanced, Some(before), &mut cx)?;
        cx.keep();
        let commit = unit.into_commit();
        let write = commit.documents.iter().find(|write| write.collection == COLLECTION && write.id == id);
        let Some(ExpectDocument::Revision(revision)) = write.map(|write| write.expect) else {
            return Err(DeskError::NotFound);
        };
        let (ty, verb) = (line.name().to_owned(), order.verb.as_str());
        Ok((Decision { id, ty, verb, revision, done: false, outlook }, commit))
    }

    /// Starts a saga called `name` with this data, the JSON of its starting event. With a `token`, the same one starts one
    /// saga, however often it is sent.
    pub async fn start(&self, name: &str, data: Bytes, token: Option<&str>, by: By<'_>) -> Result<Started, DeskError> {
        let known = || self.kinds().join(", ");
        let newest = self.lines.iter().filter(|line| line.name() == name).max_by_key(|line| line.definition());
        let line = newest.ok_or_else(|| DeskError::NoKind { name: name.to_owned(), known: known() })?;
        let draft = line.start(data)?;
        let event = match token {
            Some(token) => saga_id(STARTS, &format!("{name}\u{0}{token}")),
            None => self.ports.clock.id(),
        };
        let event = event.to_string();
        let id = saga_id(name, &event).to_string();
        let mut commit = self.emitting(draft.with_id(&*event), &id);
        let acted = Acted::new(by.actor, "sagas start", &id, by.reason).with("type", name);
        commit.append.push(acted.append(self.ports.clock.as_ref()));
        Ok(match self.ports.store.commit(commit).await? {
            Committed::Applied { last } => Started { id, event, first: true, position: last },
            Committed::Duplicate => Started { id, event, first: false, position: self.ports.store.head().await? },
        })
    }

    /// Gives a waiting step what it waits for; a step that is not reached yet gets it when it is. With `rehearsal`, says
    /// only what would come of it.
    pub async fn signal(
        &self,
        id: Uuid,
        step: &str,
        data: Bytes,
        rehearsal: bool,
        by: By<'_>,
    ) -> Result<Signalled, DeskError> {
        let id = id.to_string();
        let raw = self.document(&id).await?.1;
        let line = self.line_of(&raw)?;
        let (status, signal) = settled(line.signal(&raw, step, data)?)?;
        if status.is_over() {
            return Err(Refused::Over { status }.into());
        }
        let step = step.to_owned();
        let (draft, no) = match signal {
            Signal::Event(draft, no) => (*draft, no),
            Signal::Unreadable(error) => return Err(error.into()),
            Signal::NoWait => return Err(DeskError::NoWait { step }),
        };
        if rehearsal {
            return Ok(Signalled { id, step, event: None, no, position: Position(0) });
        }
        let event = self.ports.clock.id().to_string();
        let mut commit = self.emitting(draft.with_id(&*event), &id);
        let acted = Acted::new(by.actor, "sagas signal", &id, by.reason).with("step", step.as_str());
        commit.append.push(acted.append(self.ports.clock.as_ref()));
        let position = match self.ports.store.commit(commit).await? {
            Committed::Applied { last } => last,
            Committed::Duplicate => self.ports.store.head().await?,
        };
        Ok(Signalled { id, step, event: Some(event), no, position })
    }

    /// A commit that emits one event, once.
    fn emitting(&self, draft: Draft, saga: &str) -> Commit {
        let event = draft.seal(self.ports.clock.as_ref(), self.source, None);
        let mark = Mark { source: saga.to_owned(), id: event.id.clone() };
        let append = Append { key: event.key.clone(), expect: Expect::Any, events: vec![event] };
        let seen = Seen { consumer: STARTS.to_owned(), mark };
        Commit { append: vec![append], seen: vec![seen], ..Commit::default() }
    }

    /// A saga as it is stored, with its revision.
    async fn document(&self, id: &str) -> Result<(u64, Value), DeskError> {
        let found = self.ports.store.documents(COLLECTION, &[id.to_owned()]).await?.pop().flatten();
        let document = found.ok_or(DeskError::NotFound)?;
        let raw = serde_json::from_slice(&document.value);
        let raw = raw.map_err(|error| StallError::Unreadable(error.to_string()))?;
        Ok((document.revision, raw))
    }

    /// The line that an instance was begun with, or else the newest of its name, which may take it over.
    fn line_of(&self, raw: &Value) -> Result<&Arc<dyn Line>, DeskError> {
        let found = pick(self.lines.iter().filter(|line| raw["saga"] == line.name()), raw);
        found.ok_or_else(|| {
            let name = raw["saga"].as_str().unwrap_or_default();
            DeskError::Unknown { reason: format!("no saga called `{name}` is in it") }
        })
    }
}

fn settled<T>(moved: Moved<T>) -> Result<(Status, T), DeskError> {
    match moved {
        Moved::Known(status, found) => Ok((status, found)),
        Moved::Unknown(reason) => Err(DeskError::Unknown { reason }),
        Moved::Foreign => Err(DeskError::NotFound),
    }
}
