//! An HTTP endpoint that takes events, remembers every request, and answers as a test tells it to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::Value;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Which try of this event it is, from 1.
    pub attempt: u32,
}

impl Received {
    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// A member of the data.
    pub fn data(&self, name: &str) -> Value {
        let data: Value = serde_json::from_slice(&self.body).expect("JSON");
        data[name].clone()
    }
}

/// What is answered, and after how long.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub after: Duration,
}

impl Reply {
    /// A status and nothing else.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// 200 with an event in structured mode.
    pub fn event(event: &Value) -> Self {
        let headers = vec![("content-type".to_owned(), "application/cloudevents+json".to_owned())];
        Self { status: 200, headers, body: event.to_string(), after: Duration::ZERO }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn after(mut self, after: Duration) -> Self {
        self.after = after;
        self
    }
}

type Answer = dyn Fn(&Received) -> Reply + Send + Sync;

/// The endpoint, on a free port of this machine.
#[derive(Clone)]
pub struct Endpoint {
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    answer: Box<Answer>,
    received: Mutex<Vec<Received>>,
    tries: Mutex<HashMap<String, u32>>,
}

impl Endpoint {
    /// One that answers so.
    pub async fn start(answer: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared { answer: Box::new(answer), received: Mutex::default(), tries: Mutex::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let agree = || async { [("webhook-allowed-origin", "*")] };
        let routes = Router::new().route("/hook", post(take).options(agree)).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, shared }
    }

    /// Every request so far, in the order in which they came.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared.received).clone()
    }

    /// The member `n` of every event of `key`, as they came: tries of the same one are there once, at their last.
    pub fn numbers(&self, key: &str) -> Vec<u64> {
        let mut last: Vec<(String, u64)> = Vec::new();
        for request in self.received().iter().filter(|request| request.data("key") == key) {
            let id = request.header("webhook-id").to_owned();
            last.retain(|(other, _)| *other != id);
            last.push((id, request.data("n").as_u64().expect("a number")));
        }
        last.into_iter().map(|(_, n)| n).collect()
    }
}

async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let attempt = {
        let mut tries = lock(&shared.tries);
        let tries = tries.entry(id).or_default();
        *tries += 1;
        *tries
    };
    let received = Received { headers, body, attempt };
    let reply = (shared.answer)(&received);
    lock(&shared.received).push(received);
    tokio::time::sleep(reply.after).await;
    let mut response = (StatusCode::from_u16(reply.status).expect("a status"), reply.body).into_response();
    for (name, value) in reply.headers {
        let name = axum::http::HeaderName::try_from(name).expect("a name");
        response.headers_mut().insert(name, value.parse().expect("a value"));
    }
    response
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test panicked in here")
}
