//! CloudEvents over HTTP: binary, structured and batched content, made envelopes.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use tidewire::envelope::is_attribute_name;
use tidewire::http::{JsonError, Problem, check_json, check_media_type};
use tidewire::{Envelope, EnvelopeError};

use super::check::is_traceparent;

/// The most events of one batch: a commit of some tens of milliseconds.
pub(super) const MAX_BATCH: usize = 1_000;

/// What the edge fills in where the client left it out.
pub(super) struct Defaults {
    /// The time of an event that names none.
    pub now: DateTime<Utc>,
    /// The trace of an event that names none, or a malformed one: that of the request.
    pub traceparent: Option<String>,
}

/// An event as it came, its attributes checked one by one. Nothing was compared with the catalogue yet.
#[derive(Debug)]
pub(super) struct Came {
    /// The event. Without a `partitionkey` its key stands for nothing yet.
    pub envelope: Envelope,
    /// Whether the client named the key.
    pub has_key: bool,
}

/// What a request holds.
#[derive(Debug)]
pub(super) enum Content {
    /// One event.
    One(Box<Result<Came, Problem>>),
    /// A batch; each event for itself.
    Batch(Vec<Result<Came, Problem>>),
}

/// Tells the content mode by the content type, and reads it. Fails for what concerns the request as a whole.
pub(super) fn parse(headers: &HeaderMap, body: Bytes, defaults: &Defaults) -> Result<Content, Problem> {
    let named = headers.keys().any(|name| name.as_str().starts_with("ce-"));
    if !headers.contains_key(header::CONTENT_TYPE) && named && body.is_empty() {
        return Ok(Content::One(Box::new(binary(headers, body, defaults))));
    }
    let essence = check_media_type(headers, |_| true);
    if body.is_empty() && !named {
        return Err(JsonError::Empty.into());
    }
    match essence?.as_str() {
        "application/cloudevents+json" => {
            check_json(&body)?;
            Ok(Content::One(Box::new(structured(&body, defaults))))
        }
        "application/cloudevents-batch+json" => batch(&body, defaults).map(Content::Batch),
        essence if named && !essence.starts_with("application/cloudevents") => {
            Ok(Content::One(Box::new(binary(headers, body, defaults))))
        }
        _ => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "http.unsupported_media_type",
            "send application/cloudevents+json, application/cloudevents-batch+json, or the data with `ce-` headers",
        )),
    }
}

fn batch(body: &[u8], defaults: &Defaults) -> Result<Vec<Result<Came, Problem>>, Problem> {
    check_json(body)?;
    let events: Vec<&RawValue> = serde_json::from_slice(body).map_err(|_| {
        Problem::new(StatusCode::BAD_REQUEST, "event.malformed", "a batch is a JSON array of CloudEvents")
    })?;
    if events.is_empty() || events.len() > MAX_BATCH {
        let detail = format!("a batch holds 1 to {MAX_BATCH} events, not {}", events.len());
        return Err(Problem::invalid(detail));
    }
    Ok(events.into_iter().map(|event| structured(event.get().as_bytes(), defaults)).collect())
}

/// Members of one event, each as the client wrote it.
type Members = BTreeMap<String, Box<RawValue>>;

/// Reads one event in the JSON format; `json` passed [`check_json`].
fn structured(json: &[u8], defaults: &Defaults) -> Result<Came, Problem> {
    let members: Members = serde_json::from_slice(json).map_err(|_| malformed("a CloudEvent in JSON is an object"))?;
    envelope(members, defaults)
}

/// Reads one event from `ce-` headers and the body as its data.
fn binary(headers: &HeaderMap, body: Bytes, defaults: &Defaults) -> Result<Came, Problem> {
    let mut members = Members::new();
    for name in headers.keys().filter(|name| name.as_str().starts_with("ce-")) {
        let attribute = &name.as_str()[3..];
        let mut values = headers.get_all(name).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(invalid(attribute, "the header is there more than once"));
        };
        if ["data", "data_base64", "datacontenttype"].contains(&attribute) {
            return Err(invalid(attribute, "this is no attribute in binary mode; Content-Type and the body say it"));
        }
        let text = value.to_str().ok().and_then(percent_decoded);
        let text = text.ok_or_else(|| invalid(attribute, "expected ASCII, all else percent-encoded as UTF-8"))?;
        members.insert(attribute.to_owned(), raw(&text)?);
    }
    let mut came = envelope(members, defaults)?;
    if !body.is_empty() {
        let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        came.envelope.datacontenttype = media_type.map(str::to_owned);
        if came.envelope.is_json() {
            check_json(&body).map_err(|error| invalid("data", &error.to_string()))?;
        }
        came.envelope.data = Some(body);
        came.envelope.check()?;
    }
    Ok(came)
}

/// Makes an envelope of members, with what the edge fills in, and without what only the log may say.
fn envelope(mut members: Members, defaults: &Defaults) -> Result<Came, Problem> {
    for attribute in ["specversion", "id", "source", "type"] {
        if !members.contains_key(attribute) {
            return Err(EnvelopeError::Missing { attribute }.into());
        }
    }
    if let Some(reserved) = members.keys().find(|name| name.starts_with("tw") && is_attribute_name(name)) {
        return Err(invalid(reserved, "names that start with `tw` are ours"));
    }
    // An event read from a log may be sent to another one: what that log said of it does not count here.
    members.remove("sequence");
    members.remove("recordedtime");
    if !members.contains_key("time") {
        let now = defaults.now.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        members.insert("time".into(), raw(&now)?);
    }
    let has_key = members.contains_key("partitionkey");
    if !has_key {
        members.insert("partitionkey".into(), raw("?")?);
    }
    let json = serde_json::to_vec(&members).map_err(Problem::internal)?;
    let mut envelope = Envelope::from_json(&json).map_err(without_place)?;
    // A malformed trace is no reason to lose an event: it begins anew.
    envelope.traceparent =
        envelope.traceparent.filter(|it| is_traceparent(it)).or_else(|| defaults.traceparent.clone());
    Ok(Came { envelope, has_key })
}

fn raw(text: &str) -> Result<Box<RawValue>, Problem> {
    to_raw_value(&Value::from(text)).map_err(Problem::internal)
}

/// Lines and columns of the text we put together mean nothing to the client.
fn without_place(error: EnvelopeError) -> Problem {
    match error {
        EnvelopeError::Malformed { reason } => malformed(reason.split(" at line ").next().unwrap_or_default()),
        other => other.into(),
    }
}

fn malformed(reason: &str) -> Problem {
    EnvelopeError::Malformed { reason: reason.to_owned() }.into()
}

fn invalid(attribute: &str, reason: &str) -> Problem {
    let attribute = attribute.chars().take(40).flat_map(char::escape_default).collect();
    EnvelopeError::Invalid { attribute, reason: reason.to_owned() }.into()
}

/// Undoes one round of percent-encoding; `None` for what is not well encoded.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        decoded.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
