//! Read-your-writes: a read that carries the position of the caller's last write waits for it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tidewire::handler::Consumer;
use tidewire::http::{Problem, caught_up, position_of};
use tidewire::{Position, Store};

/// How long a read waits. Consumers are mostly milliseconds behind; one that is seconds behind will not be
/// there in the next two either.
const PATIENCE: Duration = Duration::from_secs(2);

/// The consumers whose work the routes of one service show.
#[derive(Clone)]
pub struct Readers {
    /// The log they read.
    pub store: Arc<dyn Store>,
    /// All of them.
    pub consumers: Arc<[Consumer]>,
}

/// Lets a GET with `Tidewire-Position` wait until all readers have handled the log up to there: 503
/// `http.behind` if they have not within two seconds. To read what is there, leave the header out.
pub async fn reads(State(readers): State<Readers>, request: Request, next: Next) -> Response {
    if !request.method().is_safe() {
        return next.run(request).await;
    }
    let waited = match position_of(request.headers()) {
        Ok(None) => return next.run(request).await,
        Ok(Some(position)) => readers.wait(position).await,
        Err(problem) => Err(problem),
    };
    match waited {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

impl Readers {
    async fn wait(&self, position: Position) -> Result<(), Problem> {
        if position > self.store.head().await? {
            let detail = "the log has not come so far; the position is of another log";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "http.invalid_position", detail));
        }
        let waits = self.consumers.iter().map(|consumer| async move {
            caught_up(self.store.as_ref(), &consumer.name, &consumer.names(), position, PATIENCE).await
        });
        let caught_up = futures::future::try_join_all(waits).await?;
        if caught_up.into_iter().all(|caught_up| caught_up) {
            return Ok(());
        }
        let detail = format!("what follows from position {position} is not ready to be read yet; try again");
        Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "http.behind", detail).retry_after(Duration::from_secs(1)))
    }
}
