//! What operators see and do over HTTP.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use tidewire::doctor::Report;
use tidewire::http::{Json, Page, Problem};
use tidewire::operate::{Actor, ConsumerRow, OperateError, Operator, Status};

/// The longest reason that is kept, in characters.
const MAX_REASON_CHARS: usize = 2_000;

pub(crate) fn routes(operator: Operator) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/doctor", get(doctor))
        .route("/v1/consumers", get(consumers))
        .route("/v1/consumers/{name}", get(consumer))
        .route("/v1/consumers/{name}/pause", post(pause))
        .route("/v1/consumers/{name}/resume", post(resume))
        .with_state(operator)
}

async fn status(State(operator): State<Operator>) -> Result<Json<Status>, Problem> {
    Ok(Json(operator.status().await.map_err(problem)?))
}

/// Looks for what is wrong, and says what to do.
async fn doctor(State(operator): State<Operator>) -> Result<Json<Report>, Problem> {
    Ok(Json(tidewire::doctor::examine(&operator.facts().await.map_err(problem)?)))
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
#[serde(deny_unknown_fields)]
struct Why {
    /// Why, for those who look later.
    reason: Option<String>,
}

/// Within about half a second no process takes its events any more; what is in hand is finished.
async fn pause(
    State(operator): State<Operator>,
    Path(name): Path<String>,
    actor: Actor,
    Json(why): Json<Why>,
) -> Result<Json<Value>, Problem> {
    let paused = operator.pause(&actor, &told(why.reason), &name).await.map_err(problem)?;
    Ok(Json(json!({ "name": name, "paused": paused })))
}

/// It goes on where it was. Resuming one that is not paused changes nothing.
async fn resume(
    State(operator): State<Operator>,
    Path(name): Path<String>,
    actor: Actor,
    Json(why): Json<Why>,
) -> Result<Json<Value>, Problem> {
    let was = operator.resume(&actor, &told(why.reason), &name).await.map_err(problem)?;
    Ok(Json(json!({ "name": name, "was_paused": was })))
}

/// A reason as it is kept.
pub(crate) fn told(reason: Option<String>) -> String {
    reason.unwrap_or_default().chars().take(MAX_REASON_CHARS).collect()
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
        OperateError::NoConsumer { .. } | OperateError::NotParked { .. } => {
            Problem::new(StatusCode::NOT_FOUND, code, error)
        }
        OperateError::Busy { .. } | OperateError::Changed { .. } => Problem::conflict(code, error),
        OperateError::Invalid(detail) => Problem::invalid(detail),
        OperateError::Relay { ref reason, .. } if code == "reconcile.replaced" => Problem::conflict(code, reason),
        OperateError::Relay { reason, .. } => {
            tracing::warn!(code, reason, "relay");
            unavailable("the relay could not do this; it was logged")
        }
    }
}
