//! What led to an event, and what became of it: across consumers, sagas, effects and operators.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use tidewire_core::effect::EffectQuery;
use tidewire_core::handler::{Consumer, Kind};
use tidewire_core::saga::{SagaRef, Status, saga_id};
use tidewire_core::store::{Parked, ParkedQuery, Selection};
use tidewire_core::{Key, Mark, Position, Recorded, Store, StoreError};
use uuid::Uuid;

use super::acted::OPERATOR_ACTED;
use super::effects::EffectRow;
use super::{OperateError, Operator};
use crate::saga::{SagaQuery, SagaView};

/// The longest chain of causes shown.
const MAX_CAUSES: usize = 64;
/// The events of a flow looked at for what followed.
const MAX_FLOW: usize = 1_000;
/// The most events in a tree: what becomes of each is looked up, and a person reads it.
const MAX_NODES: usize = 200;
/// The deepest tree shown.
const MAX_DEPTH: usize = 32;
/// The most effects in a tree.
const MAX_EFFECTS: usize = 500;
/// The most sagas in a tree.
const MAX_SAGAS: usize = 20;
/// Parked events of one key looked at for one that is in the tree.
const MAX_BEHIND: usize = 1_000;

/// What led to an event, and what followed.
#[derive(Debug)]
pub struct Why {
    /// The event.
    pub event: Recorded,
    /// What led to it, nearest first.
    pub causes: Vec<Recorded>,
    /// The events that followed from it, in the order of the log.
    pub followed: Vec<Recorded>,
    /// What became of it and of what followed.
    pub tree: Node,
    /// Whether this is all: `false` where a limit cut something short, or a cause is not in the log.
    pub complete: bool,
}

/// An event of the tree, and what became of it.
#[derive(Debug, Serialize)]
pub struct Node {
    /// Its place in the log.
    pub position: Position,
    /// Its id.
    pub id: String,
    /// Its type with its version.
    #[serde(rename = "type")]
    pub ty: String,
    /// Its key.
    pub key: Key,
    /// Who emitted it.
    pub source: String,
    /// When.
    pub time: DateTime<Utc>,
    /// What each consumer that reads it made of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub consumers: Vec<Outcome>,
    /// What it asked to be done outside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<EffectRow>,
    /// The saga it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saga: Option<SagaPart>,
    /// What an operator did, where it tells of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acted: Option<Value>,
    /// The events that followed from it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub followed: Vec<Node>,
}

/// What one consumer made of an event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// The consumer.
    pub consumer: String,
    /// What it made of it.
    pub outcome: Word,
    /// Its number among the parked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordinal: Option<u64>,
    /// Why it is parked, as a stable code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The same, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a consumer made of an event. Events it was handed twice are handled: the second time left no trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// Its reaction is committed.
    Handled,
    /// Set aside with a reason.
    Parked,
    /// Not handled yet.
    Pending,
    /// None of its business: it began later, or the event had expired.
    Skipped,
}

/// The part of a saga that an event is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SagaPart {
    /// The saga.
    pub id: Uuid,
    /// Of which saga; empty where it is not known here.
    #[serde(rename = "type")]
    pub ty: String,
    /// Where it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// `start`, `do` or `undo`.
    pub part: &'static str,
    /// The step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
}

impl Operator {
    /// What led to `event`, and what followed from it: at most 64 causes, 200 events and 32 levels. Events that
    /// `may_see` refuses are left out with what followed from them. Without `with_work` only events are told, not what
    /// consumers, sagas and effects made of them.
    pub async fn why(
        &self,
        event: Recorded,
        may_see: impl Fn(&Recorded) -> bool,
        with_work: bool,
    ) -> Result<Why, OperateError> {
        let store = self.ports.store.as_ref();
        let (mut causes, all_causes) = causes(store, &event).await?;
        let (mut followed, all_followed) = followed(store, &event).await?;
        causes.retain(&may_see);
        followed.retain(&may_see);
        let mut complete = all_causes && all_followed && followed.len() < MAX_NODES;
        let shown: Vec<&Recorded> = std::iter::once(&event).chain(followed.iter().take(MAX_NODES - 1)).collect();
        let work = if with_work { self.work(&shown).await? } else { Work::default() };
        complete &= work.complete;
        let tree = grow(&event, &shown[1..], work, &mut complete);
        Ok(Why { event, causes, followed, tree, complete })
    }

