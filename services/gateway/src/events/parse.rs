//! CloudEvents over HTTP: binary, structured and batched content, made envelopes.

use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use tidewire::codec::{self, CodecError, Departure, Parsed, http, json};
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

/// What an emitter may get wrong without being refused: libraries that are in wide use do, and nobody can take it for
/// anything else. The rest of what the codec reads in spite of a deviation is refused here, where its writer is told.
fn is_tolerated(departure: Departure) -> bool {
    matches!(
        departure,
        Departure::NotPercentEncoded | Departure::QuotedValue | Departure::TimeForm | Departure::RelativeSchema
    )
}

/// Tells the content mode by the content type, and reads it. Fails for what concerns the request as a whole.
pub(super) fn parse(headers: &HeaderMap, body: Bytes, defaults: &Defaults) -> Result<Content, Problem> {
    check_content(headers, &body)?;
    let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    match http::decode(pairs, &body, MAX_BATCH) {
        Ok(http::Content::One(parsed)) => Ok(Content::One(Box::new(came(*parsed, defaults)))),
        Ok(http::Content::Batch(events)) if events.is_empty() => Err(batch_size("none")),
        Ok(http::Content::Batch(events)) => {
            let each = |event: json::Element<'_>| came(event?, defaults);
            Ok(Content::Batch(events.into_iter().map(each).collect()))
        }
        Err(CodecError::Limit { what, .. }) if what == json::EVENTS_OF_A_BATCH => Err(batch_size("more")),
        Err(CodecError::NoEvent { .. } | CodecError::UnsupportedMediaType { .. }) => Err(unsupported()),
        // Of one event: what is wrong with it is the answer to the request.
        Err(error) => Ok(Content::One(Box::new(Err(error.into())))),
    }
}

fn batch_size(found: &str) -> Problem {
    Problem::invalid(format!("a batch holds 1 to {MAX_BATCH} events, not {found}"))
}

fn unsupported() -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "http.unsupported_media_type",
        "send application/cloudevents+json, application/cloudevents-batch+json, or the data with `ce-` headers",
    )
}

/// Checks what a body must be before anybody looks for events in it.
fn check_content(headers: &HeaderMap, body: &Bytes) -> Result<(), Problem> {
    let named = headers.keys().any(|name| name.as_str().starts_with("ce-"));
    if body.is_empty() && !headers.contains_key(header::CONTENT_TYPE) && named {
        return Ok(());
    }
    let essence = check_media_type(headers, |_| true);
    if body.is_empty() && !named {
        return Err(JsonError::Empty.into());
    }
    let essence = essence?;
    match essence.as_str() {
        json::CONTENT_TYPE | json::BATCH_CONTENT_TYPE => Ok(check_json(body)?),
        essence if !named || essence.starts_with("application/cloudevents") => Err(unsupported()),
        essence if is_json(essence) && !body.is_empty() => {
            check_json(body).map_err(|error| invalid("data", &error.to_string()))
        }
        _ => Ok(()),
    }
}

fn is_json(essence: &str) -> bool {
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

/// Makes an envelope, with what the edge fills in, and without what only the log may say.
fn came(mut parsed: Parsed<'_>, defaults: &Defaults) -> Result<Came, Problem> {
    parsed.accept_only(is_tolerated)?;
    for deviation in parsed.deviations() {
        tracing::debug!(%deviation, "an event is taken in spite of a deviation");
    }
    if let Some((reserved, _)) = parsed.attributes().find(|(name, _)| name.starts_with("tw")) {
        return Err(invalid(reserved, "names that start with `tw` are ours"));
    }
    // An event read from a log may be sent to another one: what that log said of it does not count here.
    parsed.forget("sequence");
    parsed.forget("recordedtime");
    let has_key = parsed.has_key();
    // A key that the client left out follows from the data, later.
    let given = codec::Defaults { time: Some(defaults.now), key: Some("?"), is_keyed_by_subject: false };
    let mut envelope = parsed.into_envelope(&given)?;
    // A malformed trace is no reason to lose an event: it begins anew.
    envelope.traceparent =
        envelope.traceparent.filter(|it| is_traceparent(it)).or_else(|| defaults.traceparent.clone());
    Ok(Came { envelope, has_key })
}

fn invalid(attribute: &str, reason: &str) -> Problem {
    let attribute = attribute.chars().take(40).flat_map(char::escape_default).collect();
    EnvelopeError::Invalid { attribute, reason: reason.to_owned() }.into()
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
