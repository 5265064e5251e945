//! The time limit of a request.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tidewire::http::Problem;

use crate::options::Options;

/// How long a client is asked to wait after its request took too long.
const AGAIN: Duration = Duration::from_secs(1);

/// Answers 503 `http.timeout` when the head of the answer is not there in time, the reading of the body
/// included. A commit that was already handed to the store runs to its end: only the answer is lost, which an
/// `Idempotency-Key` brings back.
pub async fn patience(State(options): State<Options>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(options.request_timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = "the request took too long and may or may not have been carried out; repeat it with the \
                          same Idempotency-Key";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "http.timeout", detail).retry_after(AGAIN).into_response()
        }
    }
}
