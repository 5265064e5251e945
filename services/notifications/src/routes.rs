//! The HTTP routes of notifications and preferences.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tidewire::http::{Idempotency, Json, Page, PageQuery, Problem, position_header};
use tidewire::store::{Conflict, DocumentQuery};
use tidewire::{Commit, Committed, Document, DocumentWrite, ExpectDocument, Ports, Position, StoreError};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use crate::hub::Hub;
use crate::inbox::Inbox;
use crate::notification::{INBOXES, InboxState, NOTIFICATIONS, Notification, UNREAD, row_id};
use crate::preferences::{PREFERENCES, Preferences};
use crate::stream::{BUFFER, Live, SLOWEST};

/// How often a change is made again when the inbox changed under it. Each time somebody else succeeded, so this
/// is how many may change one inbox at once: a page that marks everything in it as read, and then some.
const MAX_CONFLICTS: usize = 128;
/// Live streams of one process; each costs a task and a buffer.
const MAX_STREAMS: usize = 1_000;
/// When a client whose stream is refused because this process is stopping may find the next one.
const RESTART: Duration = Duration::from_secs(2);
/// How often an idle stream shows that it lives: below the idle timeouts of proxies.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// What a client that comes back has seen last.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What the routes work on.
pub(crate) struct Notifications {
    ports: Ports,
    hub: Arc<Hub>,
    streams: Arc<Semaphore>,
}

pub(crate) fn router(notifications: Arc<Notifications>) -> Router {
    Router::new()
        .route("/v1/users/{id}/notifications", get(list))
        .route("/v1/users/{id}/notifications/stream", get(live))
        .route("/v1/users/{id}/notifications/{n}/read", post(read))
        .route("/v1/users/{id}/preferences", get(preferences).put(set_preferences))
        .with_state(notifications)
}

/// A notification with its number.
#[derive(Serialize)]
pub(crate) struct Shown<T> {
    pub n: u64,
    #[serde(flatten)]
    pub notification: T,
}

impl<T: DeserializeOwned> Shown<T> {
    pub fn read(document: &Document) -> Option<Self> {
        let n = document.id.rsplit('/').next()?.parse().ok()?;
        Some(Self { n, notification: serde_json::from_slice(&document.value).ok()? })
    }
}

#[derive(Deserialize)]
struct Filter {
    unread: Option<bool>,
}

/// A page of notifications, and how many are unread in all.
#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    page: Page<Shown<Notification>>,
    unread: u64,
}

/// Newest first; with `unread=true` only those.
async fn list(
    State(notifications): State<Arc<Notifications>>,
    Path(id): Path<String>,
    filter: Result<Query<Filter>, axum::extract::rejection::QueryRejection>,
    page: PageQuery,
) -> Result<Json<Listed>, Problem> {
    let inbox = parse(&id)?;
    let Query(filter) = filter.map_err(|_| Problem::invalid("`unread` must be `true` or `false`"))?;
    let collection = if filter.unread == Some(true) { UNREAD } else { NOTIFICATIONS };
    let query = DocumentQuery {
        collection: collection.into(),
        prefix: format!("{inbox}/"),
        after: page.cursor.map(|n| format!("{inbox}/{n}")),
        backwards: true,
        limit: page.limit + 1,
    };
    let mut documents = notifications.ports.store.list(&query).await?;
    if collection == UNREAD {
        let ids: Vec<String> = documents.into_iter().map(|document| document.id).collect();
        documents = notifications.ports.store.documents(NOTIFICATIONS, &ids).await?.into_iter().flatten().collect();
    }
    let shown = documents.iter().filter_map(Shown::read).collect();
    let page = Page::cut(shown, page.limit, |last: &Shown<Notification>| format!("{:012}", last.n));
    let (state, _) = notifications.state(&inbox).await?;
    Ok(Json(Listed { page, unread: state.unread }))
}

/// Marks one as read. Again: the same answer.
async fn read(
    State(notifications): State<Arc<Notifications>>,
    Path((id, n)): Path<(String, String)>,
    idempotency: Idempotency,
) -> Result<Response, Problem> {
    let inbox = parse(&id)?;
    let n: u64 = n.parse().map_err(|_| Problem::not_found("notifications have numbers"))?;
    let mut lost = 0;
    loop {
        match notifications.mark_read(&inbox, n, &idempotency).await? {
            Ok((shown, position)) => return Ok(([position_header(position)], Json(shown)).into_response()),
            Err(conflict) if lost == MAX_CONFLICTS => return Err(conflict.into()),
            Err(_) => lost += 1,
        }
    }
}

/// Server-sent events: `id` is the number, `event` is `notification`, `data` is the notification. Starts with
/// the first notification after `Last-Event-ID`, without it with the next one that comes.
async fn live(
    State(notifications): State<Arc<Notifications>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let inbox = parse(&id)?;
    let busy = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "http.unavailable", "no room for another stream");
    let permit = notifications.streams.clone().try_acquire_owned().map_err(|_| busy().retry_after(KEEP_ALIVE))?;
    let stopping = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "http.unavailable", "the server is stopping");
    let watch = notifications.hub.watch(&inbox).ok_or_else(|| stopping().retry_after(RESTART))?;
    let (state, _) = notifications.state(&inbox).await?;
    let after: u64 = match headers.get(LAST_EVENT_ID) {
        Some(last) => last.to_str().ok().and_then(|last| last.parse().ok()).ok_or_else(|| {
            Problem::invalid("`Last-Event-ID` must be the number of a notification, as the stream gave it")
        })?,
        None => state.last,
    };
    // A number from before the store was restored must not hide what comes now.
    let after = after.min(state.last);
    let (to, from) = mpsc::channel(BUFFER);
    let live = Live { store: notifications.ports.store.clone(), inbox, after, watch, slowest: SLOWEST };
    tokio::spawn(async move {
        let ended = live.run(to).await;
        tracing::debug!(?ended, "a live stream ended");
        drop(permit);
    });
    let events = Sse::new(ReceiverStream::new(from)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // Proxies that collect answers before passing them on would make it anything but live.
    Ok(([(HeaderName::from_static("x-accel-buffering"), "no")], events).into_response())
}

