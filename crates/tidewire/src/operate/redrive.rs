//! Redriving parked events: in order, to the consumer that parked them and to nobody else, and never twice.

use std::collections::HashSet;

use serde::Serialize;
use tidewire_core::commit::Place;
use tidewire_core::store::{Parked, ParkedQuery};
use tidewire_core::{Commit, Committed, Fence, Key, Mark, Park, Seen, StoreError, Unit, Unpark};

use super::acted::{Acted, Actor};
use super::parked::{BEHIND, ParkedSelection};
use super::turn::{Turn, longest};
use super::{OperateError, Operator};
use crate::consume::{ConsumeLoop, Failure};
use crate::ports::Ports;

/// How often a redrive is done again at once after losing a race.
const MAX_CONFLICTS: u32 = 20;

/// What became of one parked event.
#[derive(Clone, Debug, Serialize)]
pub struct Redriven {
    /// The event.
    pub id: String,
    /// Its key.
    pub key: Key,
    /// Its number among the parked.
    pub ordinal: u64,
    /// Handled now, or already.
    pub handled: bool,
    /// Why not, if not. The event stays parked, and what follows on its key with it.
    pub error: Option<String>,
}

/// What an operator wants redriven.
#[derive(Clone, Debug)]
pub struct Redrive<'a> {
    /// The consumer.
    pub consumer: &'a str,
    /// Which of its parked events. Those that were parked only because they follow one of these are redriven as well.
    pub selection: ParkedSelection,
    /// Only after this number: where an earlier answer ended.
    pub after: u64,
    /// At most so many events.
    pub limit: usize,
    /// Only say which ones.
    pub dry_run: bool,
}

/// What a redrive came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RedriveReport {
    /// What was tried, in order; with a dry run, what would be.
    pub items: Vec<Redriven>,
    /// Where to go on; `None` when there is nothing left.
    pub next: Option<u64>,
}

/// Which of the parked events, seen in order, may run.
#[derive(Default)]
struct Walk {
    /// Keys of which something was handled: what waited behind it may follow.
    went: HashSet<Key>,
    /// Keys of which something earlier stays.
    blocked: HashSet<Key>,
}

enum Step {
    Run,
    /// An earlier event of its key stays parked.
    Behind,
    Leave,
}

impl Walk {
    fn step(&mut self, parked: &Parked, selection: &ParkedSelection) -> Step {
        let key = &parked.envelope.key;
        let follows = parked.code == BEHIND && self.went.contains(key);
        if !follows && !selection.selects(parked) {
            self.blocked.insert(key.clone());
            return Step::Leave;
        }
        match self.blocked.contains(key) {
            false => Step::Run,
            // Somebody named it: he should hear why nothing happened.
            true if !selection.ordinals.is_empty() => Step::Behind,
            true => Step::Leave,
        }
    }

    fn ended(&mut self, key: &Key, handled: bool) {
        let keys = if handled { &mut self.went } else { &mut self.blocked };
        keys.insert(key.clone());
    }
}

impl Operator {
    /// Runs the handler of a consumer again for its parked events, each key in order. An event that fails again stays
    /// parked in its place with what it failed of now, and its key stops there. Other consumers see nothing. Two that
    /// do so at once take turns, and what one of them did the other finds done: [`OperateError::Busy`] when that takes
    /// longer than a few seconds. Every event that was tried is told by an `operator.acted`.
    pub async fn redrive_selected(
        &self,
        actor: &Actor,
        reason: &str,
        redrive: &Redrive<'_>,
    ) -> Result<RedriveReport, OperateError> {
        let runner = self.runner(redrive.consumer).await?;
        if redrive.dry_run {
            return self.walk(redrive, None).await;
        }
        let turn = Turn::take(&self.ports, redrive.consumer, longest(&runner)).await?;
        let mut work = Work { runner, turn, actor, reason };
        let report = self.walk(redrive, Some(&mut work)).await;
        work.turn.end().await;
        report
    }

    /// [`Operator::redrive_selected`] for the house itself: everything of a consumer, or of one of its keys.
    pub async fn redrive(
        &self,
        consumer: &str,
        key: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Redriven>, OperateError> {
        let selection = ParkedSelection { key: key.cloned(), ..Default::default() };
        let redrive = Redrive { consumer, selection, after: 0, limit, dry_run: false };
        Ok(self.redrive_selected(&Actor::house(), "", &redrive).await?.items)
    }

    async fn walk(
        &self,
        redrive: &Redrive<'_>,
        mut work: Option<&mut Work<'_>>,
    ) -> Result<RedriveReport, OperateError> {
        let consumer = redrive.consumer.to_owned();
        let selection = ParkedSelection { consumer: Some(consumer.clone()), ..redrive.selection.clone() };
        let mut query = selection.query(redrive.after);
        let mut report = RedriveReport::default();
        let mut walk = Walk::default();
        loop {
            let page = self.ports.store.parked(&query).await?;
            if page.is_empty() {
                return Ok(report);
            }
            for parked in page {
                if report.items.len() >= redrive.limit {
                    report.next = Some(query.after);
                    return Ok(report);
                }
                query.after = parked.ordinal;
                let key = parked.envelope.key.clone();
                let mut step = walk.step(&parked, &selection);
                // What came before where this walk began was not looked at.
                if matches!(step, Step::Run) && redrive.after > 0 && !walk.went.contains(&key) {
                    let head = ParkedQuery { after: 0, limit: 1, key: Some(key.clone()), ..query.clone() };
                    let head = self.ports.store.parked(&head).await?;
                    if head.first().is_some_and(|head| head.ordinal < parked.ordinal) {
                        step = if selection.ordinals.is_empty() { Step::Leave } else { Step::Behind };
                    }
                }
                let error = match (step, &mut work) {
                    (Step::Leave, _) => {
                        walk.ended(&key, false);
                        continue;
                    }
                    (Step::Behind, _) => Some("an earlier event of its key is parked; redrive that one first".into()),
                    (Step::Run, None) => None,
                    (Step::Run, Some(work)) => work.run(&self.ports, &parked).await?,
                };
                walk.ended(&key, error.is_none());
                let (id, ordinal, handled) = (parked.envelope.id, parked.ordinal, error.is_none());
                report.items.push(Redriven { id, key, ordinal, handled, error });
            }
        }
    }
}

/// What a redrive works with.
struct Work<'a> {
    runner: ConsumeLoop,
    turn: Turn,
    actor: &'a Actor,
    reason: &'a str,
}

