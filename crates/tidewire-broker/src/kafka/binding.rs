//! What an event looks like as a record: the CloudEvents binding to Kafka ([`tidewire_core::codec::kafka`]), written in
//! binary mode, its `partitionkey` also the record's key. Read in both modes, from anybody.

use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use tidewire_core::Envelope;
use tidewire_core::bytes::Bytes;
use tidewire_core::chrono::{DateTime, Utc};
use tidewire_core::codec::{Defaults, kafka};

/// About what Kafka adds to each header.
const HEADER_OVERHEAD: usize = 4;

/// An event as a record, but for its key.
pub(super) struct Record {
    pub headers: OwnedHeaders,
    /// Bytes of key, headers and value.
    pub size: usize,
}

/// The record of an event.
pub(super) fn encode(envelope: &Envelope) -> Record {
    let data = envelope.data.as_ref().map_or(0, Bytes::len);
    let mut size = envelope.key.as_str().len() + data;
    let mut headers = OwnedHeaders::new_with_capacity(16);
    kafka::headers(envelope, |key, value| {
        size += key.len() + value.len() + HEADER_OVERHEAD;
        headers = std::mem::take(&mut headers).insert(Header { key, value: Some(value) });
    });
    Record { headers, size }
}

/// The event of a record, in whichever mode it is. Without a `partitionkey` the record's key is the key. Fails with what
/// is wrong with it.
pub(super) fn decode(record: &impl Message) -> Result<Envelope, String> {
    let every = record.headers().map(|headers| headers.iter());
    let pairs = every.into_iter().flatten().map(|header| (header.key, header.value));
    let parsed = kafka::decode(pairs, record.payload()).map_err(|error| error.to_string())?;
    for deviation in parsed.deviations() {
        tracing::debug!(%deviation, "a foreign event is read in spite of a deviation");
    }
    let key = record.key().and_then(|key| std::str::from_utf8(key).ok());
    let defaults = Defaults { time: stored_at(record), key, is_keyed_by_subject: true };
    parsed.into_envelope(&defaults).map_err(|error| error.to_string())
}

/// When the cluster took it, for events that do not say when they happened.
fn stored_at(record: &impl Message) -> Option<DateTime<Utc>> {
    record.timestamp().to_millis().and_then(DateTime::from_timestamp_millis)
}

#[cfg(test)]
mod tests {
    use rdkafka::Timestamp;
    use rdkafka::message::OwnedMessage;

    use tidewire_core::Attribute;

    use super::*;

    fn record(key: Option<&str>, headers: &[(&str, &str)], value: Option<&str>) -> OwnedMessage {
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(*value) }));
        let value = value.map(|value| value.as_bytes().to_vec());
        let key = key.map(|key| key.as_bytes().to_vec());
        OwnedMessage::new(value, key, "t".into(), Timestamp::CreateTime(1_000), 0, 0, Some(headers))
    }

    const FOREIGN: [(&str, &str); 4] =
        [("ce_specversion", "1.0"), ("ce_id", "1"), ("ce_source", "/a"), ("ce_type", "user.followed.v1")];

    #[test]
    fn what_went_in_comes_out() {
        let mut envelope = crate::conformance::event("ü key", "id");
        for media_type in [None, Some("application/json"), Some("text/plain")] {
            envelope.datacontenttype = media_type.map(str::to_owned);
            for value in [Attribute::Integer(-7), Attribute::Boolean(true), Attribute::Text("true".into())] {
                envelope.extensions.insert("flag".into(), value);
                for data in [None, Some(Bytes::new()), Some(Bytes::from_static(b"1.10"))] {
                    if envelope.is_json() && data.as_ref().is_some_and(Bytes::is_empty) {
                        continue;
                    }
                    envelope.data = data;
                    let Record { headers, .. } = encode(&envelope);
                    let value = envelope.data.as_ref().map(|data| data.to_vec());
                    let found =
                        OwnedMessage::new(value, None, "t".into(), Timestamp::NotAvailable, 0, 0, Some(headers));
                    assert_eq!(decode(&found), Ok(envelope.clone()));
                }
            }
        }
    }

    #[test]
    fn foreign_events_are_understood() {
        let event = decode(&record(Some("user/1"), &FOREIGN, Some("{}"))).unwrap();
        assert_eq!((event.key.as_str(), event.time.timestamp()), ("user/1", 1));
        let event = decode(&record(None, &FOREIGN, None)).unwrap();
        assert_eq!((event.key.as_str(), event.data), ("/a", None));
        let json =
            r#"{"specversion":"1.0","id":"1","source":"/a","type":"user.followed.v1","time":"2026-01-01T00:00:00Z"}"#;
        let structured = [("Content-Type", "application/cloudevents+json; charset=utf-8")];
        assert_eq!(decode(&record(Some("user/1"), &structured, Some(json))).unwrap().key.as_str(), "user/1");
        let keyed = json.replace('}', r#","partitionkey":"user/2"}"#);
        assert_eq!(decode(&record(Some("user/1"), &structured, Some(&keyed))).unwrap().key.as_str(), "user/2");
    }

    #[test]
    fn what_is_no_event_is_refused_with_its_reason() {
        let with = |name: &'static str, value: &'static str| [&FOREIGN[..], &[(name, value)]].concat();
        let bad = [
            (record(None, &[], Some("hello")), "no CloudEvent"),
            (record(None, &FOREIGN[..3], None), "`type`"),
            (record(None, &with("ce_sequence", "0"), None), "`sequence`"),
            (record(None, &with("ce_time", "yesterday"), None), "`time`"),
            (record(None, &with("ce_ID", "2"), None), "twice"),
            (record(None, &with("ce_foo-bar", "2"), None), "foo-bar"),
            (record(None, &FOREIGN, Some("{")), "JSON"),
            (record(None, &[("content-type", "application/cloudevents-batch+json")], Some("[]")), "no batches"),
            (record(None, &[("content-type", "application/cloudevents+json")], Some("{}")), "missing"),
        ];
        for (record, reason) in bad {
            let error = decode(&record).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