/// What somebody wants to be told, every kind written out.
async fn preferences(
    State(notifications): State<Arc<Notifications>>,
    Path(id): Path<String>,
) -> Result<Json<Preferences>, Problem> {
    let inbox = parse(&id)?;
    let (found, _) = notifications.document::<Preferences>(PREFERENCES, Preferences::id(&inbox)).await?;
    Ok(Json(found.unwrap_or_default().complete()))
}

/// Replaces them; what is left out is as by default.
async fn set_preferences(
    State(notifications): State<Arc<Notifications>>,
    Path(id): Path<String>,
    idempotency: Idempotency,
    Json(preferences): Json<Preferences>,
) -> Result<Response, Problem> {
    let inbox = parse(&id)?;
    let preferences = preferences.complete();
    let body = serde_json::to_value(&preferences).map_err(Problem::internal)?;
    let mut documents = idempotency.record(StatusCode::OK, &body);
    documents.push(write(PREFERENCES, Preferences::id(&inbox).to_owned(), ExpectDocument::Any, &preferences)?);
    let position = notifications.commit(documents).await?;
    Ok(([position_header(position)], Json(body)).into_response())
}

impl Notifications {
    pub fn new(ports: Ports, hub: Arc<Hub>) -> Self {
        Self { ports, hub, streams: Arc::new(Semaphore::new(MAX_STREAMS)) }
    }

    async fn document<T: DeserializeOwned>(
        &self,
        collection: &str,
        id: &str,
    ) -> Result<(Option<T>, ExpectDocument), Problem> {
        match self.ports.store.documents(collection, &[id.to_owned()]).await?.pop().flatten() {
            None => Ok((None, ExpectDocument::Absent)),
            Some(Document { revision, value, .. }) => {
                let value = serde_json::from_slice(&value).map_err(Problem::internal)?;
                Ok((Some(value), ExpectDocument::Revision(revision)))
            }
        }
    }

    async fn state(&self, inbox: &Inbox) -> Result<(InboxState, ExpectDocument), Problem> {
        let (state, expect) = self.document(INBOXES, inbox.as_str()).await?;
        Ok((state.unwrap_or_default(), expect))
    }

    /// One try; the inner error is a conflict that is worth another.
    async fn mark_read(
        &self,
        inbox: &Inbox,
        n: u64,
        idempotency: &Idempotency,
    ) -> Result<Result<(Shown<Notification>, Position), StoreError>, Problem> {
        let id = row_id(inbox, n);
        let (found, expect) = self.document::<Notification>(NOTIFICATIONS, &id).await?;
        let Some(mut notification) = found else {
            return Err(Problem::not_found(format!("there is no notification {n} in this inbox")));
        };
        let mut documents = Vec::new();
        if notification.read.is_none() {
            notification.read = Some(self.ports.clock.now());
            let (mut state, expect_state) = self.state(inbox).await?;
            state.unread = state.unread.saturating_sub(1);
            documents.push(write(NOTIFICATIONS, id.clone(), expect, &notification)?);
            documents.push(write(INBOXES, inbox.to_string(), expect_state, &state)?);
            documents.push(DocumentWrite { collection: UNREAD.into(), id, expect: ExpectDocument::Any, value: None });
        }
        let shown = Shown { n, notification };
        let body = serde_json::to_value(&shown).map_err(Problem::internal)?;
        documents.extend(idempotency.record(StatusCode::OK, &body));
        match self.commit(documents).await {
            Ok(position) => Ok(Ok((shown, position))),
            Err(StoreError::Conflict(Conflict::Document { collection, id, expected, found }))
                if collection == NOTIFICATIONS || collection == INBOXES =>
            {
                Ok(Err(StoreError::Conflict(Conflict::Document { collection, id, expected, found })))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn commit(&self, documents: Vec<DocumentWrite>) -> Result<Position, StoreError> {
        if documents.is_empty() {
            return self.ports.store.head().await;
        }
        match self.ports.store.commit(Commit { documents, ..Commit::default() }).await? {
            Committed::Applied { last } => Ok(last),
            // It carries neither marks nor timers.
            Committed::Duplicate => Err(StoreError::Invalid("a change to documents cannot be a duplicate".into())),
        }
    }
}

fn parse(id: &str) -> Result<Inbox, Problem> {
    Inbox::parse(id).ok_or_else(|| {
        Problem::invalid("expected a user id, `workspace:` with the name of a workspace, or `role:operators`")
    })
}

fn write<T: Serialize>(
    collection: &str,
    id: String,
    expect: ExpectDocument,
    value: &T,
) -> Result<DocumentWrite, Problem> {
    let value = serde_json::to_vec(value).map_err(Problem::internal)?;
    Ok(DocumentWrite { collection: collection.to_owned(), id, expect, value: Some(value.into()) })
}
