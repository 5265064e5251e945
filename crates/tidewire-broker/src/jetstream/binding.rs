//! The CloudEvents binding to NATS: binary mode out, binary and structured mode in.
//!
//! Attributes are headers `ce-<name>`, percent-encoded; the data is the payload, byte for byte. A foreign client
//! needs nothing of Tidewire to read them. Two headers are ours, and only where the specification's types are lost
//! on the way: `tw-types` says which extensions are no text, `tw-data` that there is data of no length.

use std::borrow::Cow;
use std::collections::BTreeMap;

use async_nats::HeaderMap;
use async_nats::header::HeaderName;
use tidewire_core::bytes::Bytes;
use tidewire_core::chrono::{DateTime, SecondsFormat, Utc};
use tidewire_core::{Attribute, Envelope, Key};

use crate::wire;

/// The header by which the server knows an event again.
pub(super) const MSG_ID: &str = "Nats-Msg-Id";
/// The header that keeps an event out of any other stream.
const EXPECTED_STREAM: &str = "Nats-Expected-Stream";
/// The media type of structured mode, without what may follow (`+json`).
const STRUCTURED: &str = "application/cloudevents";
const TYPES: &str = "tw-types";
const EMPTY_DATA: &str = "tw-data";

/// What goes to the server for one event.
pub(super) struct Encoded {
    pub headers: HeaderMap,
    /// Headers and data.
    pub size: usize,
}

/// Builds headers, and counts what they take on the wire.
struct Builder {
    headers: HeaderMap,
    size: usize,
}

impl Builder {
    fn plain(&mut self, name: &'static str, value: String) {
        self.named(HeaderName::from_static(name), name.len(), value);
    }

    fn text(&mut self, name: &'static str, value: &str) {
        self.plain(name, escape(value));
    }

    fn optional(&mut self, name: &'static str, value: &Option<String>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// `value` has passed [`escape`], or is made of digits and letters: it holds nothing that `HeaderValue` refuses
    /// (by a panic).
    fn named(&mut self, name: HeaderName, length: usize, value: String) {
        self.size += length + value.len() + 4;
        self.headers.insert(name, value);
    }
}

/// Writes an event's headers.
pub(super) fn encode(envelope: &Envelope, stream: &str) -> Encoded {
    let mut out = Builder { headers: HeaderMap::new(), size: 12 };
    let mark = wire::mark(&envelope.source, &envelope.id);
    out.plain(MSG_ID, format!("{:032x}", u128::from_be_bytes(mark)));
    out.plain(EXPECTED_STREAM, stream.to_owned());
    out.plain("ce-specversion", "1.0".into());
    out.text("ce-id", &envelope.id);
    out.text("ce-source", &envelope.source);
    out.text("ce-type", &envelope.ty.to_string());
    out.plain("ce-time", time(&envelope.time));
    out.text("ce-partitionkey", envelope.key.as_str());
    out.optional("ce-subject", &envelope.subject);
    out.optional("ce-dataschema", &envelope.dataschema);
    out.optional("ce-correlationid", &envelope.correlationid);
    out.optional("ce-causationid", &envelope.causationid);
    out.optional("ce-traceparent", &envelope.traceparent);
    out.optional("ce-dataref", &envelope.dataref);
    if let Some(media_type) = &envelope.datacontenttype {
        out.text("ce-datacontenttype", media_type);
        // Said twice, for clients that look at one of them only; but never so that this looks like structured mode.
        if !is_structured(media_type) {
            out.text("content-type", media_type);
        }
    }
    if let Some(sequence) = envelope.sequence {
        out.plain("ce-sequence", sequence.to_string());
    }
    if let Some(at) = &envelope.recordedtime {
        out.plain("ce-recordedtime", time(at));
    }
    if let Some(at) = &envelope.expirytime {
        out.plain("ce-expirytime", time(at));
    }
    if !envelope.extensions.is_empty() {
        extensions(&mut out, &envelope.extensions);
    }
    if envelope.data.as_ref().is_some_and(|data| data.is_empty()) {
        out.plain(EMPTY_DATA, "empty".into());
    }
    let data = envelope.data.as_ref().map_or(0, Bytes::len);
    Encoded { headers: out.headers, size: out.size + data }
}

fn extensions(out: &mut Builder, extensions: &BTreeMap<String, Attribute>) {
    let mut types = String::new();
    for (name, value) in extensions {
        let header = format!("ce-{}", escape(name));
        // A name that is none for NATS is none for CloudEvents either, and refused where events come in.
        let Ok(parsed) = header.parse::<HeaderName>() else { continue };
        out.named(parsed, header.len(), escape(&value.to_text()));
        let kind = match value {
            Attribute::Text(_) => continue,
            Attribute::Integer(_) => "integer",
            Attribute::Boolean(_) => "boolean",
        };
        let comma = if types.is_empty() { "" } else { "," };
        types.push_str(&format!("{comma}{}:{kind}", escape(name)));
    }
    if !types.is_empty() {
        out.plain(TYPES, types);
    }
}

fn time(at: &DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

fn is_structured(media_type: &str) -> bool {
    media_type.get(..STRUCTURED.len()).is_some_and(|start| start.eq_ignore_ascii_case(STRUCTURED))
}

/// Percent-encodes as the CloudEvents HTTP binding does: space, `"`, `%` and everything outside `!` to `~`.
fn escape(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let is_plain = |byte: u8| (0x21..=0x7e).contains(&byte) && byte != b'"' && byte != b'%';
    if text.bytes().all(is_plain) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if is_plain(byte) {
            out.push(char::from(byte));
        } else {
            out.extend(['%', char::from(HEX[usize::from(byte >> 4)]), char::from(HEX[usize::from(byte & 15)])]);
        }
    }
    out
}

/// Undoes [`escape`], and takes what other writers may write: quoted values, small hexadecimal digits, text that was
/// never encoded.
fn unescape(text: &str) -> Result<String, String> {
    let text = text.trim();
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    if quoted.is_none() && !text.contains('%') {
        return Ok(text.to_owned());
    }
    unescape_percent(quoted.unwrap_or(text).as_bytes(), quoted.is_some())
}

/// Percent-encoded text as it was; `is_quoted` when a backslash stands before what it does not mean.
pub(super) fn unescape_percent(mut rest: &[u8], is_quoted: bool) -> Result<String, String> {
    let mut out = Vec::with_capacity(rest.len());
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'\\' if is_quoted && !after.is_empty() => {
                out.push(after[0]);
                rest = &after[1..];
            }
            b'%' => {
                let hex = after.first_chunk::<2>().and_then(|hex| std::str::from_utf8(hex).ok());
                let hex = hex.filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()));
                let value = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
                out.push(value.ok_or("a percent sign without two hexadecimal digits")?);
                rest = &after[2..];
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8(out).map_err(|_| "percent-encoded bytes that are no UTF-8".to_owned())
}

