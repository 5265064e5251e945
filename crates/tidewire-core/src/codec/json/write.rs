//! Writing the JSON format.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::super::base64;
use crate::envelope::Envelope;

/// Writes an event of the log, which was checked when it came in, so that [`read_trusted`](super::read_trusted) gives
/// every byte of it back. White space around JSON is no part of it to JSON: data that has some goes as base64.
pub fn write_trusted(envelope: &Envelope) -> Vec<u8> {
    written(envelope, true)
}

/// The same for whoever wants data as JSON wherever it is JSON, and text as text: white space around JSON is lost.
pub(super) fn write_readable(envelope: &Envelope) -> Vec<u8> {
    written(envelope, false)
}

/// Anything can be written: data that is not the JSON it is said to be goes out as the bytes it is.
fn written(envelope: &Envelope, is_exact: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(envelope.size() + 128);
    // Writing to a `Vec` and serialising strings cannot fail.
    let _ = serde_json::to_writer(&mut out, &Event { envelope, is_exact });
    out
}

struct Event<'a> {
    envelope: &'a Envelope,
    is_exact: bool,
}

impl Event<'_> {
    /// The data as a string, for those who want to see text where there is text: what is written with `is_exact` is
    /// cut apart by its reader, for which `data` is always JSON.
    fn text(&self) -> Option<&str> {
        let data = self.envelope.data.as_deref().filter(|_| !self.is_exact && !self.envelope.is_json())?;
        let is_text = |text: &&str| text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'));
        std::str::from_utf8(data).ok().filter(is_text)
    }

    /// The data as it may stand within JSON.
    fn raw(&self) -> Option<&RawValue> {
        let data = self.envelope.data.as_deref().filter(|_| self.envelope.is_json())?;
        let is_bare = !self.is_exact || data.trim_ascii().len() == data.len();
        serde_json::from_slice(data).ok().filter(|_| is_bare)
    }
}

/// A time as CloudEvents writes it.
pub(crate) fn timestamp(time: &DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// The CloudEvents JSON format, as part of what the house keeps for itself.
impl Serialize for Envelope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Event { envelope: self, is_exact: true }.serialize(serializer)
    }
}

/// `data` comes last: the embedded broker cuts it off.
impl Serialize for Event<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let envelope = self.envelope;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("specversion", "1.0")?;
        map.serialize_entry("id", &envelope.id)?;
        map.serialize_entry("source", &envelope.source)?;
        map.serialize_entry("type", &envelope.ty)?;
        let mut text = |name: &'static str, value: &Option<String>| match value {
            Some(value) => map.serialize_entry(name, value),
            None => Ok(()),
        };
        text("subject", &envelope.subject)?;
        text("datacontenttype", &envelope.datacontenttype)?;
        text("dataschema", &envelope.dataschema)?;
        text("correlationid", &envelope.correlationid)?;
        text("causationid", &envelope.causationid)?;
        text("traceparent", &envelope.traceparent)?;
        text("dataref", &envelope.dataref)?;
        map.serialize_entry("time", &timestamp(&envelope.time))?;
        map.serialize_entry("partitionkey", &envelope.key)?;
        if let Some(sequence) = envelope.sequence {
            // A string by the sequence extension's own definition.
            map.serialize_entry("sequence", &sequence.to_string())?;
        }
        if let Some(time) = &envelope.recordedtime {
            map.serialize_entry("recordedtime", &timestamp(time))?;
        }
        if let Some(time) = &envelope.expirytime {
            map.serialize_entry("expirytime", &timestamp(time))?;
        }
        for (name, value) in &envelope.extensions {
            map.serialize_entry(name, value)?;
        }
        match (&envelope.data, self.raw()) {
            (None, _) => {}
            (Some(_), Some(raw)) => map.serialize_entry("data", raw)?,
            (Some(data), None) => match self.text() {
                Some(text) => map.serialize_entry("data", text)?,
                None => map.serialize_entry("data_base64", &base64::encode(data))?,
            },
        }
        map.end()
    }
}

/// The CloudEvents JSON format, as part of what the house keeps for itself: no rule is looked at.
impl<'de> Deserialize<'de> for Envelope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Envelope::from_trusted_json(raw.get().as_bytes()).map_err(serde::de::Error::custom)
    }
}
