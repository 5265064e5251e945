//! The runner: a handler that advances the sagas of one definition.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidewire_core::handler::{Kind, Run};
use tidewire_core::saga::stall::{StallError, Stored, stall};
use tidewire_core::saga::{Advanced, Definition, Input, InvalidDefinition, Saga, SagaLog, SagaRef, Status, TimerWish};
use tidewire_core::{Consumer, Context, Envelope, EventType, Handler, HandlerError, Key, Timer};
use uuid::Uuid;

use crate::telemetry::metrics;

use super::line::{Line, Moved};
use super::stored::{COLLECTION, INDEX, Listed, index_id, place};

/// When a stalled saga is looked at again: it waits for another build, which comes with a deployment.
const STALL_RECHECK: TimeDelta = TimeDelta::minutes(5);

/// Advances the sagas of one definition: reads the starting event and every reply, and wakes when a deadline
/// passes. A transition is one commit: the saga's new log, guarded by its revision, the requests it sends, its
/// timer, and the inbox mark of what caused it. So each input moves a saga once, and no request is lost.
///
/// Its consumer name is `saga.<name>`. New instances begin with its definition; one that an [older](Self::older) one
/// began goes on with that, if it is in this build, or is [taken over](Saga::take_over). Sagas of a definition that this
/// build does not know are *stalled*: what arrives for them is kept with them, and a build that knows them goes on.
pub struct SagaRunner<G: Saga> {
    pub(super) definition: Arc<Definition<G>>,
    older: Vec<Arc<dyn Line>>,
}

/// Why a runner cannot be had. A defect of the program: refuse to start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOlder {
    /// Its definition makes no sense.
    #[error(transparent)]
    Invalid(#[from] InvalidDefinition),
    /// It is another saga, or not an older one.
    #[error("definition {definition} of `{saga}` is no older one of `{newest}`")]
    Other {
        /// Its name.
        saga: &'static str,
        /// Its version.
        definition: u16,
        /// The saga it was to be an older one of.
        newest: &'static str,
    },
}

impl<G: Saga> Clone for SagaRunner<G> {
    fn clone(&self) -> Self {
        Self { definition: self.definition.clone(), older: self.older.clone() }
    }
}

/// The collection of children that were to be undone before they began; a document's id is the saga's.
const WITHDRAWN: &str = "saga_withdrawn";

/// A child that never begins.
#[derive(Serialize, Deserialize)]
struct Withdrawn {
    /// Of the request for its undo: a start of this epoch or before is too late.
    epoch: u32,
}

/// What is stored of any saga, whoever wrote it.
#[derive(Deserialize)]
struct Head {
    id: Uuid,
    saga: String,
    key: Key,
    started_at: DateTime<Utc>,
}

impl<G: Saga> SagaRunner<G> {
    /// A runner, if the definition makes sense.
    pub fn new(saga: G) -> Result<Self, InvalidDefinition> {
        Ok(Self { definition: Arc::new(Definition::new(saga)?), older: Vec::new() })
    }

    /// With an older definition of the same saga, for the instances that it began. Keep it until no instance is left:
    /// `tidewire sagas list` shows them.
    pub fn older<O: Saga>(mut self, saga: O) -> Result<Self, NotOlder> {
        if O::NAME != G::NAME || O::DEFINITION >= G::DEFINITION {
            return Err(NotOlder::Other { saga: O::NAME, definition: O::DEFINITION, newest: G::NAME });
        }
        self.older.push(Arc::new(Definition::new(saga)?));
        Ok(self)
    }

    /// The name of its consumer: `saga.<name>`.
    pub fn consumer_name() -> String {
        consumer_name(G::NAME)
    }