/// Reads an event. `stored` is when the server took it: the time of an event that says none itself. What does not
/// bear the mark of our own relay is checked as if it came from outside, which it does.
pub(super) fn decode(headers: Option<&HeaderMap>, data: Bytes, stored: DateTime<Utc>) -> Result<Envelope, String> {
    let headers = headers.ok_or("no headers: neither mode of CloudEvents")?;
    let mut attributes = Attributes::read(headers)?;
    if attributes.is_structured {
        return Envelope::from_json(&data).map_err(|error| error.to_string());
    }
    let extensions = attributes.extensions()?;
    let fields = attributes.fields;
    if fields.specversion.as_deref() != Some("1.0") {
        return Err("`ce-specversion` is not 1.0".into());
    }
    let source = required("source", fields.source)?;
    let key = fields.partitionkey.as_deref().or(fields.subject.as_deref()).unwrap_or(&source);
    let key = Key::new(key).map_err(|error| format!("`ce-partitionkey`: {error}"))?;
    let sequence = fields.sequence.map(|text| match text.parse::<u64>() {
        Ok(number) if (1..=i64::MAX as u64).contains(&number) => Ok(number),
        _ => Err("`ce-sequence` is not a positive integer".to_owned()),
    });
    let envelope = Envelope {
        id: required("id", fields.id)?,
        source,
        ty: required("type", fields.ty)?.parse().map_err(|error| format!("`ce-type`: {error}"))?,
        subject: fields.subject,
        time: time_of("time", fields.time)?.unwrap_or(stored),
        key,
        datacontenttype: fields.datacontenttype.or(attributes.content_type),
        dataschema: fields.dataschema,
        data: (!data.is_empty() || attributes.has_empty_data).then_some(data),
        sequence: sequence.transpose()?,
        correlationid: fields.correlationid,
        causationid: fields.causationid,
        traceparent: fields.traceparent,
        recordedtime: time_of("recordedtime", fields.recordedtime)?,
        expirytime: time_of("expirytime", fields.expirytime)?,
        dataref: fields.dataref,
        extensions,
    };
    if !attributes.is_ours {
        envelope.check().map_err(|error| error.to_string())?;
    }
    Ok(envelope)
}

