//! Replays and projections over HTTP.

mod docs;

use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{Extensions, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidewire::http::{Json, Page, Problem};
use tidewire::identity::Operation;
use tidewire::operate::Actor;
use tidewire::replay::differential::Recording;
use tidewire::replay::{Asked, Job, Plan, ProjectionRow, RebuildRequest, ReplayError, Replays, Request, Wanted};
use tidewire::{Envelope, Position};

use crate::auth;
use crate::layers::{REPLAY_PLAN, REPLAY_RECORDING};
use crate::operate::told;

pub(crate) use docs::docs;

/// The largest window of events handed in to be recorded, in bytes.
const MAX_WINDOW_BYTES: usize = 64 << 20;
/// The most events of a window: what a handler does for each of them is held in memory.
const MAX_WINDOW: usize = 100_000;
/// Events of a plan in one answer, and their bytes, roughly.
const PAGE: usize = 1_000;
const MAX_PAGE_BYTES: usize = 4 << 20;
/// How long one request may carry replays out.
const MAX_WORK: Duration = Duration::from_secs(10);

pub(crate) fn routes(replays: Replays) -> Router {
    Router::new()
        .route(REPLAY_PLAN, post(plan))
        .route("/v1/replays/plans/{hash}", get(planned))
        .route(REPLAY_RECORDING, post(record).layer(DefaultBodyLimit::max(MAX_WINDOW_BYTES)))
        .route("/v1/replays", get(list).post(apply))
        .route("/v1/replays/{id}", get(one))
        .route("/v1/replays/{id}/events", get(events))
        .route("/v1/replays/{id}/stop", post(stop))
        .route("/v1/replays/{id}/work", post(work))
        .route("/v1/projections", get(projections))
        .route("/v1/projections/{name}/rebuild", post(rebuild))
        .with_state(replays)
}

/// A replay, and how long it will take.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    job: Job,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_left: Option<f64>,
}

impl From<Job> for Shown {
    fn from(job: Job) -> Self {
        Self { seconds_left: job.seconds_left(), job }
    }
}

/// What would be replayed, to whom, and what that would do. Nothing but the plan itself is kept.
async fn plan(State(replays): State<Replays>, Json(request): Json<Request>) -> Result<Response, Problem> {
    let plan = replays.plan(&request).await.map_err(problem)?;
    Ok((StatusCode::CREATED, Json(plan)).into_response())
}

