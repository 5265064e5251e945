//! Where a relay is, as the store keeps it.

use serde::{Deserialize, Serialize};
use tidewire_core::store::DocumentQuery;
use tidewire_core::{Position, Store, StoreError};

use super::witness::Witness;

/// The collection that holds the cursors.
pub(super) const CURSORS: &str = "relay_cursor";
/// More shards than there can be, cut in every way there was.
const MAX_CURSORS: usize = 4_096;

/// Where a relay is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// Everything of its shard up to here is acknowledged by the broker.
    pub(super) position: Position,
    /// What it knows of the broker's record.
    #[serde(flatten)]
    pub(super) witness: Witness,
}

impl Cursor {
    /// A shard's own cursor; for one that never ran, the lowest of all cursors, since the shards may have been cut
    /// differently before.
    pub(super) async fn load(store: &dyn Store, id: &str) -> Result<Self, StoreError> {
        let query = DocumentQuery { collection: CURSORS.into(), limit: MAX_CURSORS, ..Default::default() };
        let cursors = store.list(&query).await?;
        let read = |bytes: &[u8]| serde_json::from_slice::<Self>(bytes).unwrap_or_default();
        if let Some(own) = cursors.iter().find(|cursor| cursor.id == id) {
            return Ok(read(&own.value));
        }
        let lowest = cursors.iter().map(|cursor| read(&cursor.value)).min_by_key(|cursor| cursor.position);
        Ok(lowest.map_or_else(Self::default, |cursor| Self { witness: cursor.witness.of_another_shard(), ..cursor }))
    }
}