    /// Its definitions, without their types.
    pub(super) fn lines(&self) -> impl Iterator<Item = Arc<dyn Line>> + '_ {
        let newest: Arc<dyn Line> = self.definition.clone();
        std::iter::once(newest).chain(self.older.iter().cloned())
    }

    /// The older definition that an instance was begun with.
    pub(super) fn older_of(&self, raw: &Value) -> Option<&Arc<dyn Line>> {
        if self.older.is_empty() {
            return None;
        }
        let definition = u16::try_from(raw["definition"].as_u64()?).ok()?;
        let fingerprint = raw["fingerprint"].as_str()?;
        self.older.iter().find(|line| line.is_pinned(definition, fingerprint))
    }

    async fn start(&self, id: Uuid, event: &Envelope, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        if let Some(raw) = load(id, cx).await? {
            return self.advance(raw, Input::Started(event), cx);
        }
        // Of a child, the undo may have come first.
        if let Some(at) = SagaRef::of(event)
            && cx
                .get::<Withdrawn>(WITHDRAWN, &id.to_string())
                .await?
                .is_some_and(|withdrawn| withdrawn.epoch >= at.epoch)
        {
            tracing::debug!(saga = %id, "its undo came before its start");
            return Ok(());
        }
        match self.definition.begin(event, cx.now())? {
            Some(begun) => keep(begun, None, cx),
            None => Ok(()),
        }
    }

    /// The saga of which `id` is a step wants it undone. One that never began never will.
    async fn undo(&self, id: Uuid, request: &Envelope, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        if let Some(raw) = load(id, cx).await? {
            return self.advance(raw, Input::Undo(request), cx);
        }
        let Some(at) = SagaRef::of(request) else { return Ok(()) };
        let before: Option<Withdrawn> = cx.get(WITHDRAWN, &id.to_string()).await?;
        let epoch = before.map_or(at.epoch, |before| before.epoch.max(at.epoch));
        cx.put(WITHDRAWN, &id.to_string(), &Withdrawn { epoch })?;
        self.definition.never_began(request)?.into_iter().for_each(|draft| cx.emit_draft(draft));
        Ok(())
    }

    pub(super) fn advance(&self, raw: Value, input: Input<'_>, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        let now = cx.now();
        if let Some(line) = self.older_of(&raw) {
            return match line.advance(&raw, input, now).map_err(refused)? {
                Moved::Known(before, advanced) => keep(advanced, Some(before), cx),
                Moved::Unknown(reason) => keep_stalled(raw, &reason, input, cx),
                Moved::Foreign => Ok(()),
            };
        }
        match self.definition.read(&raw).map_err(refused)? {
            Some(Stored::Known(log)) => {
                let before = log.status;
                let advanced = self.definition.advance(*log, input, now);
                if let Some(ignored) = advanced.ignored {
                    tracing::debug!(saga = %advanced.log.id, reason = ignored.as_str(), "an input meant nothing to the saga");
                }
                keep(advanced, Some(before), cx)
            }
            Some(Stored::Unknown(reason)) => keep_stalled(raw, &reason, input, cx),
            // Another saga's, by the same id: not possible with ids made by us, and none of our business.
            None => Ok(()),
        }
    }
}

#[async_trait]
impl<G: Saga> Handler for SagaRunner<G> {
    fn consumer(&self) -> Consumer {
        // It only computes: transitions of many sagas share one look-up and one commit.
        let types: BTreeSet<EventType> = self.lines().flat_map(|line| line.types()).collect();
        let types = types.into_iter().collect();
        Consumer { kind: Kind::Saga, run: Run::Batch, ..Consumer::new(Self::consumer_name(), types) }
    }

    async fn prepare(&self, events: &[&Envelope], cx: &mut Context<'_>) -> Result<(), HandlerError> {
        let id = |event: &&Envelope| {
            let own = self.definition.id_for(event).or_else(|| self.definition.undone_by(event));
            own.or_else(|| SagaRef::of(event).map(|at| at.id))
        };
        let ids: BTreeSet<String> = events.iter().filter_map(id).map(|id| id.to_string()).collect();
        cx.prefetch(COLLECTION, &ids.into_iter().collect::<Vec<_>>()).await
    }

    async fn handle(&self, event: &Envelope, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        if let Some(id) = self.definition.id_for(event) {
            return self.start(id, event, cx).await;
        }
        if let Some(id) = self.definition.undone_by(event) {
            return self.undo(id, event, cx).await;
        }
        let Some(at) = SagaRef::of(event) else {
            tracing::debug!(event = event.id, ty = %event.ty, "a reply to no saga");
            return Ok(());
        };
        match load(at.id, cx).await? {
            Some(raw) => self.advance(raw, Input::Reply(event), cx),
            None => {
                tracing::debug!(event = event.id, ty = %event.ty, saga = %at.id, "a reply to an unknown saga");
                Ok(())
            }
        }
    }

