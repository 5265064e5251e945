//! An operator's request to compare log and broker, and the relay's answer: a document per shard. The relay looks for
//! it every now and then; whoever asked looks for the answer.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tidewire_core::{Commit, DocumentWrite, ExpectDocument, Fence, Position, Store, StoreError};

use crate::reconcile::Reconciled;

/// The collection that holds the requests.
const REQUESTS: &str = "relay_reconcile";

/// A request, and its answer once there is one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Request {
    /// Its id: the same in all shards.
    pub(super) id: String,
    /// When it was asked.
    pub(super) asked: DateTime<Utc>,
    /// Compare only events after this position; without one, those that the broker may be expected to hold.
    pub(super) after: Option<Position>,
    /// What was found and done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<Reconciled>,
    /// Why nothing was done, as a code and a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<(String, String)>,
}

impl Request {
    /// Whether nobody has answered it.
    pub(super) fn is_open(&self) -> bool {
        self.answer.is_none() && self.error.is_none()
    }

    /// The newest request to a shard, with its revision.
    pub(super) async fn load(store: &dyn Store, shard: &str) -> Result<Option<(u64, Self)>, StoreError> {
        let found = store.documents(REQUESTS, &[shard.to_owned()]).await?.into_iter().flatten().next();
        Ok(found.and_then(|found| Some((found.revision, serde_json::from_slice(&found.value).ok()?))))
    }

    /// Asks. A request that stands there already is replaced, answered or not.
    pub(super) async fn ask(&self, store: &dyn Store, shard: &str) -> Result<(), StoreError> {
        self.write(store, shard, ExpectDocument::Any, None).await
    }

    /// Answers the request of this revision, under the relay's fence. One that was replaced meanwhile is left alone.
    pub(super) async fn answer(
        &self,
        store: &dyn Store,
        shard: &str,
        revision: u64,
        fence: Fence,
    ) -> Result<(), StoreError> {
        match self.write(store, shard, ExpectDocument::Revision(revision), Some(fence)).await {
            Err(StoreError::Conflict(_)) => Ok(()),
            other => other,
        }
    }

    async fn write(
        &self,
        store: &dyn Store,
        shard: &str,
        expect: ExpectDocument,
        fence: Option<Fence>,
    ) -> Result<(), StoreError> {
        let value = serde_json::to_vec(self).map_err(|error| StoreError::Invalid(error.to_string()))?;
        let write =
            DocumentWrite { collection: REQUESTS.into(), id: shard.to_owned(), expect, value: Some(value.into()) };
        store.commit(Commit { documents: vec![write], fence, ..Commit::default() }).await.map(drop)
    }
}
