//! The envelope as expressions see it: every attribute by the name it has on the wire.

use super::{Attributes, Value};
use crate::codec::json::timestamp;
use crate::envelope::{Attribute, Envelope};

impl Attributes for Envelope {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        match name {
            "specversion" => Some("1.0".into()),
            "id" => Some(self.id.as_str().into()),
            "source" => Some(self.source.as_str().into()),
            "type" => Some(self.ty.to_string().into()),
            "time" => Some(timestamp(&self.time).into()),
            "partitionkey" => Some(self.key.as_str().into()),
            "sequence" => self.sequence.map(|sequence| sequence.to_string().into()),
            "recordedtime" => self.recordedtime.as_ref().map(|time| timestamp(time).into()),
            "expirytime" => self.expirytime.as_ref().map(|time| timestamp(time).into()),
            "subject" => text(&self.subject),
            "datacontenttype" => text(&self.datacontenttype),
            "dataschema" => text(&self.dataschema),
            "correlationid" => text(&self.correlationid),
            "causationid" => text(&self.causationid),
            "traceparent" => text(&self.traceparent),
            "dataref" => text(&self.dataref),
            extension => self.extensions.get(extension).map(|value| match value {
                Attribute::Text(text) => text.as_str().into(),
                Attribute::Integer(number) => (*number).into(),
                Attribute::Boolean(boolean) => (*boolean).into(),
            }),
        }
    }
}

fn text(text: &Option<String>) -> Option<Value<'_>> {
    text.as_deref().map(Value::from)
}
