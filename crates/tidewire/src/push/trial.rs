//! The event that tries an endpoint out.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::json;
use tidewire_core::{Clock, Envelope, EventType, Key};

/// What it is called. It is in no catalogue: it is never in a log.
const TYPE: EventType = EventType::new("subscription.tested", 1);

/// An event that only the endpoint of the subscription `id` sees, each time another one.
pub fn test_event(id: &str, clock: &dyn Clock) -> Envelope {
    let event = clock.id().to_string();
    Envelope {
        source: "/push".into(),
        ty: TYPE,
        subject: None,
        time: clock.now(),
        key: Key::of("subscription", id),
        datacontenttype: Some("application/json".into()),
        dataschema: None,
        data: Some(Bytes::from(json!({ "subscription": id }).to_string())),
        sequence: None,
        correlationid: Some(event.clone()),
        causationid: None,
        traceparent: None,
        recordedtime: None,
        expirytime: None,
        dataref: None,
        extensions: BTreeMap::new(),
        id: event,
    }
}
