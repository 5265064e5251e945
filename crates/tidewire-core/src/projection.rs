//! Projections: handlers that only fold rows.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::envelope::Envelope;
use crate::event::EventSet;

/// A read model: rows of one collection, each folded from events. Pure and synchronous, so it may be rebuilt
/// at any time and applied to a whole batch in one commit.
pub trait Projection: Send + Sync + 'static {
    /// Its consumer name: the identity of its inbox. A new name is a new projection, built from the start.
    const NAME: &'static str;
    /// The collection of documents it owns.
    const COLLECTION: &'static str;
    /// What it reads.
    type Event: EventSet;
    /// One row.
    type Row: Serialize + DeserializeOwned + Send;

    /// The ids of the rows `event` touches.
    fn rows(event: &Self::Event, envelope: &Envelope) -> Vec<String>;

    /// Folds `event` into row `id`. `None` is a row that does not exist; leaving `None` removes it.
    fn apply(row: &mut Option<Self::Row>, id: &str, event: &Self::Event, envelope: &Envelope);
}
