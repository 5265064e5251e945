//! A plan being carried out: a document that says how far it has come, written in the commits that take it further.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tidewire_core::commit::ExpectDocument;
use tidewire_core::store::DocumentQuery;
use tidewire_core::{DocumentWrite, Position, Store, StoreError};

use super::plan::Terms;
use super::record;

/// Replays, by the hash of their plan.
pub(super) const JOBS: &str = "replay_job";
/// Those of them that somebody has to carry out.
pub(super) const OPEN: &str = "replay_open";
/// Plans, by their hash.
pub(super) const PLANS: &str = "replay_plan";
/// Who goes to a target now, and how often somebody did.
pub(super) const SEATS: &str = "replay_seat";

/// Where a replay stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// To be begun, or gone on with, by the next process that can.
    Waiting,
    /// Under way.
    Running,
    /// To be stopped at the next batch.
    Stopping,
    /// Stopped where it was; applying the plan again goes on there.
    Stopped,
    /// It could not go on; applying the plan again goes on there.
    Failed,
    /// The rebuilt generation differs from the live one, and was to be swapped only if it did not. It is kept.
    Different,
    /// Done.
    Done,
}

impl State {
    /// Whether somebody has to do something about it.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Running | Self::Stopping)
    }
}

/// What the rebuild of a projection is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Reading the log.
    Building,
    /// Comparing rows.
    Comparing,
    /// Catching up to the last event while nothing live is handled, then taking the live one's place.
    Swapping,
    /// Removing rows that nobody needs.
    Clearing,
}

/// What was counted on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Events read and wanted.
    pub read: u64,
    /// Of these, handled.
    pub handled: u64,
    /// Left alone: the consumer had handled them already.
    pub already: u64,
    /// Left alone: their keys are parked.
    pub parked: u64,
    /// Effects that were asked for and muted.
    pub muted_effects: u64,
    /// Emitted events that were muted.
    pub muted_events: u64,
    /// Timers that were muted.
    pub muted_timers: u64,
    /// Batches committed.
    pub batches: u64,
}

/// Why it could not go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// A stable code.
    pub code: String,
    /// For people.
    pub reason: String,
    /// The event it happened at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
}

/// One row that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Its collection.
    pub collection: String,
    /// Its id.
    pub id: String,
    /// `missing` in the new generation, `added`, or `changed`.
    pub what: String,
}

/// The new generation beside the live one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// Rows looked at, in both.
    pub rows: u64,
    /// Rows that differ.
    pub differing: u64,
    /// The first of them.
    pub first: Vec<Difference>,
    /// How long no live event was handled, in seconds.
    pub held: f64,
}

/// A plan being carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The hash of its plan.
    pub id: String,
    /// What decides what it does.
    pub terms: Terms,
    /// How many events the plan counted.
    pub planned: u64,
    /// Where it stands.
    pub state: State,
    /// Everything up to here has had its effect.
    pub position: Position,
    /// On the way.
    pub counts: Counts,
    /// Of rebuilds: the generation that is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// Of rebuilds: what they are about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Of rebuilds: what comparing found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<Compared>,
    /// Why it could not go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
    /// Who applied the plan.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When it was first applied.
    pub begun: DateTime<Utc>,
    /// When it last came further.
    pub updated: DateTime<Utc>,
    /// Seconds it was under way, without the time it stood still.
    pub seconds: f64,
}

impl Job {
    /// Seconds until it is through, at the pace it had so far.
    pub fn seconds_left(&self) -> Option<f64> {
        let left = self.planned.saturating_sub(self.counts.read) as f64;
        let pace = self.counts.read as f64 / self.seconds;
        (self.state.is_open() && self.counts.read > 0 && pace > 0.0).then(|| left / pace)
    }

    /// The replay of this name, with its revision.
    pub(super) async fn load(store: &dyn Store, id: &str) -> Result<Option<(Self, ExpectDocument)>, StoreError> {
        load(store, JOBS, id).await
    }

    /// The writes that put it in the place of what was loaded, and keep the list of open ones right.
    pub(super) fn writes(&self, expect: ExpectDocument) -> Result<Vec<DocumentWrite>, StoreError> {
        let open = match self.state.is_open() {
            true => record::write(OPEN, &self.id, &self.terms.target, ExpectDocument::Any)?,
            false => {
                DocumentWrite { collection: OPEN.into(), id: self.id.clone(), expect: ExpectDocument::Any, value: None }
            }
        };
        Ok(vec![record::write(JOBS, &self.id, self, expect)?, open])
    }
}

/// Who goes to a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seat {
    /// The replay that goes there now, or would if it went on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<String>,
    /// How many went there to their end.
    pub done: u32,
}

impl Seat {
    pub async fn load(store: &dyn Store, seat: &str) -> Result<(Self, ExpectDocument), StoreError> {
        Ok(load(store, SEATS, seat).await?.unwrap_or((Self::default(), ExpectDocument::Absent)))
    }
}

/// A document of ours, with its revision.
pub(super) async fn load<T: for<'a> Deserialize<'a>>(
    store: &dyn Store,
    collection: &str,
    id: &str,
) -> Result<Option<(T, ExpectDocument)>, StoreError> {
    let found = store.documents(collection, &[id.to_owned()]).await?.into_iter().next().flatten();
    found.map(|found| Ok((read(collection, id, &found.value)?, ExpectDocument::Revision(found.revision)))).transpose()
}

/// Documents of ours in the order of their ids, after one of them.
pub(super) async fn page<T: for<'a> Deserialize<'a>>(
    store: &dyn Store,
    collection: &str,
    after: Option<String>,
    limit: usize,
) -> Result<Vec<(String, T)>, StoreError> {
    let query = DocumentQuery { collection: collection.into(), after, limit, ..DocumentQuery::default() };
    let found = store.list(&query).await?;
    found.into_iter().map(|found| Ok((found.id.clone(), read(collection, &found.id, &found.value)?))).collect()
}

fn read<T: for<'a> Deserialize<'a>>(collection: &str, id: &str, value: &Bytes) -> Result<T, StoreError> {
    serde_json::from_slice(value).map_err(|error| StoreError::Corrupt(format!("document `{collection}/{id}`: {error}")))
}
