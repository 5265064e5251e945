//! The time limit of a request.

use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tidewire::http::Problem;

use crate::options::Options;

/// How long a client is asked to wait after its request took too long.
const AGAIN: Duration = Duration::from_secs(1);

/// The route that reads the whole log.
pub const AUDIT: &str = "/v1/audit";
/// The route that compares log and broker.
pub const RECONCILE: &str = "/v1/log/reconcile";
/// The route that removes the oldest events of the log.
pub const RETIRE: &str = "/v1/log/retire";
/// The route that plans a replay: it reads all that the plan is about.
pub const REPLAY_PLAN: &str = "/v1/replays/plans";
/// The route that runs a handler for a window of events.
pub const REPLAY_RECORDING: &str = "/v1/replays/recordings";
/// The route that plans a rebuild and begins with it.
const REBUILD: &str = "/v1/projections/{name}/rebuild";
/// Routes that may take longer than others, and how long.
const LONG: [(&str, Duration); 6] = [
    (AUDIT, Duration::from_secs(600)),
    (RECONCILE, Duration::from_secs(600)),
    (RETIRE, Duration::from_secs(600)),
    (REPLAY_PLAN, Duration::from_secs(600)),
    (REPLAY_RECORDING, Duration::from_secs(600)),
    (REBUILD, Duration::from_secs(600)),
];

/// Answers 503 `http.timeout` when the head of the answer is not there in time, the reading of the body
/// included. A commit that was already handed to the store runs to its end: only the answer is lost, which an
/// `Idempotency-Key` brings back.
pub async fn patience(State(options): State<Options>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let limit = limit(options.request_timeout, route);
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = "the request took too long and may or may not have been carried out; repeat it with the \
                          same Idempotency-Key";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "http.timeout", detail).retry_after(AGAIN).into_response()
        }
    }
}

/// The time that a route has when others have `usual`.
fn limit(usual: Duration, route: Option<&str>) -> Duration {
    let long = LONG.iter().find(|(long, _)| route == Some(*long));
    long.map_or(usual, |(_, limit)| usual.max(*limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audit_is_not_hurried() {
        let seconds = |usual, route| limit(Duration::from_secs(usual), route).as_secs();
        assert_eq!([seconds(30, None), seconds(30, Some("/v1/status"))], [30, 30]);
        assert_eq!([seconds(30, Some("/v1/audit")), seconds(3_600, Some("/v1/audit"))], [600, 3_600]);
    }
}
