//! The audit, comparing log and broker, and retiring old events, over HTTP: long work, so one at a time and with time limits of their own.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde::Deserialize;
use tidewire::http::{Json, Problem};
use tidewire::operate::{Audit, Operator, Retirement};
use tidewire::reconcile::{Reconciled, Since};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::layers::{AUDIT, RECONCILE, RETIRE};
use crate::operate::problem;

/// Audits and comparisons at once: each reads the log and the broker, and holds up to 30 MiB.
const AT_ONCE: usize = 1;
/// The most events one request retires: about a second's work.
const MAX_RETIRE: usize = 50_000;
/// The longest reason that is logged.
const MAX_REASON_CHARS: usize = 500;

#[derive(Clone)]
struct Auditor {
    operator: Operator,
    turns: Arc<Semaphore>,
}

pub(crate) fn routes(operator: Operator) -> Router {
    let auditor = Auditor { operator, turns: Arc::new(Semaphore::new(AT_ONCE)) };
    Router::new()
        .route(AUDIT, get(audit))
        .route(RECONCILE, post(reconcile))
        .route(RETIRE, post(retire))
        .with_state(auditor)
}

impl Auditor {
    /// 503 `http.unavailable` while somebody else has the turn.
    fn turn(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.turns.try_acquire().map_err(|_| {
            let detail = "another audit or comparison is running";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "http.unavailable", detail)
                .retry_after(std::time::Duration::from_secs(5))
        })
    }
}

/// Every event of the log, looked for on the broker and with every consumer. What is on its way counts as lost:
/// ask again when it has arrived. 503 `http.unavailable` while another one runs.
async fn audit(State(auditor): State<Auditor>) -> Result<Json<Audit>, Problem> {
    let _turn = auditor.turn()?;
    Ok(Json(auditor.operator.audit().await.map_err(problem)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reconcile {
    /// A position, a time or a duration; without it, what the broker may be expected to hold.
    since: Option<String>,
    #[serde(default)]
    dry_run: bool,
    /// Why, for those who read the log later.
    reason: Option<String>,
}

/// Compares log and broker, and has the relay publish again what is missing. Repeating it is harmless: what is there
/// is not published again.
async fn reconcile(State(auditor): State<Auditor>, Json(asked): Json<Reconcile>) -> Result<Json<Reconciled>, Problem> {
    let since: Option<Since> = asked
        .since
        .map(|text| text.parse())
        .transpose()
        .map_err(|error: tidewire::reconcile::UnknownSince| Problem::invalid(error).with("parameter", "since"))?;
    let _turn = auditor.turn()?;
    if !asked.dry_run {
        let reason: String = asked.reason.unwrap_or_default().chars().take(MAX_REASON_CHARS).collect();
        tracing::info!(?since, reason, "comparing log and broker");
    }
    Ok(Json(auditor.operator.reconcile(since, asked.dry_run).await.map_err(problem)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Retire {
    /// A position, a time or a duration: only events before it.
    before: String,
    /// How many events to remove at most; as many as one request may, when it does not say.
    limit: Option<usize>,
    #[serde(default)]
    dry_run: bool,
    /// Why, for those who read the log later.
    reason: Option<String>,
}

/// Removes the oldest events, as far as nobody needs them; the answer names who does. To be repeated with a position
/// until nothing is removed.
async fn retire(State(auditor): State<Auditor>, Json(asked): Json<Retire>) -> Result<Json<Retirement>, Problem> {
    let before: Since = asked
        .before
        .parse()
        .map_err(|error: tidewire::reconcile::UnknownSince| Problem::invalid(error).with("parameter", "before"))?;
    let limit = asked.limit.unwrap_or(MAX_RETIRE);
    if !(1..=MAX_RETIRE).contains(&limit) {
        return Err(Problem::invalid(format!("`limit` must be a number from 1 to {MAX_RETIRE}")));
    }
    let _turn = auditor.turn()?;
    if !asked.dry_run {
        let reason: String = asked.reason.unwrap_or_default().chars().take(MAX_REASON_CHARS).collect();
        tracing::info!(?before, limit, reason, "retiring the oldest events");
    }
    Ok(Json(auditor.operator.retire(before, limit, asked.dry_run).await.map_err(problem)?))
}
