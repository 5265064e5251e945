//! What operators see and do over HTTP.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidewire::Key;
use tidewire::http::{Json, Page, PageQuery, Problem};
use tidewire::operate::{ConsumerRow, OperateError, Operator, Redriven, Status};
use tidewire::store::{Parked, ParkedQuery};

/// Events redriven by one request when it does not say.
const REDRIVE: usize = 100;
/// The most events redriven by one request: each runs its handler, and the request has a time limit.
const MAX_REDRIVE: usize = 1_000;
/// The longest reason that is logged.
const MAX_REASON_CHARS: usize = 500;

pub(crate) fn routes(operator: Operator) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/consumers", get(consumers))
        .route("/v1/consumers/{name}", get(consumer))
        .route("/v1/parked", get(parked))
        .route("/v1/parked/{ordinal}", get(parked_one))
        .route("/v1/parked/redrive", post(redrive))
        .with_state(operator)
}

async fn status(State(operator): State<Operator>) -> Result<Json<Status>, Problem> {
    Ok(Json(operator.status().await.map_err(problem)?))
}

async fn consumers(State(operator): State<Operator>) -> Result<Page<ConsumerRow>, Problem> {
    Ok(Page { items: operator.consumers().await.map_err(problem)?, cursor: None })
}

async fn consumer(State(operator): State<Operator>, Path(name): Path<String>) -> Result<Json<ConsumerRow>, Problem> {
    let found = operator.consumers().await.map_err(problem)?.into_iter().find(|consumer| consumer.name == name);
    found.map(Json).ok_or_else(|| {
        let detail = format!("there is no consumer `{}`; /v1/consumers lists them", printable(&name));
        Problem::new(StatusCode::NOT_FOUND, "consumer.not_found", detail)
    })
}

#[derive(Deserialize)]
struct ParkedFilter {
    consumer: Option<String>,
    key: Option<String>,
}

/// A parked event, as lists show it: its type and id, not its data.
#[derive(Serialize)]
struct ParkedRow {
    ordinal: u64,
    consumer: String,
    id: String,
    #[serde(rename = "type")]
    ty: String,
    key: Key,
    code: String,
    reason: String,
    attempts: u32,
    since: chrono::DateTime<chrono::Utc>,
}

impl From<Parked> for ParkedRow {
    fn from(parked: Parked) -> Self {
        Self {
            ordinal: parked.ordinal,
            consumer: parked.consumer,
            id: parked.envelope.id,
            ty: parked.envelope.ty.to_string(),
            key: parked.envelope.key,
            code: parked.code,
            reason: parked.reason,
            attempts: parked.attempts,
            since: parked.since,
        }
    }
}

async fn parked(
    State(operator): State<Operator>,
    Query(filter): Query<ParkedFilter>,
    page: PageQuery,
) -> Result<Page<ParkedRow>, Problem> {
    let after =
        page.cursor.as_deref().map(str::parse).transpose().map_err(|_| {
            Problem::new(StatusCode::BAD_REQUEST, "http.invalid_cursor", "the cursor is of another list")
        })?;
    let query = ParkedQuery {
        consumer: filter.consumer,
        key: filter.key.map(key).transpose()?,
        after: after.unwrap_or_default(),
        limit: page.limit + 1,
    };
    let rows = operator.parked(&query).await.map_err(problem)?.into_iter().map(ParkedRow::from).collect();
    Ok(Page::cut(rows, page.limit, |row: &ParkedRow| row.ordinal.to_string()))
}

/// One parked event, whole.
async fn parked_one(State(operator): State<Operator>, Path(ordinal): Path<u64>) -> Result<Json<Parked>, Problem> {
    let query = ParkedQuery { after: ordinal.saturating_sub(1), limit: 1, ..Default::default() };
    let found = operator.parked(&query).await.map_err(problem)?.into_iter().find(|parked| parked.ordinal == ordinal);
    found.map(Json).ok_or_else(|| Problem::not_found(format!("nothing is parked under {ordinal}")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Redrive {
    consumer: String,
    key: Option<String>,
    limit: Option<usize>,
    /// Why, for those who read the log later.
    reason: Option<String>,
}

/// Runs handlers again; the answer names what became of each event. Repeating it is harmless.
async fn redrive(State(operator): State<Operator>, Json(redrive): Json<Redrive>) -> Result<Json<Value>, Problem> {
    let limit = redrive.limit.unwrap_or(REDRIVE);
    if !(1..=MAX_REDRIVE).contains(&limit) {
        return Err(Problem::invalid(format!("`limit` must be a number from 1 to {MAX_REDRIVE}")));
    }
    let key = redrive.key.map(key).transpose()?;
    let reason = redrive.reason.unwrap_or_default();
    let reason: String = reason.chars().take(MAX_REASON_CHARS).collect();
    tracing::info!(consumer = redrive.consumer, key = key.as_ref().map(Key::as_str), limit, reason, "redriving");
    let redriven: Vec<Redriven> = operator.redrive(&redrive.consumer, key.as_ref(), limit).await.map_err(problem)?;
    let handled = redriven.iter().filter(|redriven| redriven.handled).count();
    Ok(Json(json!({ "handled": handled, "failed": redriven.len() - handled, "items": redriven })))
}

fn key(text: String) -> Result<Key, Problem> {
    Key::new(Arc::<str>::from(text)).map_err(Problem::invalid)
}

fn printable(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_default).collect()
}

pub(crate) fn problem(error: OperateError) -> Problem {
    let code = error.code().to_owned();
    let unavailable = |detail: &str| Problem::new(StatusCode::SERVICE_UNAVAILABLE, code.clone(), detail);
    match error {
        OperateError::Store(error) => error.into(),
        OperateError::Broker(error) if error.is_transient() => {
            tracing::warn!(%error, "broker");
            unavailable("the broker does not answer; try again later").retry_after(Default::default())
        }
        OperateError::Broker(error) => {
            tracing::error!(%error, "broker");
            let detail = "the broker cannot do this; it was logged";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, code, detail)
        }
        OperateError::NoConsumer { .. } => Problem::new(StatusCode::NOT_FOUND, code, error),
        OperateError::Relay { ref reason, .. } if code == "reconcile.replaced" => Problem::conflict(code, reason),
        OperateError::Relay { reason, .. } => {
            tracing::warn!(code, reason, "relay");
            unavailable("the relay could not do this; it was logged")
        }
    }
}
