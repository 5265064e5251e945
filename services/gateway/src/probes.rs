//! Probes and metrics.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::future::join_all;
use serde_json::{Value, json};
use tidewire::http::Json;
use tidewire::telemetry::metrics;
use tidewire::{Broker, BrokerError, Ports, Store, StoreError};
use tokio::time::Instant;

use crate::health::{Condition, Health};
use crate::layers::AsItIs;

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
/// named, but work is still taken: the log holds it until the broker is back. Everything else that is watched is
/// reported with it.
async fn readyz(State(probed): State<Probed>) -> Response {
    let (store, broker) = (probed.store.clone(), probed.broker.clone());
    let store = asked("store", true, async move {
        store.ping().await.map_or_else(|error| down("store", &error), |()| Condition::Up(None))
    });
    let broker = asked("broker", false, async move {
        broker.lag().await.map_or_else(|error| down("broker", &error), |_| Condition::Up(None))
    });
    let others = probed.health.checks().into_iter().map(|check| asked(check.name, false, check.ask()));
    let (store, broker, others) = tokio::join!(store, broker, join_all(others));
    let (started, draining) = (probed.health.is_started(), probed.health.is_draining());
    let ready = started && !draining && store.is_up();
    let status = match (draining, started, ready) {
        (true, _, _) => "draining",
        (_, false, _) => "starting",
        (_, _, true) => "ready",
        _ => "unavailable",
    };
    let word = |found: &Found| if found.is_up() { "up" } else { "down" };
    let (words, mut checks) = ((word(&store), word(&broker)), vec![store.to_json(), broker.to_json()]);
    checks.extend(others.iter().map(Found::to_json));
    answer(ready, json!({ "status": status, "store": words.0, "broker": words.1, "checks": checks }))
}

/// What a check found.
struct Found {
    name: &'static str,
    required: bool,
    condition: Condition,
    took: Duration,
}

async fn asked(name: &'static str, required: bool, check: impl Future<Output = Condition>) -> Found {
    let begun = Instant::now();
    let condition = tokio::time::timeout(PATIENCE, check).await;
    let condition = condition.unwrap_or_else(|_| Condition::Down(format!("no answer within {PATIENCE:?}")));
    Found { name, required, condition, took: begun.elapsed() }
}

/// The code is enough for whoever reaches a probe; the rest is for those who read the logs.
fn down(name: &str, error: &(impl std::fmt::Display + Coded)) -> Condition {
    tracing::debug!(%error, "the {name} does not answer a probe");
    Condition::Down(error.coded().to_owned())
}

trait Coded {
    fn coded(&self) -> &str;
}

impl Coded for StoreError {
    fn coded(&self) -> &str {
        self.code()
    }
}

impl Coded for BrokerError {
    fn coded(&self) -> &str {
        self.code()
    }
}

impl Found {
    fn is_up(&self) -> bool {
        !matches!(self.condition, Condition::Down(_))
    }

    fn to_json(&self) -> Value {
        let (status, detail) = match &self.condition {
            Condition::Up(detail) => ("up", detail.as_deref()),
            Condition::Degraded(detail) => ("degraded", Some(detail.as_str())),
            Condition::Down(detail) => ("down", Some(detail.as_str())),
        };
        let ms = (self.took.as_secs_f64() * 1e6).round() / 1e3;
        let mut value = json!({ "name": self.name, "status": status, "required": self.required, "ms": ms });
        if let Some(detail) = detail {
            value["detail"] = detail.into();
        }
        value
    }
}

fn answer(good: bool, body: serde_json::Value) -> Response {
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = Json(body).into_response();
    *response.status_mut() = status;
    response.extensions_mut().insert(AsItIs);
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