impl Work<'_> {
    async fn run(&mut self, ports: &Ports, parked: &Parked) -> Result<Option<String>, OperateError> {
        self.turn.renew(&parked.consumer).await?;
        let target = format!("{}#{}", parked.consumer, parked.ordinal);
        let acted = Acted::new(self.actor, "parked redrive", target, self.reason)
            .with("event", parked.envelope.id.clone())
            .about(&parked.envelope);
        let operated = Operated { acted, fence: self.turn.fence() };
        Ok(redrive_as(ports, &self.runner, parked, Some(&operated)).await?)
    }
}

/// What makes a redrive an operator's.
struct Operated {
    acted: Acted,
    fence: Fence,
}

/// Handles one parked event and takes it out in the same commit. Answers why it failed, if it did.
pub(crate) async fn redrive_one(
    ports: &Ports,
    runner: &ConsumeLoop,
    parked: &Parked,
) -> Result<Option<String>, StoreError> {
    redrive_as(ports, runner, parked, None).await
}

async fn redrive_as(
    ports: &Ports,
    runner: &ConsumeLoop,
    parked: &Parked,
    operated: Option<&Operated>,
) -> Result<Option<String>, StoreError> {
    let consumer = &runner.consumer.name;
    let unpark = Unpark { consumer: consumer.clone(), ordinal: parked.ordinal };
    let mark = Mark::of(&parked.envelope);
    let append = operated.map(|operated| operated.acted.append(ports.clock.as_ref()));
    for _ in 0..=MAX_CONFLICTS {
        // A projection's commits are fenced against a swap of generations; there, being taken out once must do.
        let (own, fence) = match runner.fence().await? {
            Some(fence) => (false, Some(fence)),
            None => (true, operated.map(|operated| operated.fence.clone())),
        };
        let mut unit = Unit::new(ports.store.clone(), ports.clock.clone(), consumer, &runner.source);
        if let Err(failure) = runner.handle_one(&mut unit, &parked.envelope, parked.attempts + 1).await {
            if let Some(operated) = operated.filter(|_| failure.error.is_counted()) {
                failed_again(ports, runner, parked, &failure, operated).await?;
            }
            return Ok(Some(failure.error.to_string()));
        }
        let mut commit = unit.into_commit();
        commit.fence = fence;
        commit.seen.push(Seen { consumer: consumer.clone(), mark: mark.clone() });
        commit.unpark.push(unpark.clone());
        commit.append.extend(append.clone());
        match ports.store.commit(commit).await {
            Ok(Committed::Applied { .. }) => return Ok(None),
            // Redriven by somebody else, or handled before it was parked: then only the parked row is left.
            Ok(Committed::Duplicate) => {
                let leave = Commit { unpark: vec![unpark], ..Commit::default() };
                return ports.store.commit(leave).await.map(|_| None);
            }
            Err(StoreError::Conflict(_)) => {}
            Err(StoreError::Fenced { .. }) if !own => runner.lost(),
            Err(error @ StoreError::Invalid(_)) => return Ok(Some(error.to_string())),
            Err(error) => return Err(error),
        }
    }
    Ok(Some("the documents it needs keep changing; try again".into()))
}

/// Leaves the event in its place with what it failed of now.
async fn failed_again(
    ports: &Ports,
    runner: &ConsumeLoop,
    parked: &Parked,
    failure: &Failure,
    operated: &Operated,
) -> Result<(), StoreError> {
    let mut commit = runner.park(&parked.envelope, failure, parked.attempts.saturating_add(1));
    let place = Some(Place { ordinal: parked.ordinal, since: parked.since });
    commit.park = commit.park.into_iter().map(|park| Park { place, ..park }).collect();
    commit.unpark.push(Unpark { consumer: parked.consumer.clone(), ordinal: parked.ordinal });
    let acted = operated.acted.clone().with("error", failure.error.to_string());
    commit.append.push(acted.append(ports.clock.as_ref()));
    commit.fence = Some(operated.fence.clone());
    // A duplicate: it is gone, so somebody else dealt with it.
    ports.store.commit(commit).await.map(drop)
}
