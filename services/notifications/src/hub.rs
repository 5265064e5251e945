//! The hub: tells live streams that their inbox has something new.
//!
//! The truth is in the store, and the handler may run in another process: so the hub looks at the inboxes that
//! are being watched, all with one look-up. A hint from a handler in the same process makes it look at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidewire::{Store, StoreError};
use tokio::sync::{Notify, watch};

use crate::inbox::Inbox;
use crate::notification::{INBOXES, InboxState};

/// The longest wait between two looks: how late a notification made by another process may be shown.
const LOOK_MAX: Duration = Duration::from_secs(1);
/// The first wait after a hint: about what the commit takes that follows it.
const LOOK_MIN: Duration = Duration::from_millis(5);
/// Inboxes looked up at once.
const LOOK_BATCH: usize = 500;

/// Wakes live streams. One per process.
#[derive(Default)]
pub struct Hub {
    watched: Mutex<Watched>,
    hint: Notify,
}

#[derive(Default)]
struct Watched {
    closed: bool,
    inboxes: HashMap<String, watch::Sender<u64>>,
}

/// One stream's view of its inbox.
pub struct Watch(watch::Receiver<u64>);

impl Watch {
    /// Returns `true` once the inbox may hold something it did not hold at the last call, `false` when the hub
    /// has closed.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

impl Hub {
    /// Begins to watch an inbox; dropping the watch ends it. `None` when the hub has closed.
    pub fn watch(&self, inbox: &Inbox) -> Option<Watch> {
        let mut watched = self.watched();
        if watched.closed {
            return None;
        }
        let sender = watched.inboxes.entry(inbox.to_string()).or_insert_with(|| watch::Sender::new(0));
        let watch = Watch(sender.subscribe());
        drop(watched);
        // What is new since the last look is not known yet.
        self.hint();
        Some(watch)
    }

    /// Asks for a look soon.
    pub fn hint(&self) {
        self.hint.notify_one();
    }

    /// Ends every stream, and every later one.
    pub fn close(&self) {
        *self.watched() = Watched { closed: true, inboxes: HashMap::new() };
    }

    /// Looks for ever.
    pub async fn run(&self, store: Arc<dyn Store>) {
        let mut wait = LOOK_MAX;
        loop {
            tokio::select! {
                () = self.hint.notified() => wait = LOOK_MIN,
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(LOOK_MAX),
            }
            if let Err(error) = self.look(store.as_ref()).await {
                tracing::warn!(%error, "live notifications are late: the store could not be asked");
                wait = LOOK_MAX;
            }
        }
    }

    /// Looks once at every inbox that is watched.
    async fn look(&self, store: &dyn Store) -> Result<(), StoreError> {
        let names: Vec<String> = {
            let mut watched = self.watched();
            watched.inboxes.retain(|_, sender| sender.receiver_count() > 0);
            watched.inboxes.keys().cloned().collect()
        };
        for names in names.chunks(LOOK_BATCH) {
            let found = store.documents(INBOXES, names).await?;
            let watched = self.watched();
            for (name, document) in names.iter().zip(found) {
                // What cannot be read is the handler's to report.
                let state = document.and_then(|document| serde_json::from_slice::<InboxState>(&document.value).ok());
                if let (Some(state), Some(sender)) = (state, watched.inboxes.get(name)) {
                    sender.send_if_modified(|last| std::mem::replace(last, state.last) != state.last);
                }
            }
        }
        Ok(())
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
