//! Retiring the oldest events, as far as nobody needs them any more.

use std::collections::HashMap;

use serde::Serialize;
use tidewire_core::event::EventSet;
use tidewire_core::store::Selection;
use tidewire_core::{Aggregate, Key, Position, StoreError};

use super::{OperateError, Operator};
use crate::command::Commands;
use crate::reconcile::{Since, unhandled};

/// Events removed by one transaction: a commit waits for it a few milliseconds at most where there is one writer.
const STEP: usize = 2_000;
/// Events read at once while looking for folded streams.
const PAGE: usize = 1_000;
/// Snapshots remembered while looking: about 10 MB.
const SNAPSHOTS_REMEMBERED: usize = 65_536;

/// Streams that somebody reads from their beginning, or from a snapshot on, to know how things stand.
#[derive(Clone, Debug)]
pub struct Folded {
    by: String,
    /// The name of its snapshots, if it keeps any.
    snapshot: Option<String>,
    names: Vec<String>,
}

impl Folded {
    /// The streams of an aggregate. What comes after its last snapshot is needed.
    pub fn aggregate<A: Aggregate>() -> Self {
        let snapshot = Some(Commands::<A>::snapshot_name());
        Self { by: format!("aggregate {}", A::NAME), snapshot, names: names::<A::Event>() }
    }

    /// Streams that `by` reads whole: nothing of them can be spared.
    pub fn whole<E: EventSet>(by: &str) -> Self {
        Self { by: by.to_owned(), snapshot: None, names: names::<E>() }
    }
}

fn names<E: EventSet>() -> Vec<String> {
    E::types().iter().map(|ty| ty.name().to_owned()).collect()
}

/// What was, or would be, removed from the log, and what keeps more from going.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Retirement {
    /// The oldest event there is, afterwards.
    pub first: Position,
    /// Up to here events were asked to go.
    pub asked: Position,
    /// Up to here they may.
    pub until: Position,
    /// The last event there is. It always stays.
    pub head: Position,
    /// Events removed by this call.
    pub removed: u64,
    /// Who needs events that were asked to go; the earliest first.
    pub held: Vec<Hold>,
}

/// Somebody who still needs events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// Who.
    pub by: String,
    /// The first event it needs.
    pub position: Position,
}

impl Operator {
    /// With the streams that somebody folds: their events are retired only when a snapshot stands for them.
    pub fn with_folded(mut self, folded: Vec<Folded>) -> Self {
        self.folded = std::sync::Arc::new(folded);
        self
    }

    /// Removes events that come before `before`, oldest first, at most about `limit`. Only what every relay has
    /// published, every consumer of this build has handled or parked, and nobody folds (see [`Folded`]): the first event
    /// that somebody needs ends it. With `dry_run` nothing is removed.
    ///
    /// Consumers of other builds are not known here: what they have yet to handle, their broker has to keep. Ask again
    /// with the position until nothing is removed: a duration means another one each time.
    pub async fn retire(&self, before: Since, limit: usize, dry_run: bool) -> Result<Retirement, OperateError> {
        let store = &self.ports.store;
        let info = store.info().await?;
        let asked = before.after(store.as_ref(), self.ports.clock.now()).await?;
        let asked = asked.min(Position(info.head.0.saturating_sub(1)));
        let mut report =
            Retirement { first: info.first, asked, until: asked, head: info.head, removed: 0, held: Vec::new() };
        // Whether all of it may go is asked of all of it, and again of what is about to go.
        let mut end = if dry_run { asked } else { step(info.first, limit.min(STEP), asked) };
        loop {
            report.held = self.holds(report.first, end).await?;
            let free = report.held.first().map_or(end, |hold| Position(hold.position.0.saturating_sub(1)));
            report.until = if report.held.is_empty() { asked } else { free };
            if dry_run || free < report.first {
                return Ok(report);
            }
            let retired = store.retire(free, STEP).await?;
            let stuck = retired.events == 0;
            report.first = retired.first;
            report.removed += retired.events;
            if !report.held.is_empty()
                || report.first > asked
                || report.removed >= limit as u64
                || (stuck && end == asked)
            {
                return Ok(report);
            }
            // A commit of more events than a step goes as a whole, so the step has to reach its end.
            let wide = if stuck { usize::try_from(end.0 - report.first.0 + 1).unwrap_or(usize::MAX) * 2 } else { STEP };
            end = step(report.first, wide, asked);
        }
    }

    /// Who needs events from `first` to `until`, the earliest first.
    async fn holds(&self, first: Position, until: Position) -> Result<Vec<Hold>, OperateError> {
        let mut held = Vec::new();
        if until < first {
            return Ok(held);
        }
        for relay in self.relays() {
            let position = Position(relay.position().await?.0 + 1);
            if position <= until {
                held.push(Hold { by: format!("relay {}", relay.shard()), position: position.max(first) });
            }
        }
        for consumer in self.readers().await? {
            let needed = unhandled(self.ports.store.as_ref(), &consumer, until, 1).await?;
            if let Some(recorded) = needed.first() {
                held.push(Hold { by: format!("consumer {}", consumer.name), position: recorded.position });
            }
        }
        for folded in self.folded.iter() {
            if let Some(position) = self.folded(folded, first, until).await? {
                held.push(Hold { by: folded.by.clone(), position });
            }
        }
        held.sort_by_key(|hold| hold.position);
        Ok(held)
    }

    /// The first event in the range that no snapshot stands for.
    async fn folded(&self, folded: &Folded, first: Position, until: Position) -> Result<Option<Position>, StoreError> {
        let store = &self.ports.store;
        let mut snapshots: HashMap<Key, u64> = HashMap::new();
        let names = folded.names.clone();
        let after = Position(first.0.saturating_sub(1));
        let mut selection = Selection { after, until: Some(until), names, limit: PAGE, ..Selection::default() };
        loop {
            let page = store.read(&selection).await?;
            for recorded in &page {
                let Some(name) = &folded.snapshot else { return Ok(Some(recorded.position)) };
                let key = &recorded.envelope.key;
                let version = match snapshots.get(key) {
                    Some(version) => *version,
                    None => {
                        if snapshots.len() >= SNAPSHOTS_REMEMBERED {
                            snapshots.clear();
                        }
                        let version = store.snapshot(name, key).await?.map_or(0, |(version, _)| version);
                        snapshots.insert(key.clone(), version);
                        version
                    }
                };
                if recorded.envelope.sequence.is_none_or(|sequence| sequence > version) {
                    return Ok(Some(recorded.position));
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => selection.after = last.position,
                _ => return Ok(None),
            }
        }
    }
}

/// The last position of a step of so many events from `first` on.
fn step(first: Position, events: usize, asked: Position) -> Position {
    Position(first.0.saturating_sub(1).saturating_add(events as u64)).min(asked)
}
