//! Probes and metrics.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tidewire::http::Json;
use tidewire::telemetry::metrics;
use tidewire::{Broker, Ports, Store};

use crate::health::Health;

/// How long a dependency may take to answer a probe: kubelets give up after a second by default.
const PATIENCE: Duration = Duration::from_millis(900);

#[derive(Clone)]
struct Probed {
    store: Arc<dyn Store>,
    broker: Arc<dyn Broker>,
    health: Health,
}

pub(crate) fn routes(ports: &Ports, health: &Health) -> Router {
    let probed = Probed { store: ports.store.clone(), broker: ports.broker.clone(), health: health.clone() };
    Router::new()
        .route("/livez", get(livez))
        .route("/startupz", get(startupz))
        .route("/readyz", get(readyz))
        .route("/healthz", get(readyz))
        .route("/metrics", get(prometheus))
        .with_state(probed)
}

/// Alive: the event loop turns. Nothing else is asked: an outage of the store must not restart the fleet.
async fn livez() -> Response {
    Json(json!({ "status": "alive" })).into_response()
}

async fn startupz(State(probed): State<Probed>) -> Response {
    let started = probed.health.is_started();
    answer(started, json!({ "status": if started { "started" } else { "starting" } }))
}

/// Ready: the process can take work, which is to say that the store takes commits. A broker that is away is
/// named, but work is still taken: the log holds it until the broker is back.
async fn readyz(State(probed): State<Probed>) -> Response {
    let store = async { matches!(tokio::time::timeout(PATIENCE, probed.store.ping()).await, Ok(Ok(()))) };
    let broker = async { matches!(tokio::time::timeout(PATIENCE, probed.broker.lag()).await, Ok(Ok(_))) };
    let (store, broker) = tokio::join!(store, broker);
    let (started, draining) = (probed.health.is_started(), probed.health.is_draining());
    let ready = started && !draining && store;
    let status = match (draining, started, ready) {
        (true, _, _) => "draining",
        (_, false, _) => "starting",
        (_, _, true) => "ready",
        _ => "unavailable",
    };
    let word = |up: bool| if up { "up" } else { "down" };
    answer(ready, json!({ "status": status, "store": word(store), "broker": word(broker) }))
}

fn answer(good: bool, body: serde_json::Value) -> Response {
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = Json(body).into_response();
    *response.status_mut() = status;
    response
}

/// Prometheus text, or OpenMetrics for scrapers that ask for it.
async fn prometheus(headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let (kind, text) = if accept.contains("application/openmetrics-text") {
        (metrics::OPEN_METRICS_CONTENT_TYPE, metrics::render_open_metrics())
    } else {
        (metrics::CONTENT_TYPE, metrics::render())
    };
    ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], text).into_response()
}