    async fn wake(&self, timer: &Timer, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        let Ok(id) = Uuid::parse_str(&timer.id) else { return Ok(()) };
        match load(id, cx).await? {
            Some(raw) => self.advance(raw, Input::Wake, cx),
            None => Ok(()),
        }
    }
}

/// The consumer of the sagas called `saga`.
pub(super) fn consumer_name(saga: &str) -> String {
    format!("saga.{saga}")
}

async fn load(id: Uuid, cx: &mut Context<'_>) -> Result<Option<Value>, HandlerError> {
    cx.get(COLLECTION, &id.to_string()).await
}

/// Puts a transition into the commit. `before` is the status the saga was stored with.
pub(super) fn keep<S: Serialize>(
    advanced: Advanced<S>,
    before: Option<Status>,
    cx: &mut Context<'_>,
) -> Result<(), HandlerError> {
    let Advanced { log, drafts, timer, ignored: _ } = advanced;
    let SagaLog { id, saga, key, status, started_at, .. } = &log;
    let id = id.to_string();
    cx.put(COLLECTION, &id, &log)?;
    let listed = Listed { saga: saga.clone(), key: key.clone() };
    list(before, *status, &place(*started_at, log.id), &listed, cx)?;
    match timer {
        Some(TimerWish::Set(due)) => cx.set_timer(&id, key, due, Vec::new()),
        Some(TimerWish::Cancel) => cx.cancel_timer(&id),
        None => {}
    }
    if before != Some(*status) && *status == Status::Stuck {
        let failure = log.stuck.as_ref();
        tracing::error!(
            saga = id, name = saga, key = %key, correlation = log.correlationid, code = "saga.stuck",
            reason = failure.map(|failure| failure.reason.as_str()), "a saga is stuck and needs a person"
        );
    }
    drafts.into_iter().for_each(|draft| cx.emit_draft(draft));
    Ok(())
}

fn keep_stalled(raw: Value, reason: &str, input: Input<'_>, cx: &mut Context<'_>) -> Result<(), HandlerError> {
    let now = cx.now();
    let reply = match input {
        // What asks a child to undo itself waits like a reply, and is taken in as what it is.
        Input::Reply(event) | Input::Undo(event) => Some(event),
        _ => None,
    };
    let unreadable = |error: serde_json::Error| refused(StallError::Unreadable(error.to_string()));
    let head = Head::deserialize(&raw).map_err(unreadable)?;
    let (raw, before) = stall(raw, reason, reply, now).map_err(refused)?;
    if before.is_over() {
        return Ok(());
    }
    let id = head.id.to_string();
    cx.put(COLLECTION, &id, &raw)?;
    let place = place(head.started_at, head.id);
    list(Some(before), Status::Stalled, &place, &Listed { saga: head.saga, key: head.key.clone() }, cx)?;
    cx.set_timer(&id, &head.key, now + STALL_RECHECK, Vec::new());
    if before != Status::Stalled {
        tracing::error!(saga = id, key = %head.key, code = "saga.unknown_definition", reason, "a saga is stalled");
    }
    Ok(())
}

/// Moves a saga in the index when its status changed.
fn list(
    before: Option<Status>,
    now: Status,
    place: &str,
    listed: &Listed,
    cx: &mut Context<'_>,
) -> Result<(), HandlerError> {
    if before == Some(now) {
        return Ok(());
    }
    // Counted before the commit: one that loses a race and runs again is counted again.
    metrics::saga_transition(&listed.saga, now.as_str());
    if let Some(before) = before {
        cx.remove(INDEX, &index_id(before, place));
    }
    cx.put(INDEX, &index_id(now, place), listed)
}

/// A saga that can be neither advanced nor stalled: its event is parked, and with it the saga's key, until a
/// person or another build sees to it.
fn refused(error: StallError) -> HandlerError {
    HandlerError::permanent("saga.unknown_definition", error)
}