    async fn work(&self, events: &[&Recorded]) -> Result<Work, OperateError> {
        let store = self.ports.store.as_ref();
        let mut work = Work { complete: true, ..Work::default() };
        let counts: HashMap<String, u64> = store.parked_counts().await?.into_iter().collect();
        let readers = self.readers().await?;
        for consumer in &readers {
            let read = |event: &&&Recorded| reads(consumer, event);
            let read: Vec<&Recorded> = events.iter().filter(read).copied().collect();
            if read.is_empty() {
                continue;
            }
            let marks: Vec<Mark> = read.iter().map(|event| Mark::of(&event.envelope)).collect();
            let seen = store.seen(&consumer.name, &marks).await?;
            let has_parked = counts.get(&consumer.name).is_some_and(|count| *count > 0);
            let parked = if has_parked { parked_of(store, consumer, &read).await? } else { HashMap::new() };
            for (event, seen) in read.into_iter().zip(seen) {
                let outcome = outcome(consumer, event, seen, parked.get(&event.position), self.ports.clock.now());
                work.outcomes.entry(event.position).or_default().push(outcome);
            }
        }
        let causes: BTreeSet<String> = events.iter().map(|event| event.envelope.id.clone()).collect();
        let query = EffectQuery { causes: causes.into_iter().collect(), limit: MAX_EFFECTS, ..Default::default() };
        let effects = store.effects(&query).await?;
        work.complete &= effects.len() < MAX_EFFECTS;
        for effect in effects {
            work.effects.entry(effect.effect.cause.clone()).or_default().push(effect.into());
        }
        self.sagas(events, &readers, &mut work).await?;
        Ok(work)
    }

    async fn sagas(&self, events: &[&Recorded], readers: &[Consumer], work: &mut Work) -> Result<(), OperateError> {
        let query = SagaQuery::new(self.ports.store.clone());
        let mut known: HashMap<Uuid, Option<SagaView>> = HashMap::new();
        for event in events {
            let reference = SagaRef::of(&event.envelope);
            let starts = readers.iter().filter(|consumer| consumer.kind == Kind::Saga && reads(consumer, event));
            let started = starts.map(|consumer| {
                let name = consumer.name.split_once('.').map_or(consumer.name.as_str(), |(_, name)| name);
                saga_id(name, &event.envelope.id)
            });
            let ids: Vec<Uuid> = match &reference {
                Some(reference) => vec![reference.id],
                None => started.collect(),
            };
            for id in ids {
                if !known.contains_key(&id) {
                    if known.len() == MAX_SAGAS {
                        work.complete = false;
                        continue;
                    }
                    known.insert(id, query.get(id).await?);
                }
                let view = known.get(&id).and_then(Option::as_ref);
                // What a saga reads starts one only if there is one by its name.
                if let Some(part) = part(event, id, reference.as_ref(), view) {
                    work.sagas.insert(event.position, part);
                }
            }
        }
        Ok(())
    }
}

/// What became of the events of a tree.
#[derive(Default)]
struct Work {
    outcomes: HashMap<Position, Vec<Outcome>>,
    effects: HashMap<String, Vec<EffectRow>>,
    sagas: HashMap<Position, SagaPart>,
    complete: bool,
}

fn reads(consumer: &Consumer, event: &Recorded) -> bool {
    consumer.types.iter().any(|ty| ty.name() == event.envelope.ty.name())
}

fn outcome(consumer: &Consumer, event: &Recorded, seen: bool, parked: Option<&Parked>, now: DateTime<Utc>) -> Outcome {
    let outcome = match (seen, parked) {
        (_, Some(_)) => Word::Parked,
        (true, None) => Word::Handled,
        (false, None) if event.position <= consumer.since => Word::Skipped,
        (false, None) if event.envelope.expirytime.is_some_and(|expiry| expiry <= now) => Word::Skipped,
        (false, None) => Word::Pending,
    };
    Outcome {
        consumer: consumer.name.clone(),
        outcome,
        ordinal: parked.map(|parked| parked.ordinal),
        code: parked.map(|parked| parked.code.clone()),
        reason: parked.map(|parked| parked.reason.clone()),
    }
}

async fn parked_of(
    store: &dyn Store,
    consumer: &Consumer,
    events: &[&Recorded],
) -> Result<HashMap<Position, Parked>, StoreError> {
    let keys: BTreeSet<Key> = events.iter().map(|event| event.envelope.key.clone()).collect();
    let keys: Vec<Key> = keys.into_iter().collect();
    let mut found = HashMap::new();
    for key in store.parked_keys(&consumer.name, &keys).await? {
        let query = ParkedQuery { consumer: Some(consumer.name.clone()), key: Some(key), after: 0, limit: MAX_BEHIND };
        for parked in store.parked(&query).await? {
            let mark = Mark::of(&parked.envelope);
            if let Some(event) = events.iter().find(|event| Mark::of(&event.envelope) == mark) {
                found.insert(event.position, parked);
            }
        }
    }
    Ok(found)
}

