//! The router as clients meet it, over a real store in a temporary directory.

mod edge;
mod events;
mod idempotency;
mod live;
mod operate;
mod serve;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tidewire::broker::{Features, Lag, Published, Subscribe};
use tidewire::chrono::{DateTime, TimeDelta, Utc};
use tidewire::operate::Operator;
use tidewire::{Broker, BrokerError, Envelope, ManualClock, Ports, Subscription, async_trait};
use tidewire_store::{SqliteOptions, SqliteStore};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{Health, Options, Part, router, service};

/// The largest event the broker takes in these tests.
const MAX_EVENT_BYTES: usize = 64 * 1024;

/// A gateway on its store.
struct House {
    router: Router,
    ports: Ports,
    clock: Arc<ManualClock>,
    health: Health,
    stop: CancellationToken,
    _dir: TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Status and code, for tables.
    fn problem(&self) -> (u16, String) {
        if self.status.is_success() {
            return (self.status.as_u16(), String::new());
        }
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        let json = self.json();
        assert_eq!(json["status"], self.status.as_u16());
        assert!(json["trace_id"].is_string() && json["instance"].is_string() && json["title"].is_string(), "{json}");
        let code = json["code"].as_str().unwrap().to_owned();
        assert!(tidewire::codes::explain(&code).is_some(), "`{code}` is not explained");
        (self.status.as_u16(), code)
    }
}

impl House {
    async fn new() -> Self {
        Self::with(Options::default(), |_| Router::new()).await
    }

    /// A house with routes of its own beside the gateway's.
    async fn with(options: Options, routes: impl FnOnce(&Ports) -> Router) -> Self {
        Self::of(options, |ports| Part { routes: routes(ports), readers: Vec::new() }).await
    }

    async fn of(options: Options, part: impl FnOnce(&Ports) -> Part) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let start: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock = Arc::new(ManualClock::new(start, 1));
        let store = SqliteStore::open(SqliteOptions::new(dir.path()), clock.clone()).await.unwrap();
        let ports = Ports { store: Arc::new(store), broker: Arc::new(NoBroker), clock: clock.clone() };
        let (health, stop) = (Health::new(), CancellationToken::new());
        let operator = Operator::new(&ports, Vec::new(), Default::default());
        let parts = [Part::from(&service(&ports, operator)), part(&ports)];
        let router = router(&ports, parts, &health, &options, stop.clone());
        Self { router, ports, clock, health, stop, _dir: dir }
    }

    async fn send(&self, request: Request) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(body.into()).unwrap() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(request("GET", path, &[], "")).await
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.send(request("POST", path, headers, body)).await
    }

    fn pass(&self, time: TimeDelta) {
        self.clock.advance(time);
    }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Request {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::from(body.to_owned())).unwrap()
}

/// A broker that nobody listens to.
struct NoBroker;

#[async_trait]
impl Broker for NoBroker {
    async fn publish(&self, batch: Vec<Envelope>) -> Vec<Result<Published, BrokerError>> {
        batch.iter().map(|_| Err(BrokerError::Closed)).collect()
    }
    async fn subscribe(&self, _: Subscribe) -> Result<Box<dyn Subscription>, BrokerError> {
        Err(BrokerError::Closed)
    }
    async fn lag(&self) -> Result<Vec<Lag>, BrokerError> {
        Ok(Vec::new())
    }
    async fn scan(&self, _: Option<String>, _: usize) -> Result<(Vec<Envelope>, Option<String>), BrokerError> {
        Ok((Vec::new(), None))
    }
    fn features(&self) -> Features {
        Features {
            backend: "none",
            durability: "mem",
            multi_process: false,
            delayed_retry: false,
            durable_attempts: false,
            max_event_bytes: MAX_EVENT_BYTES,
            dedupe_window_events: 0,
        }
    }
    async fn close(&self) {}
}
