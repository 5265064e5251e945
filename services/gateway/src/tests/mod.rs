//! The router as clients meet it, over a real store in a temporary directory.

mod edge;
mod events;
mod idempotency;
mod limits;
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
use tidewire::chrono::{DateTime, TimeDelta, Utc};
use tidewire::operate::Operator;
use tidewire::push::{PushOptions, Register};
use tidewire::testing::NoBroker;
use tidewire::{ManualClock, Ports};
use tidewire_store::{SqliteOptions, SqliteStore};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::events::admission;
use crate::{Contracts, Health, Options, Part, router, service, service_over, service_with};

/// A gateway on its store.
pub(crate) struct House {
    router: Router,
    pub ports: Ports,
    pub clock: Arc<ManualClock>,
    health: Health,
    stop: CancellationToken,
    /// What its routes promise; every answer is held to it.
    pub document: Arc<Value>,
    _dir: Arc<TempDir>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Status and code, for tables.
    pub(crate) fn problem(&self) -> (u16, String) {
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
    pub(crate) async fn with(options: Options, routes: impl FnOnce(&Ports) -> Router) -> Self {
        Self::of(options, |ports| Part { routes: routes(ports), ..Part::default() }).await
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
        let document = Arc::new(crate::openapi_document(&parts));
        let router = router(&ports, parts, &health, &options, stop.clone());
        Self { router, ports, clock, health, stop, document, _dir: Arc::new(dir) }
    }

    /// A house that knows these types.
    pub(crate) async fn speaking(contracts: Arc<Contracts>) -> Self {
        let house = Self::new().await;
        let operator = Operator::new(&house.ports, Vec::new(), Default::default());
        let parts = [Part::from(&service_with(&house.ports, operator, contracts))];
        let router = router(&house.ports, parts, &house.health, &Options::default(), house.stop.clone());
        Self { router, ..house }
    }

    /// A house whose push subscriptions behave so.
    pub(crate) async fn pushing(push: PushOptions) -> Self {
        let house = Self::new().await;
        let contracts = Arc::new(Contracts::default());
        let register = Register::new(&house.ports, push, admission(&house.ports, contracts.clone()));
        let directory = Arc::new(register.clone());
        let operator = Operator::new(&house.ports, Vec::new(), Default::default()).with_directory(directory);
        let parts = [Part::from(&service_over(&house.ports, operator, contracts, register))];
        let router = router(&house.ports, parts, &house.health, &Options::default(), house.stop.clone());
        Self { router, ..house }
    }

    /// A request with a JSON body, or without one.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(request(method, path, &[("content-type", "application/json")], &body)).await
    }

    /// The same house, as another process on the same store has it.
    pub(crate) fn again(&self, options: Options) -> Self {
        let operator = Operator::new(&self.ports, Vec::new(), Default::default());
        let parts = [Part::from(&service(&self.ports, operator))];
        let router = router(&self.ports, parts, &self.health, &options, self.stop.clone());
        let (ports, clock, health) = (self.ports.clone(), self.clock.clone(), self.health.clone());
        let (stop, document) = (self.stop.clone(), self.document.clone());
        Self { router, ports, clock, health, stop, document, _dir: self._dir.clone() }
    }

    /// A request of the machine's own, whatever the house asks of others.
    pub(crate) async fn inside(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let headers = [("content-type", "application/json")];
        self.again(Options::default()).send(request(method, path, &headers, &body)).await
    }

    /// A request without a body.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(request(method, path, headers, "")).await
    }

    async fn send(&self, request: Request) -> Answer {
        let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
        let text = String::from_utf8(body.into()).unwrap();
        let answer = Answer { status: parts.status, headers: parts.headers, text };
        crate::openapi::tests::check(&self.document, &method, &path, &answer);
        answer
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(request("GET", path, &[], "")).await
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.send(request("POST", path, headers, body)).await
    }

    pub(crate) fn pass(&self, time: TimeDelta) {
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
