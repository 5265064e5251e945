//! `/v1/subscriptions`: the CloudEvents Subscriptions resource. Created, listed, changed and deleted here; carried out by
//! whoever runs the keeper ([`tidewire::push`]).

mod acts;
mod docs;
mod rights;
mod shown;
#[cfg(test)]
mod tests;

use axum::Extension;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::Value;
use tidewire::http::{Idempotency, Json, Page, PageQuery, Problem};
use tidewire::identity::Caller;
use tidewire::operate::{Acted, Actor};
use tidewire::push::{Register, State as Delivers, Subscription, Wanted, shake_hands};
use tidewire::store::Conflict;
use tidewire::{Commit, DocumentWrite, StoreError};

pub(crate) use docs::docs;
use rights::may;
use shown::Shown;

pub(crate) fn routes(register: Register) -> Router {
    Router::new()
        .route("/v1/subscriptions", get(list).post(create))
        .route("/v1/subscriptions/{id}", get(show).put(update).delete(delete))
        .route("/v1/subscriptions/{id}/pause", post(acts::pause))
        .route("/v1/subscriptions/{id}/resume", post(acts::resume))
        .route("/v1/subscriptions/{id}/rotate", post(acts::rotate))
        .route("/v1/subscriptions/{id}/test", post(acts::test))
        .with_state(register)
}

type MaybeCaller = Option<Extension<Caller>>;

fn whoever(caller: MaybeCaller) -> Caller {
    caller.map_or_else(Caller::local, |Extension(caller)| caller)
}