/// The attributes that are fields of an envelope.
#[derive(Default)]
struct Fields {
    specversion: Option<String>,
    id: Option<String>,
    source: Option<String>,
    ty: Option<String>,
    subject: Option<String>,
    time: Option<String>,
    partitionkey: Option<String>,
    datacontenttype: Option<String>,
    dataschema: Option<String>,
    sequence: Option<String>,
    correlationid: Option<String>,
    causationid: Option<String>,
    traceparent: Option<String>,
    recordedtime: Option<String>,
    expirytime: Option<String>,
    dataref: Option<String>,
}

impl Fields {
    fn of(&mut self, name: &str) -> Option<&mut Option<String>> {
        Some(match name {
            "specversion" => &mut self.specversion,
            "id" => &mut self.id,
            "source" => &mut self.source,
            "type" => &mut self.ty,
            "subject" => &mut self.subject,
            "time" => &mut self.time,
            "partitionkey" => &mut self.partitionkey,
            "datacontenttype" => &mut self.datacontenttype,
            "dataschema" => &mut self.dataschema,
            "sequence" => &mut self.sequence,
            "correlationid" => &mut self.correlationid,
            "causationid" => &mut self.causationid,
            "traceparent" => &mut self.traceparent,
            "recordedtime" => &mut self.recordedtime,
            "expirytime" => &mut self.expirytime,
            "dataref" => &mut self.dataref,
            _ => return None,
        })
    }
}

/// What the headers say.
#[derive(Default)]
struct Attributes {
    fields: Fields,
    others: Vec<(String, String)>,
    types: String,
    content_type: Option<String>,
    is_structured: bool,
    is_ours: bool,
    has_empty_data: bool,
}

impl Attributes {
    fn read(headers: &HeaderMap) -> Result<Self, String> {
        let mut out = Self::default();
        for (name, values) in headers.iter() {
            let name: &str = name.as_ref();
            let value = values.first().map_or("", |value| value.as_str());
            if name.len() > 3 && name.as_bytes()[..3].eq_ignore_ascii_case(b"ce-") {
                out.attribute(&name[3..], value, values.len() == 1)?;
            } else if name.eq_ignore_ascii_case("content-type") {
                out.is_structured = is_structured(value);
                out.content_type = Some(unescape(value).map_err(|error| format!("`content-type`: {error}"))?);
            } else if name.eq_ignore_ascii_case(MSG_ID) {
                out.is_ours = value.len() == 32;
            } else if name == TYPES {
                value.clone_into(&mut out.types);
            } else if name == EMPTY_DATA {
                out.has_empty_data = true;
            }
        }
        Ok(out)
    }

    fn attribute(&mut self, name: &str, value: &str, is_single: bool) -> Result<(), String> {
        let named = |error: &str| format!("`ce-{}`: {error}", name.escape_default());
        let value = unescape(value).map_err(|error| named(&error))?;
        let lower = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(name.to_ascii_lowercase()),
            false => Cow::Borrowed(name),
        };
        let is_new = match self.fields.of(&lower) {
            Some(field) => field.replace(value).is_none(),
            None => {
                let is_new = self.others.iter().all(|(other, _)| *other != lower);
                self.others.push((lower.into_owned(), value));
                is_new
            }
        };
        match is_new && is_single {
            true => Ok(()),
            false => Err(named("it is there twice")),
        }
    }

    /// What is no field.
    fn extensions(&mut self) -> Result<BTreeMap<String, Attribute>, String> {
        if self.others.is_empty() {
            return Ok(BTreeMap::new());
        }
        let types: Vec<(&str, &str)> = self.types.split(',').filter_map(|one| one.split_once(':')).collect();
        let typed = |(name, text): (String, String)| {
            let kind = types.iter().find(|(other, _)| *other == name).map(|(_, kind)| *kind);
            let bad = || format!("`ce-{name}` is not of its type");
            let value = match kind {
                Some("integer") => Attribute::Integer(text.parse().map_err(|_| bad())?),
                Some("boolean") => Attribute::Boolean(text.parse().map_err(|_| bad())?),
                _ => Attribute::Text(text),
            };
            Ok((name, value))
        };
        std::mem::take(&mut self.others).into_iter().map(typed).collect()
    }
}

fn required(name: &str, value: Option<String>) -> Result<String, String> {
    value.filter(|value| !value.is_empty()).ok_or_else(|| format!("`ce-{name}` is missing"))
}

fn time_of(name: &str, value: Option<String>) -> Result<Option<DateTime<Utc>>, String> {
    let Some(text) = value else { return Ok(None) };
    let time = DateTime::parse_from_rfc3339(&text).map_err(|error| format!("`ce-{name}`: {error}"))?;
    Ok(Some(time.to_utc()))
}

#[cfg(test)]
mod tests;