async fn planned(State(replays): State<Replays>, Path(hash): Path<String>) -> Result<Json<Plan>, Problem> {
    Ok(Json(replays.planned(&hash).await.map_err(problem)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Apply {
    /// The plan.
    plan: String,
    reason: Option<String>,
    #[serde(default)]
    with_effects: bool,
}

/// Has a plan carried out in the background, or goes on with one that stopped. 200 when it is done already.
async fn apply(State(replays): State<Replays>, actor: Actor, Json(body): Json<Apply>) -> Result<Response, Problem> {
    let asked = Asked { actor, reason: told(body.reason), with_effects: body.with_effects };
    let job = replays.apply(&body.plan, &asked).await.map_err(problem)?;
    let status = if job.state.is_open() { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, Json(Shown::from(job))).into_response())
}

async fn list(State(replays): State<Replays>) -> Result<Page<Shown>, Problem> {
    let jobs = replays.jobs().await.map_err(problem)?;
    Ok(Page { items: jobs.into_iter().map(Shown::from).collect(), cursor: None })
}

async fn one(State(replays): State<Replays>, Path(id): Path<String>) -> Result<Json<Shown>, Problem> {
    Ok(Json(replays.job(&id).await.map_err(problem)?.into()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Why {
    reason: Option<String>,
}

async fn stop(
    State(replays): State<Replays>,
    Path(id): Path<String>,
    actor: Actor,
    Json(why): Json<Why>,
) -> Result<Json<Shown>, Problem> {
    Ok(Json(replays.stop(&id, &actor, &told(why.reason)).await.map_err(problem)?.into()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Work {
    seconds: Option<f64>,
}

/// Carries out what is open, for a few seconds, in this very request: for where nothing runs in the background.
async fn work(
    State(replays): State<Replays>,
    Path(id): Path<String>,
    Json(work): Json<Work>,
) -> Result<Json<Shown>, Problem> {
    let seconds = work.seconds.filter(|seconds| seconds.is_finite()).unwrap_or(1.0);
    replays.work(Duration::from_secs_f64(seconds.clamp(0.0, MAX_WORK.as_secs_f64()))).await?;
    Ok(Json(replays.job(&id).await.map_err(problem)?.into()))
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

/// The events of a plan, for whoever writes them into a file. He has to be allowed to read every type among them: a file
/// that lacks some would pass for whole.
async fn events(
    State(replays): State<Replays>,
    Path(id): Path<String>,
    Query(After { after }): Query<After>,
    extensions: Extensions,
) -> Result<Json<Value>, Problem> {
    let (found, mut position, mut last) = replays.events(&id, Position(after), PAGE).await.map_err(problem)?;
    let caller = auth::caller(&extensions);
    let (mut items, mut bytes) = (Vec::new(), 0);
    for recorded in found {
        let name = recorded.envelope.ty.name();
        if !caller.scopes.allow(Operation::Events, Some(name)) {
            let detail = format!("the plan is about events of type `{name}`, which you may not read");
            return Err(Problem::new(StatusCode::FORBIDDEN, "auth.forbidden", detail));
        }
        bytes += recorded.envelope.data.as_ref().map_or(0, |data| data.len()) + 512;
        let at = recorded.position;
        items.push(json!({ "position": at, "event": recorded.envelope }));
        if bytes >= MAX_PAGE_BYTES && at < position {
            (position, last) = (at, false);
            break;
        }
    }
    Ok(Json(json!({ "items": items, "position": position, "last": last })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    consumer: String,
    /// Events of the log.
    #[serde(default)]
    events: Wanted,
    /// These events instead.
    given: Option<Vec<Envelope>>,
}

/// What a handler does for a window of events, without anything of it becoming true.
async fn record(State(replays): State<Replays>, Json(body): Json<Record>) -> Result<Json<Recording>, Problem> {
    Ok(Json(replays.record(&body.consumer, &body.events, body.given, MAX_WINDOW).await.map_err(problem)?))
}

async fn projections(State(replays): State<Replays>) -> Result<Page<ProjectionRow>, Problem> {
    Ok(Page { items: replays.projections().await.map_err(problem)?, cursor: None })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rebuild {
    #[serde(default)]
    rollback: bool,
    #[serde(default)]
    only_if_equal: bool,
    rate: Option<u32>,
    #[serde(default)]
    dry_run: bool,
    reason: Option<String>,
}

/// Plans the rebuild of a projection and has it carried out; with `dry_run` it only answers the plan.
async fn rebuild(
    State(replays): State<Replays>,
    Path(name): Path<String>,
    actor: Actor,
    Json(body): Json<Rebuild>,
) -> Result<Response, Problem> {
    let Rebuild { rollback, only_if_equal, rate, .. } = body;
    let asked = RebuildRequest { rollback, only_if_equal, rate };
    if body.dry_run {
        let plan = replays.plan_rebuild(&name, &asked).await.map_err(problem)?;
        return Ok((StatusCode::OK, Json(plan)).into_response());
    }
    let by = Asked { actor, reason: told(body.reason), with_effects: false };
    let job = replays.rebuild(&name, &asked, &by).await.map_err(problem)?;
    Ok((StatusCode::ACCEPTED, Json(Shown::from(job))).into_response())
}

fn problem(error: ReplayError) -> Problem {
    let code = error.code();
    match error {
        ReplayError::Store(error) => error.into(),
        ReplayError::NoConsumer { .. } | ReplayError::NotFound { .. } => {
            Problem::new(StatusCode::NOT_FOUND, code, error)
        }
        ReplayError::Invalid(_) | ReplayError::Filter(_) => Problem::new(StatusCode::BAD_REQUEST, code, error),
        ReplayError::Refused { .. } => Problem::conflict(code, error),
    }
}