/// 201 with the secret, which is shown this once.
async fn create(
    State(register): State<Register>,
    caller: MaybeCaller,
    actor: Actor,
    idempotency: Idempotency,
    Json(wanted): Json<Wanted>,
) -> Result<Response, Problem> {
    check(&register, &wanted)?;
    may(&whoever(caller), &wanted, &register)?;
    if register.is_full().await? {
        let most = register.options().max_subscriptions;
        return Err(Problem::conflict("push.full", format!("there are {most} subscriptions, and no more are taken")));
    }
    let rate = agreed(&register, &wanted.sink).await?;
    let made = register.made(wanted, actor.name(), rate).await?;
    let subscription = made.ok_or_else(|| Problem::internal("the system gives no random numbers"))?;
    let answer = with_secret(&register, &subscription).await?;
    let location = format!("/v1/subscriptions/{}", subscription.id);
    let mut documents = idempotency.record_at(StatusCode::CREATED, &answer, Some(&location));
    documents.extend(register.keep(&subscription, None));
    let acted = Acted::new(&actor, "subscriptions create", &subscription.id, "").with("sink", host(&subscription));
    commit(&register, documents, &acted).await.map_err(|error| taken(error, "push.exists"))?;
    let mut response = (StatusCode::CREATED, Json(answer)).into_response();
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

async fn list(State(register): State<Register>, page: PageQuery) -> Result<Page<Value>, Problem> {
    let all = register.all().await?;
    let after = page.cursor.as_deref().unwrap_or_default();
    let wanted = all.iter().filter(|(subscription, _)| subscription.id.as_str() > after).take(page.limit + 1);
    let look = Shown::looking(&register).await?;
    let mut rows = Vec::new();
    for (subscription, _) in wanted {
        rows.push(look.show(subscription, &register.status(&subscription.id).await?));
    }
    let id = |row: &Value| row["id"].as_str().unwrap_or_default().to_owned();
    Ok(Page::cut(rows, page.limit, id))
}

async fn show(State(register): State<Register>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let (subscription, _) = find(&register, &id).await?;
    Ok(Json(shown(&register, &subscription).await?))
}

/// Replaces what was asked for. The secret, the place and the beginning stay.
async fn update(
    State(register): State<Register>,
    Path(id): Path<String>,
    caller: MaybeCaller,
    actor: Actor,
    idempotency: Idempotency,
    Json(mut wanted): Json<Wanted>,
) -> Result<Response, Problem> {
    let (before, revision) = find(&register, &id).await?;
    if wanted.id.as_ref().is_some_and(|own| *own != id) {
        return Err(Problem::invalid("`id` is the one in the path; a subscription keeps its id"));
    }
    if wanted.config.start.is_some_and(|start| Some(start) != before.wanted.config.start) {
        return Err(Problem::invalid("`config.start` cannot be changed: make another subscription"));
    }
    check(&register, &wanted)?;
    let caller = whoever(caller);
    may(&caller, &before.wanted, &register)?;
    may(&caller, &wanted, &register)?;
    (wanted.id, wanted.config.start) = (Some(id), before.wanted.config.start);
    let is_elsewhere = wanted.sink != before.wanted.sink;
    let rate = if is_elsewhere { agreed(&register, &wanted.sink).await? } else { before.rate };
    // An endpoint that is gone is not the new one.
    let state = match before.state.clone() {
        Delivers::Disabled { .. } if is_elsewhere => Delivers::Active,
        state => state,
    };
    let now = register.ports().clock.now();
    let after = Subscription { wanted, rate, state, changed: now, ..before };
    let acted = Acted::new(&actor, "subscriptions update", &after.id, "").with("sink", host(&after));
    change(&register, &after, revision, idempotency, &acted).await
}

/// 204. What it has yet to deliver is given up.
async fn delete(
    State(register): State<Register>,
    Path(id): Path<String>,
    caller: MaybeCaller,
    actor: Actor,
) -> Result<StatusCode, Problem> {
    let (subscription, revision) = find(&register, &id).await?;
    may(&whoever(caller), &subscription.wanted, &register)?;
    let acted = Acted::new(&actor, "subscriptions delete", &id, "");
    let documents = register.remove(&id, revision);
    commit(&register, documents, &acted).await.map_err(|error| taken(error, "push.changed"))?;
    Ok(StatusCode::NO_CONTENT)
}

fn check(register: &Register, wanted: &Wanted) -> Result<(), Problem> {
    let known = register.admission().types();
    wanted.check(&known, register.options()).map_err(|error| Problem::invalid(&error).with("field", error.field))
}

/// Asks the endpoint whether it wants to be called.
async fn agreed(register: &Register, sink: &str) -> Result<Option<u32>, Problem> {
    let refused = |error: tidewire::push::HandshakeError| {
        Problem::new(StatusCode::BAD_REQUEST, error.code(), &error).with("field", "sink")
    };
    shake_hands(sink, register.options()).await.map_err(refused)
}

async fn find(register: &Register, id: &str) -> Result<(Subscription, u64), Problem> {
    register.find(id).await?.ok_or_else(|| {
        let id: String = id.chars().take(40).flat_map(char::escape_default).collect();
        Problem::not_found(format!("there is no subscription `{id}`"))
    })
}

async fn shown(register: &Register, subscription: &Subscription) -> Result<Value, Problem> {
    let status = register.status(&subscription.id).await?;
    Ok(Shown::looking(register).await?.show(subscription, &status))
}

/// As it is shown once: with the newest secret.
async fn with_secret(register: &Register, subscription: &Subscription) -> Result<Value, Problem> {
    let mut answer = shown(register, subscription).await?;
    answer["secret"] = subscription.secrets.first().map(|secret| secret.reveal()).unwrap_or_default().into();
    Ok(answer)
}

/// 200 with the subscription as it is now.
async fn change(
    register: &Register,
    after: &Subscription,
    revision: u64,
    idempotency: Idempotency,
    acted: &Acted,
) -> Result<Response, Problem> {
    let answer = shown(register, after).await?;
    keep(register, after, revision, (idempotency, &answer), acted).await?;
    Ok(Json(answer).into_response())
}

/// Keeps a change, and the answer for whoever repeats the request.
async fn keep(
    register: &Register,
    after: &Subscription,
    revision: u64,
    (idempotency, answer): (Idempotency, &Value),
    acted: &Acted,
) -> Result<(), Problem> {
    let mut documents = idempotency.record(StatusCode::OK, answer);
    documents.extend(register.keep(after, Some(revision)));
    commit(register, documents, acted).await.map_err(|error| taken(error, "push.changed"))
}

async fn commit(register: &Register, documents: Vec<DocumentWrite>, acted: &Acted) -> Result<(), StoreError> {
    let ports = register.ports();
    let append = vec![acted.append(ports.clock.as_ref())];
    ports.store.commit(Commit { append, documents, ..Commit::default() }).await.map(drop)
}

/// What it means that somebody was faster; a race on an idempotency key is its layer's business.
fn taken(error: StoreError, code: &str) -> Problem {
    match &error {
        StoreError::Conflict(Conflict::Document { collection, id, .. })
            if collection == tidewire::push::SUBSCRIPTIONS =>
        {
            let detail = match code {
                "push.exists" => format!("there is a subscription `{id}`; choose another id, or change that one"),
                _ => format!("the subscription `{id}` was changed by somebody else meanwhile"),
            };
            Problem::conflict(code, detail)
        }
        _ => error.into(),
    }
}

/// Where events go, without what might be secret in a path.
fn host(subscription: &Subscription) -> String {
    let sink = &subscription.wanted.sink;
    let rest = sink.split_once("://").map_or(sink.as_str(), |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default().to_owned()
}
