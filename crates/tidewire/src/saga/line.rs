//! A definition without its types, so that several versions of one saga, and several sagas, fit into one list.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use tidewire_core::saga::stall::{StallError, Stored};
use tidewire_core::saga::{
    Advanced, Definition, Failure, Input, Order, Outlook, Refused, Saga, SagaLog, SagaRef, Status,
};
use tidewire_core::{Draft, Envelope, Event, EventType, Key, SchemaError};
use uuid::Uuid;

/// One version of one saga.
pub(super) trait Line: Send + Sync {
    fn name(&self) -> &'static str;
    fn definition(&self) -> u16;
    /// What it reads.
    fn types(&self) -> Vec<EventType>;
    /// Whether an instance was begun with it.
    fn is_pinned(&self, definition: u16, fingerprint: &str) -> bool;
    fn advance(&self, raw: &Value, input: Input<'_>, now: DateTime<Utc>) -> Result<Moved<Advanced<Value>>, StallError>;
    fn order(&self, raw: &Value, order: &Order, now: DateTime<Utc>) -> Result<Moved<Ordered>, StallError>;
    /// The starting event with this data, and what it starts.
    fn start(&self, data: Bytes) -> Result<Draft, SchemaError>;
    /// The signal for a step with this data, and what it would say.
    fn signal(&self, raw: &Value, step: &str, data: Bytes) -> Result<Moved<Signal>, StallError>;
}

/// What came of a stored saga.
pub(super) enum Moved<T> {
    /// This, from that status.
    Known(Status, T),
    /// Nothing: this build does not know it, for this reason.
    Unknown(String),
    /// Nothing: it is another saga's.
    Foreign,
}

/// What came of an order.
pub(super) type Ordered = Result<(Advanced<Value>, Outlook), Refused>;

/// What came of a signal.
pub(super) enum Signal {
    /// The event to emit, and why the answer is no, if it is.
    Event(Box<Draft>, Option<Failure>),
    /// What was given is not what the step waits for.
    Unreadable(SchemaError),
    /// The step waits for none.
    NoWait,
}

/// The line that a stored saga was begun with, or else the newest, which may take it over.
pub(super) fn pick<'a>(
    lines: impl Iterator<Item = &'a Arc<dyn Line>> + Clone,
    raw: &Value,
) -> Option<&'a Arc<dyn Line>> {
    let definition = raw["definition"].as_u64().and_then(|definition| u16::try_from(definition).ok())?;
    let fingerprint = raw["fingerprint"].as_str()?;
    let pinned = lines.clone().find(|line| line.is_pinned(definition, fingerprint));
    pinned.or_else(|| lines.max_by_key(|line| line.definition()))
}

impl<G: Saga> Line for Definition<G> {
    fn name(&self) -> &'static str {
        G::NAME
    }

    fn definition(&self) -> u16 {
        G::DEFINITION
    }

    fn types(&self) -> Vec<EventType> {
        Definition::types(self)
    }

    fn is_pinned(&self, definition: u16, fingerprint: &str) -> bool {
        Definition::is_pinned(self, definition, fingerprint)
    }

    fn advance(&self, raw: &Value, input: Input<'_>, now: DateTime<Utc>) -> Result<Moved<Advanced<Value>>, StallError> {
        known(self, raw, |log| erase(Definition::advance(self, log, input, now)))
    }

    fn order(&self, raw: &Value, order: &Order, now: DateTime<Utc>) -> Result<Moved<Ordered>, StallError> {
        known(self, raw, |log| {
            let before = log.clone();
            match Definition::order(self, log, order, now) {
                Ok(advanced) => {
                    let outlook = self.outlook(&before, &advanced);
                    Ok(Ok((erase(advanced)?, outlook)))
                }
                Err(refused) => Ok(Err(refused)),
            }
        })
    }

    fn start(&self, data: Bytes) -> Result<Draft, SchemaError> {
        let start = G::Start::decode(&probe(G::Start::TYPE, Key::of("saga", G::NAME), data))?;
        Draft::of(&start)
    }

    fn signal(&self, raw: &Value, step: &str, data: Bytes) -> Result<Moved<Signal>, StallError> {
        known(self, raw, |log| {
            let Some(ty) = Definition::signal(self, step) else { return Ok(Signal::NoWait) };
            let signal = probe(ty, log.key.clone(), data);
            Ok(match self.hears(step, &log.state, &signal) {
                None => Signal::NoWait,
                Some(Err(error)) => Signal::Unreadable(error),
                Some(Ok(no)) => Signal::Event(
                    Box::new(SagaRef::signal(log.id, step).stamp(draft_of(signal, &log.correlationid))),
                    no,
                ),
            })
        })
    }
}

fn known<G: Saga, T>(
    definition: &Definition<G>,
    raw: &Value,
    with: impl FnOnce(SagaLog<G::State>) -> Result<T, StallError>,
) -> Result<Moved<T>, StallError> {
    Ok(match definition.read(raw)? {
        Some(Stored::Known(log)) => Moved::Known(status(raw, log.status), with(*log)?),
        Some(Stored::Unknown(reason)) => Moved::Unknown(reason),
        None => Moved::Foreign,
    })
}

/// The status a saga is stored with.
fn status(raw: &Value, read: Status) -> Status {
    Status::ALL.into_iter().find(|status| raw["status"] == status.as_str()).unwrap_or(read)
}

fn erase<S: Serialize>(advanced: Advanced<S>) -> Result<Advanced<Value>, StallError> {
    let Advanced { log, drafts, timer, ignored } = advanced;
    let log = log.try_map_state(|state| serde_json::to_value(state).ok());
    let log = log.ok_or_else(|| StallError::Unreadable("its state cannot be written as JSON".into()))?;
    Ok(Advanced { log, drafts, timer, ignored })
}

/// An event for reading alone.
fn probe(ty: EventType, key: Key, data: Bytes) -> Envelope {
    Envelope {
        id: Uuid::nil().to_string(),
        source: String::new(),
        ty,
        subject: None,
        time: DateTime::UNIX_EPOCH,
        key,
        datacontenttype: None,
        dataschema: None,
        data: Some(data),
        sequence: None,
        correlationid: None,
        causationid: None,
        traceparent: None,
        recordedtime: None,
        expirytime: None,
        dataref: None,
        extensions: Default::default(),
    }
}

fn draft_of(event: Envelope, correlationid: &str) -> Draft {
    Draft {
        ty: event.ty,
        key: event.key,
        data: event.data,
        datacontenttype: None,
        subject: None,
        id: None,
        correlationid: Some(correlationid.to_owned()),
        expirytime: None,
        dataref: None,
        extensions: Default::default(),
    }
}
