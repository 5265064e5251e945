//! The audit over HTTP: long work, so one at a time and with a time limit of its own.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tidewire::http::{Json, Problem};
use tidewire::operate::{Audit, Operator};
use tokio::sync::Semaphore;

use crate::layers::AUDIT;
use crate::operate::problem;

/// Audits at once: each reads the whole log and holds about 30 bytes per event on the broker.
const AT_ONCE: usize = 1;

#[derive(Clone)]
struct Auditor {
    operator: Operator,
    turns: Arc<Semaphore>,
}

pub(crate) fn routes(operator: Operator) -> Router {
    let auditor = Auditor { operator, turns: Arc::new(Semaphore::new(AT_ONCE)) };
    Router::new().route(AUDIT, get(audit)).with_state(auditor)
}

/// Every event of the log, looked for on the broker and with every consumer. What is on its way counts as lost:
/// ask again when it has arrived. 503 `http.unavailable` while another audit runs.
async fn audit(State(auditor): State<Auditor>) -> Result<Json<Audit>, Problem> {
    let Ok(_turn) = auditor.turns.try_acquire() else {
        let detail = "another audit is running";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "http.unavailable", detail)
            .retry_after(std::time::Duration::from_secs(5)));
    };
    Ok(Json(auditor.operator.audit().await.map_err(problem)?))
}
