//! The accept loop: connections in, within limits, until told to stop.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::options::Options;

/// The head of a request, in bytes: what browsers and proxies send, several times over.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Header fields of a request.
const MAX_HEADERS: usize = 128;
/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 100;
/// Streams a client may open and reset before the connection is given up (rapid reset).
const MAX_RESETS: usize = 64;
/// How often a silent HTTP/2 connection is asked whether somebody is there, and how long for an answer.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
/// The pause after `accept` failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` on `listener` until `shutdown`, HTTP/1.1 and HTTP/2 without TLS. Then no connection is
/// accepted any more, open requests get [`Options::drain`] to end, and what is still open after that is cut.
/// Live streams have to end by themselves on the same signal; those behind [`router`](crate::router) do.
pub async fn serve(listener: TcpListener, router: Router, options: Options, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(options.max_connections.min(Semaphore::MAX_PERMITS)));
    let builder = builder(&options);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    while let Some((stream, place)) = next(&listener, &places, &shutdown).await {
        let connection = begun(
            stream,
            builder.clone(),
            router.clone(),
            options.header_timeout,
            graceful.watcher(),
            shutdown.clone(),
        );
        connections.spawn(async move {
            connection.await;
            drop(place);
        });
        // The set would otherwise keep every finished task.
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    if tokio::time::timeout(options.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests did not end in time; their connections are cut");
    }
    connections.shutdown().await;
}

fn builder(options: &Options) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // Without a timer hyper's own timeouts do nothing.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_timeout)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES as u32)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1);
    builder
}

/// The next connection and its place; `None` once shutdown began.
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let accepted = async {
        // The place comes first: without one the connection waits in the backlog, at no cost to us.
        let place = places.clone().acquire_owned().await.ok()?;
        loop {
            match accept(listener).await {
                Ok(stream) => return Some((stream, place)),
                Err(error) => {
                    tracing::warn!(%error, "no connection can be accepted now");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(accepted).await.flatten()
}

async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are written whole; waiting for more would only delay them.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            // The client went away between its SYN and our accept.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {
            }
            Err(error) => return Err(error),
        }
    }
}

/// Waits for the first byte of a connection, then serves it. One that says nothing has no buffers yet: it costs a
/// kilobyte or two, and is ours to close.
async fn begun(
    stream: TcpStream,
    builder: Builder<TokioExecutor>,
    router: Router,
    header_timeout: Duration,
    watcher: Watcher,
    shutdown: CancellationToken,
) {
    let first = tokio::time::timeout(header_timeout, stream.readable());
    match shutdown.run_until_cancelled(first).await {
        // Boxed, so that those who wait need no room for it.
        Some(Ok(Ok(()))) => Box::pin(connection(stream, builder, router, header_timeout, watcher)).await,
        _ => drop(watcher),
    }
}

/// Serves one connection to its end.
async fn connection(
    stream: TcpStream,
    builder: Builder<TokioExecutor>,
    router: Router,
    header_timeout: Duration,
    watcher: Watcher,
) {
    let peer: Option<SocketAddr> = stream.peer_addr().ok();
    let asked = Arc::new(AtomicBool::new(false));
    let mark = asked.clone();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        mark.store(true, Ordering::Relaxed);
        if let Some(peer) = peer {
            request.extensions_mut().insert(axum::extract::ConnectInfo(peer));
        }
        // Boxed: hyper keeps the room of an answer while there is none.
        Box::pin(answer(router.clone(), request))
    });
    let mut served = Box::pin(watcher.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned()));
    // hyper counts from the first byte of a request, and not at all while it tells HTTP/1 from HTTP/2: a client
    // that connects and sends half a preface is ours to close.
    tokio::select! {
        _ = &mut served => return,
        () = tokio::time::sleep(header_timeout) => {}
    }
    if asked.load(Ordering::Relaxed) {
        // Errors here are the client's: resets, half requests. They are not worth a line each.
        let _ = served.await;
    }
}

async fn answer(router: Router, request: hyper::Request<Incoming>) -> Result<Response, Infallible> {
    router.oneshot(Request::from(request.map(axum::body::Body::new))).await
}
