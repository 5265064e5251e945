//! `Idempotency-Key`: the same request again gets the same answer, and the work is done once.
//!
//! The answer is a document, written in the same commit as the work. Nothing is held in memory and nothing is
//! locked: of two equal requests at once, one commits, and the other's commit conflicts on that document and
//! is answered with what the first one stored.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tidewire_core::store::DocumentQuery;
use tidewire_core::{Clock, Commit, DocumentWrite, ExpectDocument, Store, StoreError};

use super::position::position_header;
use super::problem::Problem;

/// The header of the request.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header of an answer that was given before: `true`.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The longest key, in bytes.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 255;
/// How long an answer is kept, at least: longer than any sensible client goes on trying.
pub const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

const ANSWERS: &str = "idempotency";
const BY_TIME: &str = "idempotency_by_time";
/// Answers removed in one commit: a few milliseconds of the writer.
const EXPIRE_BATCH: usize = 200;

/// Who makes the request, as far as idempotency keys go: keys of different principals never meet. An
/// authenticating layer puts it into the request's extensions; without one all callers share one space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal(
    /// Its stable name.
    pub Arc<str>,
);

/// Where answers are kept: the state of [`idempotent`].
#[derive(Clone)]
pub struct Answers {
    /// The store that also takes the work's commits.
    pub store: Arc<dyn Store>,
    /// For the age of answers.
    pub clock: Arc<dyn Clock>,
}

/// What the current request's `Idempotency-Key` asks of its handler: [`Idempotency::record`] in the commit.
/// Always extractable; without the header it asks for nothing.
#[derive(Clone, Default)]
pub struct Idempotency(Option<Arc<Asked>>);

/// One request with a key.
struct Asked {
    id: String,
    at: DateTime<Utc>,
    read: Mutex<BodyRead>,
}

/// The digest of the request so far: method, path and query, then the body as far as it was read.
#[derive(Clone)]
struct BodyRead {
    digest: Sha256,
    bytes: u64,
    whole: bool,
}

/// An answer as it is stored.
#[derive(Serialize, Deserialize)]
struct Answer {
    /// The digest of the request, over the first `bytes` of its body.
    request: String,
    bytes: u64,
    /// Whether these were all.
    whole: bool,
    status: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    body: Value,
}

impl Idempotency {
    /// Whether the request carries a key.
    pub fn is_asked(&self) -> bool {
        self.0.is_some()
    }

    /// The documents that make this answer the answer to every repetition: to be put into the *same* commit as
    /// the work. Empty when the request carries no key. To be called after the body was read: what was not
    /// read by then plays no part in telling repetitions from other requests.
    pub fn record(&self, status: StatusCode, body: &Value) -> Vec<DocumentWrite> {
        self.record_at(status, body, None)
    }

