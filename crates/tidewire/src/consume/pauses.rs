//! Which consumers are paused: one look for all loops of a process, every half second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tidewire_core::store::DocumentQuery;
use tidewire_core::{Document, Store, StoreError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ports::Ports;

/// The documents that say who is paused, by the name of the consumer.
pub(crate) const COLLECTION: &str = "consumer_pause";
/// How often they are looked at: a pause is obeyed so soon, in every process.
const LOOK: Duration = Duration::from_millis(500);
/// The most consumers that can be paused at once: far more than there are.
const MAX_PAUSED: usize = 1_000;

/// That a consumer is paused, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// Since when.
    pub since: DateTime<Utc>,
    /// By whom.
    pub actor: String,
    /// Why, in his words.
    pub reason: String,
}

impl Paused {
    /// What a document says. One that cannot be read was written by another build: the consumer is paused all the same.
    pub(crate) fn read(document: &Document) -> Self {
        serde_json::from_slice(&document.value).unwrap_or_else(|_| Self {
            since: DateTime::UNIX_EPOCH,
            actor: "unknown".into(),
            reason: String::new(),
        })
    }

    pub(crate) fn write(&self) -> Bytes {
        // Texts and a time always have a JSON form; were there none, the pause would still hold.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// Everybody who is paused, by name.
pub(crate) async fn paused(store: &dyn Store) -> Result<BTreeMap<String, Paused>, StoreError> {
    let query = DocumentQuery { collection: COLLECTION.into(), limit: MAX_PAUSED, ..Default::default() };
    let found = store.list(&query).await?;
    Ok(found.into_iter().map(|document| (document.id.clone(), Paused::read(&document))).collect())
}

/// Who is paused, as last seen. `None` before the first look.
type Seen = Option<Arc<BTreeMap<String, Paused>>>;

/// What the loops of a process know of pauses. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pauses(watch::Receiver<Seen>);

impl Pauses {
    /// Somebody to be asked, and the work that keeps him informed until `stop`.
    pub(crate) fn watching(ports: &Ports, stop: CancellationToken) -> (Self, impl Future<Output = ()> + use<>) {
        let (sender, receiver) = watch::channel(None);
        let store = ports.store.clone();
        let look = async move {
            while !stop.is_cancelled() {
                match paused(store.as_ref()).await {
                    Ok(found) => {
                        let found = Some(Arc::new(found));
                        sender.send_if_modified(|seen| {
                            let is_new = *seen != found;
                            *seen = found;
                            is_new
                        });
                    }
                    // Whoever runs goes on, and whoever is paused stays so.
                    Err(error) => tracing::debug!(%error, "cannot look for pauses"),
                }
                let _ = tokio::time::timeout(LOOK, stop.cancelled()).await;
            }
        };
        (Self(receiver), look)
    }

    /// Whether a consumer is paused, as far as is known.
    pub(crate) fn is_paused(&self, consumer: &str) -> bool {
        self.0.borrow().as_ref().is_some_and(|seen| seen.contains_key(consumer))
    }

    /// Returns once the consumer is known to be paused, or never.
    pub(crate) async fn until_paused(&self, consumer: &str) {
        let mut seen = self.0.clone();
        let paused = |seen: &Seen| seen.as_ref().is_some_and(|seen| seen.contains_key(consumer));
        if seen.wait_for(paused).await.is_err() {
            // The process ends; that is told by other means.
            std::future::pending::<()>().await;
        }
    }

    /// Returns once the consumer is known not to be paused, or never.
    pub(crate) async fn until_free(&self, consumer: &str) {
        let mut seen = self.0.clone();
        let free = |seen: &Seen| seen.as_ref().is_some_and(|seen| !seen.contains_key(consumer));
        if seen.wait_for(free).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
