//! What operators do to sagas over HTTP.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Deserialize;
use serde_json::Value;
use tidewire::http::{Json, Problem, position_header};
use tidewire::operate::Actor;
use tidewire::saga::{By, Decision, DeskError, Order, SagaDesk, Verb};
use uuid::Uuid;

/// The longest reason that is kept, in characters.
pub(crate) const MAX_REASON_CHARS: usize = 500;
/// The longest token that names a start, in bytes.
pub(crate) const MAX_TOKEN_BYTES: usize = 256;

pub(super) fn router(desk: SagaDesk) -> Router {
    Router::new()
        .route("/v1/sagas/{id}/retry", post(retry))
        .route("/v1/sagas/{id}/skip", post(skip))
        .route("/v1/sagas/{id}/done", post(done))
        .route("/v1/sagas/{id}/compensate", post(compensate))
        .route("/v1/sagas/{id}/forward", post(forward))
        .route("/v1/sagas/{id}/cancel", post(cancel))
        .route("/v1/sagas/{id}/signals/{step}", post(signal))
        .with_state(desk)
}

/// What guards an order: the revision it was decided upon, and why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    revision: Option<u64>,
    reason: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

/// An order about a step.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfStep {
    step: Option<String>,
    revision: Option<u64>,
    reason: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

/// An order that stands for a reply.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replying {
    step: Option<String>,
    /// What the reply would have said.
    output: Option<Value>,
    revision: Option<u64>,
    reason: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signalling {
    /// The data of the event that the step waits for.
    data: Value,
    reason: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Starting {
    #[serde(rename = "type")]
    ty: String,
    /// The data of the event that starts it.
    data: Value,
    /// The same one starts one saga.
    token: Option<String>,
    reason: Option<String>,
}

type Asked = (State<SagaDesk>, Path<String>, Actor);

async fn retry((State(desk), Path(id), actor): Asked, Json(body): Json<OfStep>) -> Result<Json<Decision>, Problem> {
    let guard = Plain { revision: body.revision, reason: body.reason, dry_run: body.dry_run };
    carry_out(&desk, &id, &actor, Verb::Retry { step: body.step }, guard).await
}

async fn skip((State(desk), Path(id), actor): Asked, Json(body): Json<Replying>) -> Result<Json<Decision>, Problem> {
    let (verb, guard) = body.order(|step, output| Verb::Skip { step, output: output.map(Into::into) });
    carry_out(&desk, &id, &actor, verb, guard).await
}

async fn done((State(desk), Path(id), actor): Asked, Json(body): Json<Replying>) -> Result<Json<Decision>, Problem> {
    let (verb, guard) = body.order(|step, output| Verb::Done { step, output: output.map(Into::into) });
    carry_out(&desk, &id, &actor, verb, guard).await
}

async fn compensate(
    (State(desk), Path(id), actor): Asked,
    Json(guard): Json<Plain>,
) -> Result<Json<Decision>, Problem> {
    carry_out(&desk, &id, &actor, Verb::Compensate, guard).await
}

async fn forward((State(desk), Path(id), actor): Asked, Json(guard): Json<Plain>) -> Result<Json<Decision>, Problem> {
    carry_out(&desk, &id, &actor, Verb::Forward, guard).await
}

async fn cancel((State(desk), Path(id), actor): Asked, Json(guard): Json<Plain>) -> Result<Json<Decision>, Problem> {
    carry_out(&desk, &id, &actor, Verb::Cancel, guard).await
}

impl Replying {
    fn order(self, verb: impl FnOnce(Option<String>, Option<String>) -> Verb) -> (Verb, Plain) {
        let output = self.output.map(|output| output.to_string());
        let guard = Plain { revision: self.revision, reason: self.reason, dry_run: self.dry_run };
        (verb(self.step, output), guard)
    }
}

async fn carry_out(
    desk: &SagaDesk,
    id: &str,
    actor: &Actor,
    verb: Verb,
    guard: Plain,
) -> Result<Json<Decision>, Problem> {
    let id = Uuid::parse_str(id).map_err(|_| problem(DeskError::NotFound))?;
    if guard.dry_run {
        let order = Order { verb, by: actor.name().to_owned(), reason: cut(guard.reason) };
        return desk.rehearse(id, &order).await.map(Json).map_err(problem);
    }
    let Some(revision) = guard.revision else {
        let detail =
            "`revision` is needed: the one of the saga that was looked at, from `GET /v1/sagas/{id}` or a dry run";
        return Err(Problem::invalid(detail));
    };
    let reason = reason(guard.reason)?;
    desk.act(id, revision, verb, By { actor, reason: &reason }).await.map(Json).map_err(problem)
}

/// 202, or 200 when only looked at.
async fn signal(
    State(desk): State<SagaDesk>,
    Path((id, step)): Path<(String, String)>,
    actor: Actor,
    Json(body): Json<Signalling>,
) -> Result<Response, Problem> {
    let id = Uuid::parse_str(&id).map_err(|_| problem(DeskError::NotFound))?;
    let reason = if body.dry_run { cut(body.reason) } else { reason(body.reason)? };
    let by = By { actor: &actor, reason: &reason };
    let signalled = desk.signal(id, &step, body.data.to_string().into(), body.dry_run, by).await.map_err(problem)?;
    if body.dry_run {
        return Ok(Json(signalled).into_response());
    }
    Ok((StatusCode::ACCEPTED, [position_header(signalled.position)], Json(signalled)).into_response())
}

/// 202 with the saga's id, or 200 when the same start was taken before.
pub(super) async fn start(
    State(desk): State<SagaDesk>,
    actor: Actor,
    Json(body): Json<Starting>,
) -> Result<Response, Problem> {
    if body.token.as_ref().is_some_and(|token| token.is_empty() || token.len() > MAX_TOKEN_BYTES) {
        return Err(Problem::invalid(format!("`token` must have from 1 to {MAX_TOKEN_BYTES} bytes")));
    }
    let reason = cut(body.reason);
    let by = By { actor: &actor, reason: &reason };
    let data = body.data.to_string().into();
    let started = desk.start(&body.ty, data, body.token.as_deref(), by).await.map_err(problem)?;
    let status = if started.first { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, [position_header(started.position)], Json(started)).into_response())
}

fn cut(reason: Option<String>) -> String {
    reason.unwrap_or_default().trim().chars().take(MAX_REASON_CHARS).collect()
}

fn reason(reason: Option<String>) -> Result<String, Problem> {
    let reason = cut(reason);
    if reason.is_empty() {
        return Err(Problem::invalid("`reason` is needed: it is kept with the saga and in the record of who did what"));
    }
    Ok(reason)
}

fn problem(error: DeskError) -> Problem {
    let code = error.code();
    match error {
        DeskError::Store(error) => error.into(),
        DeskError::Schema(error) => error.into(),
        DeskError::NotFound | DeskError::NoKind { .. } => Problem::new(StatusCode::NOT_FOUND, code, error),
        DeskError::Moved { current, .. } => Problem::conflict(code, &error).with("revision", current),
        DeskError::Refused(ref refused) if code == "saga.output_invalid" => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, refused)
        }
        DeskError::Corrupt(ref cause) => {
            tracing::error!(%cause, "a saga cannot be read");
            Problem::conflict(code, "the saga is stored in a way that this build cannot read; it was logged")
        }
        DeskError::Refused(_) | DeskError::Unknown { .. } | DeskError::NoWait { .. } => Problem::conflict(code, error),
    }
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;