    /// [`Idempotency::record`] for an answer with a `Location` header.
    pub fn record_at(&self, status: StatusCode, body: &Value, location: Option<&str>) -> Vec<DocumentWrite> {
        let Some(asked) = &self.0 else { return Vec::new() };
        let read = asked.read().clone();
        let answer = Answer {
            request: hex(&read.digest.finalize()),
            bytes: read.bytes,
            whole: read.whole,
            status: status.as_u16(),
            location: location.map(str::to_owned),
            body: body.clone(),
        };
        let write = |collection: &str, id: String, expect, value: Value| DocumentWrite {
            collection: collection.to_owned(),
            id,
            expect,
            value: Some(value.to_string().into()),
        };
        // Serialising numbers, strings and a `Value` cannot fail.
        let answer = serde_json::to_value(answer).unwrap_or_default();
        vec![
            write(ANSWERS, asked.id.clone(), ExpectDocument::Absent, answer),
            write(BY_TIME, by_time(asked.at, &asked.id), ExpectDocument::Any, Value::Null),
        ]
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Idempotency {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

impl Asked {
    fn read(&self) -> std::sync::MutexGuard<'_, BodyRead> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The layer that gives stored answers, and hands [`Idempotency`] to the handlers of POST and PUT requests.
/// Bodies are digested as they pass by and never kept.
pub async fn idempotent(State(answers): State<Answers>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST && request.method() != Method::PUT {
        return next.run(request).await;
    }
    let asked = match asked(&answers, &request) {
        Ok(None) => return next.run(request).await,
        Ok(Some(asked)) => Arc::new(asked),
        Err(problem) => return problem.into_response(),
    };
    match answers.find(&asked.id).await {
        Ok(None) => {}
        Ok(Some(answer)) => {
            return match is_repetition(&asked, request.into_body(), &answer).await {
                Ok(same) => answers.give(answer, same).await,
                Err(problem) => problem.into_response(),
            };
        }
        Err(error) => return Problem::from(error).into_response(),
    }
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(Idempotency(Some(asked.clone())));
    let response = next.run(Request::from_parts(parts, digested(body, asked.clone()))).await;
    if response.status().is_success() {
        return response;
    }
    answers.after_failure(&asked, response).await
}

/// Reads the header: 400 `http.invalid_idempotency_key` unless it is one key of 1 to 255 visible characters.
fn asked(answers: &Answers, request: &Request) -> Result<Option<Asked>, Problem> {
    let mut keys = request.headers().get_all(&IDEMPOTENCY_KEY).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let key = key.as_bytes();
    let sound = !key.is_empty() && key.len() <= MAX_IDEMPOTENCY_KEY_BYTES && key.iter().all(u8::is_ascii_graphic);
    if !sound || keys.next().is_some() {
        let detail =
            format!("`Idempotency-Key` must be one key of 1 to {MAX_IDEMPOTENCY_KEY_BYTES} visible ASCII characters");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "http.invalid_idempotency_key", detail));
    }
    let principal = request.extensions().get::<Principal>().map_or("", |principal| &principal.0);
    let id = hex(&framed(&[principal.as_bytes(), key]).finalize());
    let uri = request.uri();
    let digest = framed(&[
        request.method().as_str().as_bytes(),
        uri.path().as_bytes(),
        uri.query().unwrap_or_default().as_bytes(),
    ]);
    let whole = request.body().is_end_stream();
    Ok(Some(Asked { id, at: answers.clock.now(), read: Mutex::new(BodyRead { digest, bytes: 0, whole }) }))
}

/// A digest over parts with their lengths, so that no two lists of parts run into the same bytes.
fn framed(parts: &[&[u8]]) -> Sha256 {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The same body, digested as it is read.
fn digested(body: Body, asked: Arc<Asked>) -> Body {
    let at_end = asked.clone();
    let chunks = body.into_data_stream().map(move |chunk| {
        if let Ok(chunk) = &chunk {
            let mut read = asked.read();
            read.digest.update(chunk);
            read.bytes += chunk.len() as u64;
        }
        chunk
    });
    let end = stream::poll_fn(move |_| {
        at_end.read().whole = true;
        Poll::Ready(None)
    });
    Body::from_stream(chunks.chain(end))
}

/// Whether `body` continues the request to the one `answer` was given to. Reads no more of it than that one had.
async fn is_repetition(asked: &Asked, mut body: Body, answer: &Answer) -> Result<bool, Problem> {
    let mut digest = asked.read().digest.clone();
    let mut left = answer.bytes;
    while left > 0 || answer.whole {
        let Some(frame) = body.frame().await else { break };
        let frame = frame.map_err(|_| {
            Problem::new(StatusCode::BAD_REQUEST, "http.body_broken", "the body ended before it was complete")
        })?;
        let Ok(chunk) = frame.into_data() else { continue };
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        digest.update(&chunk[..taken]);
        left -= taken as u64;
        if taken < chunk.len() && answer.whole {
            return Ok(false);
        }
    }
    Ok(left == 0 && hex(&digest.finalize()) == answer.request)
}

impl Answers {
    async fn find(&self, id: &str) -> Result<Option<Answer>, StoreError> {
        let found = self.store.documents(ANSWERS, &[id.to_owned()]).await?.pop().flatten();
        found
            .map(|document| serde_json::from_slice(&document.value))
            .transpose()
            .map_err(|error| StoreError::Corrupt(format!("document `{ANSWERS}/{id}`: {error}")))
    }

    async fn give(&self, answer: Answer, same: bool) -> Response {
        if !same {
            let detail = "this Idempotency-Key was used for another request; use a fresh key for each request";
            return Problem::conflict("http.idempotency_conflict", detail).into_response();
        }
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
        let mut response = match answer.body {
            Value::Null => status.into_response(),
            body => (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
        if let Some(location) = answer.location.and_then(|location| location.parse().ok()) {
            headers.insert(header::LOCATION, location);
        }
        // The head is at or past whatever that commit wrote.
        if let Ok(head) = self.store.head().await {
            let (name, value) = position_header(head);
            headers.insert(name, value);
        }
        response
    }

    /// The request failed. If an answer is stored all the same (an equal request was faster, or ours was
    /// committed and only its answer was lost), that is the answer.
    async fn after_failure(&self, asked: &Asked, response: Response) -> Response {
        let Ok(Some(answer)) = self.find(&asked.id).await else { return response };
        let read = asked.read().clone();
        let same = read.bytes == answer.bytes && hex(&read.digest.finalize()) == answer.request;
        self.give(answer, same).await
    }
}

fn by_time(at: DateTime<Utc>, id: &str) -> String {
    format!("{:012}/{id}", at.timestamp().max(0))
}

/// Removes the answers older than [`RETENTION`], in small commits; answers how many. To be called now and then by
/// one process or several.
pub async fn expire(store: &dyn Store, clock: &dyn Clock) -> Result<usize, StoreError> {
    let limit = by_time(clock.now() - RETENTION, "");
    let mut removed = 0;
    loop {
        let query = DocumentQuery { collection: BY_TIME.into(), limit: EXPIRE_BATCH, ..Default::default() };
        let old: Vec<String> = store.list(&query).await?.into_iter().map(|d| d.id).filter(|id| *id < limit).collect();
        if old.is_empty() {
            return Ok(removed);
        }
        removed += old.len();
        let remove = |collection: &str, id: &str| DocumentWrite {
            collection: collection.to_owned(),
            id: id.to_owned(),
            expect: ExpectDocument::Any,
            value: None,
        };
        let answers = old.iter().filter_map(|id| Some(remove(ANSWERS, id.split_once('/')?.1)));
        let documents = answers.chain(old.iter().map(|id| remove(BY_TIME, id))).collect();
        store.commit(Commit { documents, ..Commit::default() }).await?;
    }
}
