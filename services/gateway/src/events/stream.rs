//! `GET /v1/events/stream`: the log as it grows, as server-sent events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, stream};
use serde::Deserialize;
use tidewire::http::Problem;
use tidewire::store::Selection;
use tidewire::{Position, Recorded, Store, StoreError};
use tokio::sync::OwnedSemaphorePermit;

use crate::auth;

use super::Events;
use super::filter::Filter;

/// Events read ahead of the client.
const CHUNK: usize = 32;
/// Events a filter may pass over before the client is told how far the stream is: well under a second's work.
const TELL_EVERY: usize = 10_000;
/// How long a silent stream stays silent: proxies cut connections after a minute or so.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a browser waits before it connects again.
const RECONNECT: &str = "retry: 1000\n\n";
/// How long a client is asked to wait when there are too many streams.
const FULL: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
pub(super) struct From {
    from: Option<String>,
}

/// The live tail. Starts after `Last-Event-ID`, else after `from` (a position, `start`, or `now`, the default).
/// Ids are positions, so a client that connects again misses nothing and gets nothing twice. Nothing is
/// buffered: the log is read at the pace of the client.
pub(super) async fn stream(
    State(events): State<Events>,
    Query(From { from }): Query<From>,
    headers: HeaderMap,
    extensions: Extensions,
    uri: Uri,
) -> Result<Response, Problem> {
    let filter = Filter::of(&uri, &auth::caller(&extensions), &events.contracts)?;
    let store = events.ports.store.clone();
    let last = headers.get("last-event-id").map(|id| id.to_str().unwrap_or_default());
    let after = match last.or(from.as_deref()) {
        None | Some("now") => store.head().await?,
        Some("start") => Position(0),
        Some(number) => number
            .parse()
            .map(Position)
            .map_err(|_| Problem::invalid("`from` and `Last-Event-ID` are a position, `start` or `now`"))?,
    };
    let place = events.streams.clone().try_acquire_owned().map_err(|_| {
        let detail = "too many live streams are open";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "http.unavailable", detail).retry_after(FULL)
    })?;
    let selection = Selection { after, limit: CHUNK, ..filter.selection() };
    let tail = Tail {
        store,
        filter,
        selection,
        ready: VecDeque::from([Bytes::from_static(RECONNECT.as_bytes())]),
        passed: 0,
        _place: place,
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // For proxies that would collect the answer before they pass it on.
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, Body::from_stream(tail.frames())).into_response())
}

/// One client's place in the log.
struct Tail {
    store: Arc<dyn Store>,
    filter: Filter,
    /// `after` is the place: everything up to it was sent, or is not wanted.
    selection: Selection,
    ready: VecDeque<Bytes>,
    /// Events looked at since the client was last told anything.
    passed: usize,
    _place: OwnedSemaphorePermit,
}

impl Tail {
    /// Ends when the store does; the client connects again.
    fn frames(self) -> impl Stream<Item = Result<Bytes, StoreError>> {
        stream::try_unfold(self, |mut tail| async move {
            loop {
                if let Some(frame) = tail.ready.pop_front() {
                    return Ok(Some((frame, tail)));
                }
                tail.advance().await?;
            }
        })
    }

    /// A client whose filter lets nothing through for long must still hear that the stream is alive, and where it is.
    fn passed_over(&mut self, looked_at: usize) {
        self.passed = if self.ready.is_empty() { self.passed + looked_at } else { 0 };
        if self.passed >= TELL_EVERY {
            self.passed = 0;
            self.ready.push_back(format!("id: {}\n\n", self.selection.after).into());
        }
    }

    /// Reads on, or waits for something to read; leaves at least a heartbeat ready, or has moved the place.
    async fn advance(&mut self) -> Result<(), StoreError> {
        // The head is taken first: what is committed after this look is seen by the next one.
        let head = self.store.head().await?;
        let found = match head > self.selection.after {
            true => {
                self.selection.until = Some(head);
                self.store.read(&self.selection).await?
            }
            false => Vec::new(),
        };
        if let Some(last) = found.last() {
            self.selection.after = last.position;
            self.ready.extend(found.iter().filter(|event| self.filter.wants(&event.envelope)).map(frame));
            self.passed_over(found.len());
            return Ok(());
        }
        // Nothing up to the head is wanted: the place moves there, which the heartbeat tells the client.
        self.passed = 0;
        self.selection.after = self.selection.after.max(head);
        let waited = tokio::time::timeout(HEARTBEAT, self.store.wait(self.selection.after, HEARTBEAT)).await;
        if waited.is_err() || self.store.head().await? <= self.selection.after {
            self.ready.push_back(format!("id: {}\n\n", self.selection.after).into());
        }
        Ok(())
    }
}

/// One event as a frame. The type is safe to print, and line breaks in JSON are white space only.
fn frame(recorded: &Recorded) -> Bytes {
    let mut json = recorded.envelope.to_json();
    for byte in &mut json {
        if matches!(byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
    let head = format!("id: {}\nevent: {}\ndata: ", recorded.position, recorded.envelope.ty);
    Bytes::from([head.as_bytes(), &json, b"\n\n"].concat())
}
