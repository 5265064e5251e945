//! Effects: what was asked to be done outside, and those given up brought back to life.

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;
use tidewire::effect::{EffectPhase, EffectQuery};
use tidewire::http::shape::{self, Shape};
use tidewire::http::{Json, Page, PageQuery, Problem, RouteDoc};
use tidewire::operate::{Actor, EffectRow, MAX_RETRIED, Operator};

use crate::operate::{problem, told};

pub(crate) fn routes(operator: Operator) -> Router {
    Router::new().route("/v1/effects", get(list)).route("/v1/effects/retry", post(retry)).with_state(operator)
}

#[derive(Deserialize)]
struct Asked {
    state: Option<EffectPhase>,
    consumer: Option<String>,
    cause: Option<String>,
}

/// In the order of their ids.
async fn list(
    State(operator): State<Operator>,
    Query(asked): Query<Asked>,
    page: PageQuery,
) -> Result<Page<EffectRow>, Problem> {
    let query = EffectQuery {
        phase: asked.state,
        consumer: asked.consumer,
        causes: asked.cause.into_iter().collect(),
        id: None,
        after: page.cursor,
        limit: page.limit + 1,
    };
    let rows = operator.effects(&query).await.map_err(problem)?;
    Ok(Page::cut(rows, page.limit, |row: &EffectRow| row.id.clone()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Retry {
    /// Only this one.
    id: Option<String>,
    /// Only those of this consumer.
    consumer: Option<String>,
    limit: Option<usize>,
    reason: Option<String>,
}

/// Begins anew with effects that were given up. Repeating it is harmless: they keep their idempotency keys.
async fn retry(
    State(operator): State<Operator>,
    actor: Actor,
    Json(body): Json<Retry>,
) -> Result<Json<serde_json::Value>, Problem> {
    let limit = body.limit.unwrap_or(MAX_RETRIED);
    if !(1..=MAX_RETRIED).contains(&limit) {
        return Err(Problem::invalid(format!("`limit` must be a number from 1 to {MAX_RETRIED}")));
    }
    let query = EffectQuery { id: body.id.clone(), consumer: body.consumer, limit, ..EffectQuery::default() };
    let retried = operator.retry_effects(&actor, &told(body.reason), &query).await.map_err(problem)?;
    if let (true, Some(id)) = (retried.is_empty(), body.id) {
        let query = EffectQuery { id: Some(id), limit: 1, ..EffectQuery::default() };
        return Err(match operator.effects(&query).await.map_err(problem)?.pop() {
            None => Problem::not_found("there is no effect with this id"),
            Some(row) => {
                let detail = format!("this effect is {}; only one that was given up can begin anew", row.state);
                Problem::new(StatusCode::CONFLICT, "effect.not_failed", detail)
            }
        });
    }
    Ok(Json(json!({ "items": retried })))
}

pub(crate) fn docs() -> Vec<RouteDoc> {
    vec![
        RouteDoc::get("/v1/effects", "listEffects", "What was asked to be done outside, in the order of ids.")
            .query(
                "state",
                shape::word(["pending", "done", "failed"]),
                "Only those in this state; `failed` is given up.",
            )
            .query("consumer", shape::text(), "Only those of this consumer.")
            .query("cause", shape::text(), "Only those that follow from this event.")
            .paged(row()),
        RouteDoc::post("/v1/effects/retry", "retryEffects", "Begins anew with effects that were given up.")
            .body(
                shape::object([
                    ("id?", shape::nullable(shape::text())),
                    ("consumer?", shape::nullable(shape::text())),
                    ("limit?", shape::nullable(shape::number(1, 500))),
                    ("reason?", shape::nullable(shape::text())),
                ])
                .closed()
                .example(json!({ "reason": "the mail server is back" })),
            )
            .answer(200, "Those that begin anew.", shape::object([("items", shape::list(row()))]))
            .problem(404, "http.not_found")
            .problem(409, "effect.not_failed"),
    ]
}

fn row() -> Shape {
    shape::object([
        ("id", shape::text()),
        ("consumer", shape::text()),
        ("cause", shape::text()),
        ("kind", shape::text()),
        ("target", shape::text()),
        ("state", shape::word(["pending", "done", "failed"])),
        ("due?", shape::time()),
        ("attempts", shape::count()),
        ("error?", shape::text()),
    ])
}
