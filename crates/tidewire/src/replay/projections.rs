//! What operators see of projections, and rebuilding one in a single request.

use serde::{Deserialize, Serialize};
use tidewire_core::Position;
use tidewire_core::handler::Kind;

use super::desk::{Asked, Replays};
use super::error::ReplayError;
use super::job::{Job, Seat};
use super::plan::{Plan, Request, Target};
use super::record::{Kept, Record};
use super::source::Wanted;

/// A projection in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProjectionRow {
    /// Its consumer's name.
    pub name: String,
    /// The collections it keeps.
    pub collections: Vec<String>,
    /// The generation that is read and written.
    pub generation: u32,
    /// Everything it reads up to here is in it.
    pub position: Position,
    /// Positions between that and the head of the log.
    pub behind: u64,
    /// Its rows.
    pub rows: u64,
    /// The generation that a rollback goes back to, and where it stands.
    pub previous: Option<Kept>,
    /// The replay that rebuilds it, or tried to.
    pub rebuild: Option<String>,
}

/// How a projection is to be rebuilt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RebuildRequest {
    /// Go back to the generation that was live before, brought up to date.
    pub rollback: bool,
    /// Swap only if both generations hold the same.
    pub only_if_equal: bool,
    /// Events per second at most.
    pub rate: Option<u32>,
}

impl Replays {
    /// The collections that projections keep: what may be shown of documents.
    pub fn collections(&self) -> std::collections::BTreeSet<String> {
        let consumers = self.handlers.iter().map(|(handler, _)| handler.consumer());
        consumers.filter(|consumer| consumer.kind == Kind::Projection).flat_map(|consumer| consumer.keeps).collect()
    }

    /// Every projection that can be rebuilt, in the order of names. Counts their rows, which takes a while for millions.
    pub async fn projections(&self) -> Result<Vec<ProjectionRow>, ReplayError> {
        let store = self.ports.store.as_ref();
        let mut rows = Vec::new();
        for (handler, _) in self.handlers.iter() {
            let consumer = handler.consumer();
            if consumer.kind != Kind::Projection || consumer.keeps.is_empty() {
                continue;
            }
            let (record, _) = Record::load(store, &consumer.name, &consumer.keeps).await?;
            let head = store.head().await?;
            let next = store.unhandled(&consumer.name, &consumer.names(), head, 1).await?;
            let position = next.first().map_or(head, |next| Position(next.position.0.saturating_sub(1)));
            let mut count = 0;
            for collection in &consumer.keeps {
                count += store.count(collection, "").await?;
            }
            let seat = Target::Projection { name: consumer.name.clone(), rollback: false, only_if_equal: false }.seat();
            rows.push(ProjectionRow {
                name: consumer.name,
                collections: consumer.keeps,
                generation: record.live,
                position,
                behind: head.0.saturating_sub(position.0),
                rows: count,
                previous: record.previous,
                rebuild: Seat::load(store, &seat).await?.0.taken,
            });
        }
        for one in self.elsewhere.iter() {
            let seat = Target::Projection { name: one.name().to_owned(), rollback: false, only_if_equal: false }.seat();
            let seat = Seat::load(store, &seat).await?.0;
            let head = store.head().await?;
            rows.push(ProjectionRow {
                name: one.name().to_owned(),
                collections: Vec::new(),
                generation: seat.done + 1,
                position: head,
                behind: 0,
                rows: one.rows().await.map_err(|error| ReplayError::Invalid(error.to_string()))?,
                previous: None,
                rebuild: seat.taken,
            });
        }
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(rows)
    }

    /// The plan of a rebuild.
    pub async fn plan_rebuild(&self, name: &str, asked: &RebuildRequest) -> Result<Plan, ReplayError> {
        let RebuildRequest { rollback, only_if_equal, rate } = *asked;
        let target = Target::Projection { name: name.to_owned(), rollback, only_if_equal };
        self.plan(&Request { events: Wanted::default(), target, with_effects: false, rate }).await
    }

    /// Plans a rebuild and applies the plan.
    pub async fn rebuild(&self, name: &str, asked: &RebuildRequest, by: &Asked) -> Result<Job, ReplayError> {
        let plan = self.plan_rebuild(name, asked).await?;
        self.apply(&plan.hash, by).await
    }
}
