//! For tests of services (feature `testing`): a service on a real store in a temporary directory, without a
//! broker. What the loops would do is done here one step after the other, so a test says when.
//!
//! Everything here panics where a test ought to fail.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tidewire_core::broker::{Extent, Features, Lag, Published, Subscribe};
use tidewire_core::{
    Broker, BrokerError, Commit, Committed, Effect, Envelope, Event, ManualClock, Mark, Seen, Store, Subscription, Unit,
};
use tidewire_store::{SqliteOptions, SqliteStore};
use tower::ServiceExt;

use crate::config::Config;
use crate::ports::Ports;
use crate::service::Service;

/// The largest event [`NoBroker`] claims to take.
pub const MAX_EVENT_BYTES: usize = 64 * 1024;
/// The largest answer [`Bench::call`] reads.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// Events one handler is given by [`Bench::settle`].
const MAX_UNHANDLED: usize = 10_000;

/// A broker that holds nothing and takes nothing.
pub struct NoBroker;

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
    async fn extent(&self) -> Result<Extent, BrokerError> {
        Ok(Extent { incarnation: "none".into(), last: 0 })
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

/// A service and the store under it.
pub struct Bench {
    /// What the service stands on.
    pub ports: Ports,
    /// The service.
    pub service: Service,
    _dir: TempDir,
}

impl Bench {
    /// `service` on an empty store, with these configuration keys set, at a fixed time.
    pub async fn new(service: fn(&Ports, &Config) -> Service, settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = "2026-11-20T13:14:15Z".parse().unwrap();
        let clock = Arc::new(ManualClock::new(now, 1));
        let store = SqliteStore::open(SqliteOptions::new(dir.path()), clock.clone()).await.unwrap();
        let ports = Ports { store: Arc::new(store), broker: Arc::new(NoBroker), clock };
        let service = service(&ports, &Config::with(settings.iter().copied()).unwrap());
        Self { ports, service, _dir: dir }
    }

    /// Appends an event of another service, and answers its id.
    pub async fn emit<E: Event>(&self, event: &E) -> String {
        let mut unit = Unit::new(self.ports.store.clone(), self.ports.clock.clone(), "bench", "/bench");
        let mut cx = unit.context(None, 1);
        cx.emit(event).unwrap();
        cx.keep();
        let commit = unit.into_commit();
        let id = commit.append[0].events[0].id.clone();
        assert!(matches!(self.ports.store.commit(commit).await.unwrap(), Committed::Applied { .. }));
        id
    }

    /// Lets every handler handle everything, each as one batch, and returns the effects asked for.
    pub async fn settle(&self) -> Vec<Effect> {
        let store: &Arc<dyn Store> = &self.ports.store;
        let mut effects = Vec::new();
        for handler in &self.service.handlers {
            let consumer = handler.consumer();
            let head = store.head().await.unwrap();
            let events = store.unhandled(&consumer.name, &consumer.names(), head, MAX_UNHANDLED).await.unwrap();
            let envelopes: Vec<&Envelope> = events.iter().map(|recorded| &recorded.envelope).collect();
            let mut unit = Unit::new(store.clone(), self.ports.clock.clone(), &consumer.name, "/bench");
            handler.prepare(&envelopes, &mut unit.context(None, 1)).await.unwrap();
            for envelope in &envelopes {
                let mut cx = unit.context(Some(envelope), 1);
                handler.handle(envelope, &mut cx).await.unwrap();
                cx.keep();
            }
            let mark = |envelope: &&Envelope| Seen { consumer: consumer.name.clone(), mark: Mark::of(envelope) };
            let commit = Commit { seen: envelopes.iter().map(mark).collect(), ..unit.into_commit() };
            effects.extend(commit.effects.iter().cloned());
            if !envelopes.is_empty() {
                assert!(matches!(store.commit(commit).await.unwrap(), Committed::Applied { .. }));
            }
        }
        effects
    }

    /// The answer of the service's own routes, without the gateway's layers. A `null` body is none.
    pub async fn call(&self, method: &str, uri: &str, body: Value) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(uri).header("content-type", "application/json");
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let response = self.service.routes.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), MAX_ANSWER_BYTES).await.unwrap();
        (status, if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() })
    }

    /// What a GET answers, which must be 200.
    pub async fn get(&self, uri: &str) -> Value {
        let (status, body) = self.call("GET", uri, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{uri}: {body}");
        body
    }
}
