//! `/v1/keys`: API keys are made, listed, rotated and revoked. A key is shown once, when it is made or rotated.

use axum::Extension;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tidewire::http::{Json, Page, PageQuery, Problem};
use tidewire::identity::{ApiKey, Caller, NewKey, Secret};
use tidewire::store::DocumentQuery;
use tidewire::{Commit, DocumentWrite, ExpectDocument, Ports, Store, StoreError};

use super::{KEYS, forbidden};

/// The longest name and source of a key, in bytes.
pub(super) const MAX_NAME_BYTES: usize = 128;

pub(crate) fn routes(ports: &Ports) -> Router {
    Router::new()
        .route("/v1/keys", get(list).post(create))
        .route("/v1/keys/{id}", get(show).delete(revoke))
        .route("/v1/keys/{id}/rotate", post(rotate))
        .with_state(ports.clone())
}

/// The key of this id, and the revision it is kept at.
pub(super) async fn find(ports: &Ports, id: &str) -> Result<Option<(ApiKey, u64)>, StoreError> {
    let found = ports.store.documents(KEYS, &[id.to_owned()]).await?.pop().flatten();
    let Some(document) = found else { return Ok(None) };
    let key = serde_json::from_slice(&document.value)
        .map_err(|error| StoreError::Corrupt(format!("the API key `{id}` cannot be read: {error}")))?;
    Ok(Some((key, document.revision)))
}

/// Whether there is a key that still lets somebody in.
pub async fn any_key(
    store: &dyn Store,
    now: tidewire::chrono::DateTime<tidewire::chrono::Utc>,
) -> Result<bool, StoreError> {
    let mut query = DocumentQuery { collection: KEYS.into(), limit: 500, ..Default::default() };
    loop {
        let page = store.list(&query).await?;
        let Some(last) = page.last() else { return Ok(false) };
        query.after = Some(last.id.clone());
        let mut keys = page.iter().filter_map(|document| serde_json::from_slice(&document.value).ok());
        if keys.any(|key: ApiKey| is_good(&key, now)) {
            return Ok(true);
        }
    }
}

/// Whether a key lets somebody in.
pub(super) fn is_good(key: &ApiKey, now: tidewire::chrono::DateTime<tidewire::chrono::Utc>) -> bool {
    key.revoked.is_none() && key.of.expires.is_none_or(|expires| expires > now)
}

async fn keep(ports: &Ports, key: &ApiKey, expect: ExpectDocument) -> Result<(), Problem> {
    let value = serde_json::to_vec(key).map_err(Problem::internal)?;
    let write = DocumentWrite { collection: KEYS.into(), id: key.id.clone(), expect, value: Some(value.into()) };
    ports.store.commit(Commit { documents: vec![write], ..Commit::default() }).await?;
    Ok(())
}

/// A key as it is shown: everything but the digest.
fn shown(key: &ApiKey) -> Value {
    json!({
        "id": key.id, "name": key.of.name, "scopes": key.of.scopes, "source": key.of.source,
        "created": key.created, "expires": key.of.expires, "revoked": key.revoked,
    })
}

fn once(status: StatusCode, key: &ApiKey, secret: &Secret) -> Response {
    let mut answer = shown(key);
    answer["key"] = secret.reveal().into();
    (status, Json(answer)).into_response()
}

fn no_key(id: &str) -> Problem {
    Problem::not_found(format!(
        "there is no key `{}`",
        id.chars().take(40).flat_map(char::escape_default).collect::<String>()
    ))
}

/// 201 with the key, which is not shown again. Nobody hands out a scope he does not have himself.
async fn create(
    State(ports): State<Ports>,
    caller: Option<Extension<Caller>>,
    Json(wanted): Json<NewKey>,
) -> Result<Response, Problem> {
    let caller = caller.map_or_else(Caller::local, |Extension(caller)| caller);
    check(&wanted)?;
    if !caller.scopes.include(&wanted.scopes) {
        return Err(forbidden(&wanted.scopes.to_string()));
    }
    if caller.source.is_some() && caller.source != wanted.source {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "auth.source",
            "a key that speaks for one source makes keys for no other",
        ));
    }
    let (key, secret) = ApiKey::make(wanted, ports.clock.now()).map_err(Problem::internal)?;
    keep(&ports, &key, ExpectDocument::Absent).await?;
    tracing::info!(key = key.id, name = key.of.name, scopes = %key.of.scopes, by = caller.name, "an API key was made");
    Ok(once(StatusCode::CREATED, &key, &secret))
}

fn check(wanted: &NewKey) -> Result<(), Problem> {
    let is_text = |text: &str| (1..=MAX_NAME_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
    if !is_text(&wanted.name) {
        return Err(Problem::invalid(format!("`name` is 1 to {MAX_NAME_BYTES} bytes without control characters")));
    }
    let source = wanted.source.as_deref();
    if source.is_some_and(|source| !is_text(source) || source.contains(char::is_whitespace)) {
        return Err(Problem::invalid("`source` is a URI reference without white space, such as `/billing`"));
    }
    Ok(())
}

async fn list(State(ports): State<Ports>, page: PageQuery) -> Result<Page<Value>, Problem> {
    let query = DocumentQuery {
        collection: KEYS.into(),
        after: page.cursor.clone(),
        limit: page.limit + 1,
        ..Default::default()
    };
    let found = ports.store.list(&query).await?;
    let keys: Result<Vec<ApiKey>, _> = found.iter().map(|document| serde_json::from_slice(&document.value)).collect();
    let keys = keys.map_err(Problem::internal)?;
    let id = |key: &Value| key["id"].as_str().unwrap_or_default().to_owned();
    Ok(Page::cut(keys.iter().map(shown).collect(), page.limit, id))
}

async fn show(State(ports): State<Ports>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    find(&ports, &id).await?.map(|(key, _)| Json(shown(&key))).ok_or_else(|| no_key(&id))
}

/// 200 with the new key; the old secret works no longer than a process may remember it.
async fn rotate(
    State(ports): State<Ports>,
    caller: Option<Extension<Caller>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let (key, revision) = find(&ports, &id).await?.ok_or_else(|| no_key(&id))?;
    let caller = caller.map_or_else(Caller::local, |Extension(caller)| caller);
    if !caller.scopes.include(&key.of.scopes) {
        return Err(forbidden(&key.of.scopes.to_string()));
    }
    if key.revoked.is_some() {
        return Err(Problem::conflict("auth.expired", "a revoked key is not given a new secret; make a new key"));
    }
    let (key, secret) = key.rotate(ports.clock.now()).map_err(Problem::internal)?;
    keep(&ports, &key, ExpectDocument::Revision(revision)).await?;
    tracing::info!(key = key.id, by = caller.name, "an API key was rotated");
    Ok(once(StatusCode::OK, &key, &secret))
}

/// 204, also when it was revoked before. The key stays listed, so that logs that name it can be read.
async fn revoke(
    State(ports): State<Ports>,
    caller: Option<Extension<Caller>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let (key, revision) = find(&ports, &id).await?.ok_or_else(|| no_key(&id))?;
    if key.revoked.is_none() {
        let by = caller.map_or_else(|| Caller::local().name, |Extension(caller)| caller.name);
        let mut key = key;
        key.revoked = Some(ports.clock.now());
        keep(&ports, &key, ExpectDocument::Revision(revision)).await?;
        tracing::info!(key = key.id, by, "an API key was revoked");
    }
    Ok(StatusCode::NO_CONTENT)
}
