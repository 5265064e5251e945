//! Requests of the demo: each with an idempotency key of its own, tried again while the instance is busy.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, Request, header};
use serde_json::Value;
use tidewire::{Backoff, Clock};

use crate::client::{Body, Client};
use crate::exit::Exit;
use crate::failure::Failure;

/// How often a request is tried while the instance says that it is busy: about a minute.
const MAX_TRIES: u32 = 40;
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));

/// Sends requests.
pub struct Requests {
    client: Client,
    clock: Arc<dyn Clock>,
}

impl Requests {
    /// Requests to `client`.
    pub fn new(client: Client, clock: Arc<dyn Clock>) -> Self {
        Self { client, clock }
    }

    /// Sends JSON, or nothing, and reads JSON.
    pub async fn send(&self, method: Method, target: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let text = body.map(Value::to_string);
        self.retried(method, target, |builder| {
            Ok(match &text {
                Some(text) => builder.header(header::CONTENT_TYPE, "application/json").body(Body::from(text.clone())),
                None => builder.body(Body::empty()),
            })
        })
        .await
    }

    /// Sends what `build` gives, again and again while the instance is busy: the key makes it one request.
    pub async fn retried(
        &self,
        method: Method,
        target: &str,
        mut build: impl FnMut(axum::http::request::Builder) -> Result<axum::http::Result<Request<Body>>, Failure>,
    ) -> Result<Value, Failure> {
        let key = self.clock.id().to_string();
        let mut tries = 0;
        loop {
            let mut builder = Request::builder().method(method.clone()).uri(target);
            if method != Method::GET {
                builder = builder.header("idempotency-key", &key);
            }
            let request = build(builder)?.map_err(|error| {
                Failure::new(Exit::Invalid, "http.invalid", format!("this cannot be asked for: {error}"))
            })?;
            match self.client.json(request).await {
                Ok((_, answer)) => return Ok(answer),
                Err(failure) if failure.exit == Exit::Unavailable && tries < MAX_TRIES => {
                    tries += 1;
                    tokio::time::sleep(BACKOFF.after(tries, self.clock.random())).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }
}
