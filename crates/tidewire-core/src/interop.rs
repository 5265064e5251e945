//! The CloudEvents SDK's `Event`, taken and given at the public edge.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use cloudevents::event::{AttributesReader, Data, EventBuilder, EventBuilderV10, ExtensionValue};

use crate::envelope::{Attribute, Envelope, EnvelopeError};
use crate::key::Key;

/// Takes an SDK event. Its rules are looser than ours: what the specification refuses (an empty id, capitals
/// in extension names, integers beyond 32 bits) is refused here. Without a `partitionkey` the subject is the
/// key, and without that the source; without a `time` the conversion fails, since inventing one is the
/// caller's business.
impl TryFrom<cloudevents::Event> for Envelope {
    type Error = EnvelopeError;

    fn try_from(event: cloudevents::Event) -> Result<Self, Self::Error> {
        let invalid =
            |attribute: &str, error: &dyn std::fmt::Display| EnvelopeError::invalid(attribute, error.to_string());
        let mut extensions = std::collections::BTreeMap::new();
        for (name, value) in event.iter_extensions() {
            let value = match value {
                ExtensionValue::String(text) => Attribute::Text(text.clone()),
                ExtensionValue::Boolean(boolean) => Attribute::Boolean(*boolean),
                ExtensionValue::Integer(number) => {
                    Attribute::Integer(i32::try_from(*number).map_err(|error| invalid(name, &error))?)
                }
            };
            extensions.insert(name.to_owned(), value);
        }
        let mut text = |name: &str| extensions.remove(name).map(|value| value.to_text());
        let time_of = |name: &str, value: Option<String>| -> Result<Option<DateTime<Utc>>, EnvelopeError> {
            let parse = |text: String| DateTime::parse_from_rfc3339(&text).map_err(|error| invalid(name, &error));
            Ok(value.map(parse).transpose()?.map(|time| time.to_utc()))
        };
        let key = text("partitionkey").or_else(|| event.subject().map(str::to_owned));
        let key = key.unwrap_or_else(|| event.source().to_string());
        let sequence =
            text("sequence").map(|n| n.parse::<u64>().map_err(|error| invalid("sequence", &error))).transpose()?;
        let (recordedtime, expirytime) =
            (time_of("recordedtime", text("recordedtime"))?, time_of("expirytime", text("expirytime"))?);
        let (correlationid, causationid) = (text("correlationid"), text("causationid"));
        let (traceparent, dataref) = (text("traceparent"), text("dataref"));
        let envelope = Envelope {
            id: event.id().to_owned(),
            source: event.source().to_string(),
            ty: event.ty().parse().map_err(|error| invalid("type", &error))?,
            subject: event.subject().map(str::to_owned),
            time: *event.time().ok_or(EnvelopeError::Missing { attribute: "time" })?,
            key: Key::new(key).map_err(|error| invalid("partitionkey", &error))?,
            datacontenttype: event.datacontenttype().map(str::to_owned),
            dataschema: event.dataschema().map(ToString::to_string),
            data: event.data().map(|data| match data {
                Data::Binary(bytes) => Bytes::from(bytes.clone()),
                Data::String(text) => Bytes::from(text.clone()),
                Data::Json(value) => Bytes::from(value.to_string()),
            }),
            sequence,
            correlationid,
            causationid,
            traceparent,
            recordedtime,
            expirytime,
            dataref,
            extensions,
        };
        envelope.check()?;
        Ok(envelope)
    }
}

/// Gives an SDK event. Fails only where the SDK cannot hold what CloudEvents can: a source or schema that is
/// no URL to it.
impl TryFrom<Envelope> for cloudevents::Event {
    type Error = EnvelopeError;

    fn try_from(envelope: Envelope) -> Result<Self, Self::Error> {
        let is_json = envelope.is_json();
        let mut builder = EventBuilderV10::new()
            .id(envelope.id)
            .source(envelope.source)
            .ty(envelope.ty.to_string())
            .time(envelope.time)
            .extension("partitionkey", envelope.key.as_str());
        if let Some(subject) = envelope.subject {
            builder = builder.subject(subject);
        }
        let named = [
            ("correlationid", envelope.correlationid),
            ("causationid", envelope.causationid),
            ("traceparent", envelope.traceparent),
            ("dataref", envelope.dataref),
            ("sequence", envelope.sequence.map(|n| n.to_string())),
            ("recordedtime", envelope.recordedtime.map(|time| time.to_rfc3339())),
            ("expirytime", envelope.expirytime.map(|time| time.to_rfc3339())),
        ];
        for (name, value) in named {
            if let Some(value) = value {
                builder = builder.extension(name, value);
            }
        }
        for (name, value) in envelope.extensions {
            builder = match value {
                Attribute::Text(text) => builder.extension(&name, text),
                Attribute::Integer(number) => builder.extension(&name, i64::from(number)),
                Attribute::Boolean(boolean) => builder.extension(&name, boolean),
            };
        }
        let media_type = envelope.datacontenttype.unwrap_or_else(|| "application/json".into());
        builder = match (envelope.data, envelope.dataschema) {
            (None, _) => builder,
            (Some(data), schema) => {
                let data = if is_json {
                    Data::Json(
                        serde_json::from_slice(&data)
                            .map_err(|error| EnvelopeError::invalid("data", error.to_string()))?,
                    )
                } else {
                    Data::Binary(data.to_vec())
                };
                match schema {
                    Some(schema) => builder.data_with_schema(media_type, schema, data),
                    None => builder.data(media_type, data),
                }
            }
        };
        builder.build().map_err(|error| EnvelopeError::Malformed { reason: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::tests::sample;

    #[test]
    fn goes_through_the_sdk_and_back() {
        let mut envelope = sample();
        envelope.datacontenttype = Some("application/json".into());
        envelope.data = Some(Bytes::from_static(br#"{"a":1}"#));
        envelope.correlationid = Some("flow".into());
        envelope.extensions.insert("sagaepoch".into(), Attribute::Integer(7));
        let event = cloudevents::Event::try_from(envelope.clone()).unwrap();
        assert_eq!(event.ty(), "user.followed.v1");
        assert_eq!(Envelope::try_from(event).unwrap(), envelope);
    }

    #[test]
    fn is_stricter_than_the_sdk() {
        let event = |id: &str, extension: &str| {
            EventBuilderV10::new()
                .id(id)
                .source("/s")
                .ty("user.followed.v1")
                .time(DateTime::<Utc>::UNIX_EPOCH)
                .extension(extension, "x")
                .build()
                .unwrap()
        };
        assert!(Envelope::try_from(event("1", "good")).is_ok());
        assert!(Envelope::try_from(event("", "good")).is_err());
        assert!(Envelope::try_from(event("1", "fooBar")).is_err());
    }
}
