//! An event on its way into the log.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::clock::Clock;
use crate::envelope::{Attribute, Envelope};
use crate::event::{Event, SchemaError};
use crate::event_type::EventType;
use crate::key::Key;

/// An event somebody decided to emit, before it has an id and a time. Pure code makes drafts; the loops
/// [`seal`](Draft::seal) them into envelopes just before the commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Its type.
    pub ty: EventType,
    /// Its ordering unit.
    pub key: Key,
    /// Its payload.
    pub data: Option<Bytes>,
    /// The media type of the payload; JSON when absent.
    pub datacontenttype: Option<String>,
    /// What it happened to, where that is narrower than the key.
    pub subject: Option<String>,
    /// A fixed id, for emitters whose retries must give the same event; otherwise the clock draws one.
    pub id: Option<String>,
    /// The flow it belongs to; by default the flow of its cause, or a new one named by its own id.
    pub correlationid: Option<String>,
    /// After this moment nobody needs it.
    pub expirytime: Option<DateTime<Utc>>,
    /// Where the payload lies when it is too large to travel.
    pub dataref: Option<String>,
    /// Extension attributes.
    pub extensions: BTreeMap<String, Attribute>,
}

impl Draft {
    /// A draft of `event`. Fails only when the event's own `Serialize` does.
    pub fn of<E: Event>(event: &E) -> Result<Self, SchemaError> {
        let data = serde_json::to_vec(event)
            .map_err(|error| SchemaError::Malformed { ty: E::TYPE, reason: error.to_string() })?;
        Ok(Self {
            ty: E::TYPE,
            key: event.key(),
            data: Some(data.into()),
            datacontenttype: None,
            subject: None,
            id: None,
            correlationid: None,
            expirytime: None,
            dataref: None,
            extensions: BTreeMap::new(),
        })
    }

    /// With an extension attribute.
    pub fn with(mut self, name: &str, value: impl Into<Attribute>) -> Self {
        self.extensions.insert(name.to_owned(), value.into());
        self
    }

    /// With a fixed id.
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Gives the draft its id, time, source and place in the chain of causes.
    pub fn seal(self, clock: &dyn Clock, source: &str, cause: Option<&Envelope>) -> Envelope {
        let id = self.id.unwrap_or_else(|| clock.id().to_string());
        let inherited = cause.map(|cause| cause.correlationid.clone().unwrap_or_else(|| cause.id.clone()));
        Envelope {
            correlationid: self.correlationid.or(inherited).or_else(|| Some(id.clone())),
            causationid: cause.map(|cause| cause.id.clone()),
            traceparent: cause.and_then(|cause| cause.traceparent.clone()),
            id,
            source: source.to_owned(),
            ty: self.ty,
            subject: self.subject,
            time: clock.now(),
            key: self.key,
            datacontenttype: self.datacontenttype,
            dataschema: None,
            data: self.data,
            sequence: None,
            recordedtime: None,
            expirytime: self.expirytime,
            dataref: self.dataref,
            extensions: self.extensions,
        }
    }
}
