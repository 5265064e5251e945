//! The live stream of one inbox, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::Event;
use tidewire::store::DocumentQuery;
use tidewire::{Document, Store, StoreError};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;

use crate::hub::Watch;
use crate::inbox::Inbox;
use crate::notification::{NOTIFICATIONS, Notification, row_id};
use crate::routes::Shown;

/// Notifications ready for a client that is slower than they come.
pub(crate) const BUFFER: usize = 64;
/// How long a client may read nothing while something is waiting for it, before it is dropped. It may come back
/// and resume.
pub(crate) const SLOWEST: Duration = Duration::from_secs(30);
/// Notifications read from the store at once.
const PAGE: usize = 100;
/// When clients come back after the stream broke off.
const RETRY: Duration = Duration::from_secs(2);

/// What a stream reads from.
pub(crate) struct Live {
    pub store: Arc<dyn Store>,
    pub inbox: Inbox,
    /// The number of the last notification the client has.
    pub after: u64,
    pub watch: Watch,
    /// How long the client may read nothing: [`SLOWEST`].
    pub slowest: Duration,
}

/// Why a stream ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The client is gone, or the process is stopping.
    Closed,
    /// The client did not read.
    Slow,
    /// The store could not be read.
    Store,
}

type Sender = mpsc::Sender<Result<Event, Infallible>>;

impl Live {
    /// Sends what comes, in order and without gaps, until the client leaves or falls behind.
    pub async fn run(mut self, to: Sender) -> Ended {
        if let Err(ended) = self.send(&to, Event::default().retry(RETRY).comment("live")).await {
            return ended;
        }
        loop {
            let page = match self.page().await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(inbox = %self.inbox, %error, "a live stream ended: the store could not be read");
                    return Ended::Store;
                }
            };
            let whole = page.len() < PAGE;
            for document in page {
                let Some(shown) = Shown::read(&document) else { continue };
                self.after = shown.n;
                if let Err(ended) = self.send(&to, event(&shown)).await {
                    return ended;
                }
            }
            if !whole {
                continue;
            }
            tokio::select! {
                open = self.watch.changed() => if !open { return Ended::Closed },
                () = to.closed() => return Ended::Closed,
            }
        }
    }

    async fn page(&self) -> Result<Vec<Document>, StoreError> {
        let query = DocumentQuery {
            collection: NOTIFICATIONS.into(),
            prefix: format!("{}/", self.inbox),
            after: Some(row_id(&self.inbox, self.after)),
            backwards: false,
            limit: PAGE,
        };
        self.store.list(&query).await
    }

    async fn send(&self, to: &Sender, event: Event) -> Result<(), Ended> {
        to.send_timeout(Ok(event), self.slowest).await.map_err(|error| match error {
            SendTimeoutError::Timeout(_) => Ended::Slow,
            SendTimeoutError::Closed(_) => Ended::Closed,
        })
    }
}

fn event(shown: &Shown<Notification>) -> Event {
    // Numbers, strings and times always serialise.
    let data = serde_json::to_string(shown).unwrap_or_default();
    Event::default().id(shown.n.to_string()).event("notification").data(data)
}