fn part(event: &Recorded, id: Uuid, reference: Option<&SagaRef>, view: Option<&SagaView>) -> Option<SagaPart> {
    let (part, step) = match reference {
        None => {
            view?;
            ("start", None)
        }
        Some(reference) => {
            let undo = view
                .and_then(|view| view.steps.iter().find(|step| step.name == reference.step))
                .and_then(|step| step.undo_request.clone());
            let envelope = &event.envelope;
            let is_undo =
                undo.is_some_and(|undo| envelope.id == undo || envelope.causationid.as_deref() == Some(undo.as_str()));
            (if is_undo { "undo" } else { "do" }, Some(reference.step.clone()))
        }
    };
    let ty = view.map(|view| view.summary.ty.clone()).unwrap_or_default();
    Some(SagaPart { id, ty, status: view.map(|view| view.summary.status), part, step })
}

async fn causes(store: &dyn Store, event: &Recorded) -> Result<(Vec<Recorded>, bool), StoreError> {
    let mut causes: Vec<Recorded> = Vec::new();
    let mut next = event.envelope.causationid.clone();
    let mut met = HashSet::from([event.envelope.id.clone()]);
    while let Some(id) = next.take() {
        // A foreign event may name itself, or a cause that this log never saw.
        if causes.len() == MAX_CAUSES || !met.insert(id.clone()) {
            return Ok((causes, false));
        }
        let selection = Selection { id: Some(id), limit: 1, ..Default::default() };
        if let Some(cause) = store.read(&selection).await?.pop() {
            next = cause.envelope.causationid.clone();
            causes.push(cause);
        }
    }
    Ok((causes, true))
}

async fn followed(store: &dyn Store, event: &Recorded) -> Result<(Vec<Recorded>, bool), StoreError> {
    let flow = event.envelope.correlationid.clone().unwrap_or_else(|| event.envelope.id.clone());
    let selection =
        Selection { correlationid: Some(flow), after: event.position, limit: MAX_FLOW, ..Default::default() };
    let flow = store.read(&selection).await?;
    let complete = flow.len() < MAX_FLOW;
    // A cause is always in the log before what follows, so one pass finds all.
    let mut led_to = HashSet::from([event.envelope.id.clone()]);
    let mut follows = |recorded: &Recorded| {
        let caused = recorded.envelope.causationid.as_ref().is_some_and(|cause| led_to.contains(cause));
        if caused {
            led_to.extend(edited_as(recorded));
        }
        caused && led_to.insert(recorded.envelope.id.clone())
    };
    Ok((flow.into_iter().filter(|recorded| follows(recorded)).collect(), complete))
}

/// The id that an operator gave to an event he edited: that one is in no log, and what follows from it follows from him.
fn edited_as(recorded: &Recorded) -> Option<String> {
    Some(acted(recorded)?.pointer("/details/edited_as")?.as_str()?.to_owned())
}

fn acted(recorded: &Recorded) -> Option<Value> {
    if recorded.envelope.ty.name() != OPERATOR_ACTED.name() {
        return None;
    }
    serde_json::from_slice(recorded.envelope.data.as_deref()?).ok()
}

/// The tree of `root` and the events that followed, each of which comes after what it follows from.
fn grow(root: &Recorded, followed: &[&Recorded], mut work: Work, complete: &mut bool) -> Node {
    // Places in `nodes`, from 1; 0 is the root. With each the place of what it follows from, and its depth.
    let mut at: HashMap<String, usize> = HashMap::from([(root.envelope.id.clone(), 0)]);
    at.extend(edited_as(root).map(|id| (id, 0)));
    let mut places: Vec<(usize, usize)> = vec![(0, 0)];
    let mut nodes: Vec<Node> = Vec::with_capacity(followed.len());
    for event in followed {
        let cause = event.envelope.causationid.as_ref().and_then(|cause| at.get(cause)).copied();
        // What led here may have been left out, because whoever asks may not see it.
        let Some(cause) = cause.filter(|cause| places[*cause].1 + 1 < MAX_DEPTH) else {
            *complete = false;
            continue;
        };
        places.push((cause, places[cause].1 + 1));
        nodes.push(node(event, &mut work));
        at.insert(event.envelope.id.clone(), nodes.len());
        at.extend(edited_as(event).map(|id| (id, nodes.len())));
    }
    let mut root = node(root, &mut work);
    // From the last to the first: whatever a node holds is complete when it is put under its own cause.
    while let (Some(node), Some((cause, _))) = (nodes.pop(), places.pop()) {
        let under = cause.checked_sub(1).and_then(|cause| nodes.get_mut(cause)).unwrap_or(&mut root);
        under.followed.insert(0, node);
    }
    root
}

fn node(event: &Recorded, work: &mut Work) -> Node {
    let envelope = &event.envelope;
    Node {
        position: event.position,
        id: envelope.id.clone(),
        ty: envelope.ty.to_string(),
        key: envelope.key.clone(),
        source: envelope.source.clone(),
        time: envelope.time,
        consumers: work.outcomes.remove(&event.position).unwrap_or_default(),
        effects: work.effects.remove(&envelope.id).unwrap_or_default(),
        saga: work.sagas.remove(&event.position),
        acted: acted(event),
        followed: Vec::new(),
    }
}
