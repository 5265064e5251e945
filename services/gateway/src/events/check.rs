//! What an event must be to enter the log: of a known type, after its schema, with the key its data gives.

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tidewire::http::Problem;
use tidewire::operate::OPERATOR_ACTED;
use tidewire::{Envelope, Key};

use super::parse::Came;
use crate::contracts::{Contracts, Known};

/// The places named when data does not follow its schema.
const MAX_PLACES: usize = 8;

impl Contracts {
    /// Checks an event and gives it its key. `max_bytes` is what the broker takes.
    pub(super) fn admit(&self, came: Came, now: DateTime<Utc>, max_bytes: usize) -> Result<Envelope, Problem> {
        let Came { mut envelope, has_key } = came;
        if envelope.size() > max_bytes {
            let detail = format!("the event takes about {} bytes; at most {max_bytes} are taken", envelope.size());
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "event.too_large", detail));
        }
        if envelope.expirytime.is_some_and(|expiry| expiry <= now) {
            return Err(bad("event.expired", "`expirytime` is in the past: nobody would handle the event"));
        }
        let known = self.known(envelope.ty.name()).ok_or_else(|| self.unknown(envelope.ty.name()))?;
        if envelope.ty.name() == OPERATOR_ACTED.name() {
            let detail = format!("`{}` tells what operators did; only the house itself emits it", envelope.ty.name());
            return Err(Problem::new(StatusCode::FORBIDDEN, "event.reserved", detail));
        }
        self.follow_schema(&envelope, &known)?;
        envelope.key = key_of(&envelope, has_key, &known)?;
        check_dataschema(&envelope)?;
        // A flow that nobody named is named after its first event.
        envelope.correlationid.get_or_insert_with(|| envelope.id.clone());
        Ok(envelope)
    }

    /// Whether the data of a parked event still is what its type asks for, and gives the key it has.
    pub(crate) fn fits(&self, envelope: &Envelope) -> Result<(), Problem> {
        let known = self.known(envelope.ty.name()).ok_or_else(|| self.unknown(envelope.ty.name()))?;
        self.follow_schema(envelope, &known)?;
        key_of(envelope, true, &known).map(drop)
    }

    fn follow_schema(&self, envelope: &Envelope, known: &Known) -> Result<(), Problem> {
        let (ty, newest) = (&envelope.ty, known.newest());
        let Some(validator) = self.validator(ty) else {
            let (name, version) = (ty.name(), ty.version());
            return Err(match version > newest {
                true => {
                    let detail =
                        format!("`{ty}` is newer than this build, which knows `{name}` up to version {newest}");
                    bad("event.newer_version", detail)
                }
                false => bad("event.unknown_type", format!("there is no schema of version {version} of `{name}`")),
            });
        };
        if !envelope.is_json() {
            return Err(bad("event.schema_invalid", format!("the data of `{ty}` is JSON, and is to be sent as JSON")));
        }
        let data = envelope.data.as_deref().unwrap_or(b"null");
        let data: Value = serde_json::from_slice(data).map_err(|error| bad("event.malformed", error))?;
        let places: Vec<Value> = validator
            .iter_errors(&data)
            .take(MAX_PLACES)
            .map(|error| json!({ "pointer": error.instance_path().to_string(), "detail": short(&error.masked().to_string()) }))
            .collect();
        match places.first() {
            None => Ok(()),
            Some(first) => {
                let said = first["detail"].as_str().unwrap_or_default();
                let place = first["pointer"].as_str().filter(|place| !place.is_empty()).unwrap_or("the data");
                let schema = format!("/schemas/{}/v{}.json", ty.name(), ty.version());
                let detail = format!("the data does not follow `{ty}`: at {place}: {said}");
                Err(bad("event.schema_invalid", detail).with("schema", schema).with("errors", places))
            }
        }
    }
}

/// The key its data gives; of a type that is only a schema file, the one the client named.
fn key_of(envelope: &Envelope, has_key: bool, known: &Known) -> Result<Key, Problem> {
    let Known::Own(entry) = known else {
        let name = envelope.ty.name();
        let detail = format!(
            "attribute `partitionkey` is missing: no Rust type says what `{name}` is kept in order by, so its emitter does"
        );
        let missing = || bad("event.malformed", detail).with("attribute", "partitionkey");
        return if has_key { Ok(envelope.key.clone()) } else { Err(missing()) };
    };
    let key = (entry.key)(envelope)?;
    if has_key && envelope.key != key {
        let detail = format!("`partitionkey` is `{}`, but the data gives `{key}`; it may be left out", envelope.key);
        return Err(bad("event.key_mismatch", detail));
    }
    Ok(key)
}

fn bad(code: &str, detail: impl std::fmt::Display) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, code, detail)
}

fn short(text: &str) -> String {
    text.chars().take(200).collect()
}

/// A schema elsewhere is never fetched, so none may be named.
fn check_dataschema(envelope: &Envelope) -> Result<(), Problem> {
    let Some(named) = &envelope.dataschema else { return Ok(()) };
    let ours = format!("/schemas/{}/v{}.json", envelope.ty.name(), envelope.ty.version());
    if named.ends_with(&ours) {
        return Ok(());
    }
    let detail =
        format!("attribute `dataschema` is invalid: the schema of `{}` is `{ours}`; it may be left out", envelope.ty);
    Err(bad("event.malformed", detail).with("attribute", "dataschema"))
}

/// Whether `text` is a W3C trace context of version 00: `00-<32 hex>-<16 hex>-<2 hex>`, ids not all zero.
pub(super) fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let id = |part: &str, length: usize| hex(part, length) && part.bytes().any(|b| b != b'0');
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next(), parts.next(), parts.next(), parts.next());
    version == Some("00")
        && trace.is_some_and(|trace| id(trace, 32))
        && span.is_some_and(|span| id(span, 16))
        && flags.is_some_and(|flags| hex(flags, 2))
        && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_told_from_noise() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert!(is_traceparent(&format!("00-{trace}-00f067aa0ba902b7-01")));
        for bad in [
            String::new(),
            format!("00-{trace}-00f067aa0ba902b7"),
            format!("ff-{trace}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{trace}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()),
            format!("00-{trace}-00f067aa0ba902b7-01-x"),
        ] {
            assert!(!is_traceparent(&bad), "{bad}");
        }
    }
}
