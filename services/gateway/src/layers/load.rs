//! How much is done at once.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tidewire::http::Problem;
use tokio::sync::Semaphore;

use super::is_probe;

/// When to come again: what is under way takes milliseconds each.
const AGAIN: Duration = Duration::from_secs(1);

/// The places for requests.
#[derive(Clone)]
pub struct Load(Arc<Semaphore>);

impl Load {
    /// So many at once.
    pub fn new(at_once: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_once.min(Semaphore::MAX_PERMITS))))
    }
}

/// Answers 503 `http.overloaded` at once when every place is taken: a queue would only make everybody wait longer than
/// they do. A place is free again with the head of the answer, so live streams hold none; probes need none.
pub async fn load(State(load): State<Load>, request: Request, next: Next) -> Response {
    if is_probe(request.uri().path()) {
        return next.run(request).await;
    }
    let Ok(_place) = load.0.try_acquire() else {
        let detail = "too many requests are under way; try again in a moment";
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "http.overloaded", detail);
        return problem.retry_after(AGAIN).into_response();
    };
    next.run(request).await
}
