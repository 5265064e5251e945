//! How slowly a body may come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use tidewire::http::Problem;
use tokio::time::Instant;

use crate::options::Options;

/// What a body must bring on average, in bytes per second, once its first seconds are over: slower than any modem,
/// and fast enough that a body of a megabyte cannot take the evening.
const LEAST_RATE: u64 = 1_024;

const READING: u8 = 0;
const WHOLE: u8 = 1;
const LATE: u8 = 2;

/// Gives up bodies that come too slowly: 408 `http.body_too_slow`, and the connection is closed. A body may pause for
/// [`Options::header_timeout`] in all, and otherwise has to bring a kilobyte per second.
pub async fn pace(State(options): State<Options>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let state = Arc::new(AtomicU8::new(READING));
    let (grace, seen) = (options.header_timeout, state.clone());
    let request = request.map(|body| Body::from_stream(paced(body, grace, seen)));
    let response = next.run(request).await;
    let timed_out = response.extensions().get::<Problem>().is_some_and(|problem| problem.code == "http.timeout");
    match state.load(Ordering::Acquire) {
        LATE => too_slow(),
        // The time ran out, and it was the client's doing.
        READING if timed_out => too_slow(),
        _ => response,
    }
}

fn too_slow() -> Response {
    let detail = "the body came too slowly, or not at all; nothing was done";
    let mut response = Problem::new(StatusCode::REQUEST_TIMEOUT, "http.body_too_slow", detail).into_response();
    // What is left of the body would be taken for the next request.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The body, until it is late.
fn paced(body: Body, grace: Duration, state: Arc<AtomicU8>) -> impl Stream<Item = Result<Bytes, axum::BoxError>> {
    struct Reading<S> {
        chunks: S,
        begun: Instant,
        bytes: u64,
    }
    let reading = Reading { chunks: body.into_data_stream(), begun: Instant::now(), bytes: 0 };
    stream::unfold(Some(reading), move |reading| {
        let state = state.clone();
        async move {
            let mut reading = reading?;
            let due = grace.saturating_add(Duration::from_secs(reading.bytes / LEAST_RATE));
            // What is here already is taken, however late: the wait may have been ours.
            match tokio::time::timeout_at(reading.begun + due, reading.chunks.next()).await {
                Ok(Some(Ok(chunk))) => {
                    reading.bytes += chunk.len() as u64;
                    Some((Ok(chunk), Some(reading)))
                }
                Ok(Some(Err(error))) => Some((Err(error.into()), None)),
                Ok(None) => {
                    state.store(WHOLE, Ordering::Release);
                    None
                }
                Err(_) => {
                    state.store(LATE, Ordering::Release);
                    Some((Err("the body came too slowly".into()), None))
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body of `chunks` pieces, one each `every`.
    async fn read(chunks: u32, bytes: usize, every: Duration) -> (u8, usize) {
        let pieces = stream::unfold(0, move |n| async move {
            tokio::time::sleep(every).await;
            (n < chunks).then(|| (Ok::<_, axum::BoxError>(Bytes::from(vec![b'x'; bytes])), n + 1))
        });
        let state = Arc::new(AtomicU8::new(READING));
        let body = paced(Body::from_stream(pieces), Duration::from_millis(200), state.clone());
        let read = body.filter_map(|chunk| async { chunk.ok().map(|chunk| chunk.len()) }).collect::<Vec<_>>().await;
        (state.load(Ordering::Acquire), read.into_iter().sum())
    }

    #[tokio::test]
    async fn a_drip_is_given_up_and_a_slow_line_is_not() {
        let ms = Duration::from_millis;
        assert_eq!(read(1_000, 1, ms(10)).await.0, LATE, "a byte now and then");
        assert_eq!(read(1, 1, ms(2_000)).await, (LATE, 0), "a first byte that does not come");
        assert_eq!(read(100, 1_024, ms(5)).await, (WHOLE, 102_400), "a slow line");
        assert_eq!(read(2, 10, ms(20)).await, (WHOLE, 20), "a pause");
    }
}
