//! The gate of the log for what endpoints of push subscriptions answer: that of `POST /v1/events`.

use std::sync::Arc;

use axum::http::HeaderMap;
use bytes::Bytes;
use tidewire::http::Problem;
use tidewire::push::{Admission, Refusal};
use tidewire::{Envelope, EventType, Key, Ports};

use super::parse::{Came, Content, Defaults, parse};
use crate::contracts::{Contracts, Known};

/// Takes from an endpoint's answer what `POST /v1/events` would take from a client, and refuses the rest with the same codes.
pub fn admission(ports: &Ports, contracts: Arc<Contracts>) -> Arc<dyn Admission> {
    Arc::new(Gate { ports: ports.clone(), contracts })
}

struct Gate {
    ports: Ports,
    contracts: Arc<Contracts>,
}

impl Gate {
    fn one(&self, came: Result<Came, Problem>, defaults: &Defaults, key: &str) -> Result<Envelope, Problem> {
        let mut came = came?;
        let is_foreign = matches!(self.contracts.known(came.envelope.ty.name()), Some(Known::Foreign(_)));
        if is_foreign && !came.has_key {
            came.envelope.key = Key::new(Arc::<str>::from(key)).map_err(Problem::invalid)?;
            came.has_key = true;
        }
        self.contracts.admit(came, defaults.now, self.ports.broker.features().max_event_bytes)
    }
}

impl Admission for Gate {
    fn types(&self) -> Vec<EventType> {
        self.contracts.types()
    }

    fn admit(&self, headers: &HeaderMap, body: Bytes, key: &str) -> Result<Vec<Envelope>, Refusal> {
        let defaults = Defaults { now: self.ports.clock.now(), traceparent: None };
        let all = match parse(headers, body, &defaults).map_err(refusal)? {
            Content::One(came) => vec![*came],
            Content::Batch(batch) => batch,
        };
        all.into_iter().map(|came| self.one(came, &defaults, key).map_err(refusal)).collect()
    }
}

fn refusal(problem: Problem) -> Refusal {
    Refusal { code: problem.code, detail: problem.detail }
}
