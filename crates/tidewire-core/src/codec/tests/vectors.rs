//! The public vectors, every one of them (`schemas/vectors`).

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value as Json, json};

use crate::codec::{CodecError, Defaults, Parsed, Value, http, json as format, kafka, nats};

fn vectors(file: &str) -> Vec<Json> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../schemas/vectors/cloudevents");
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    let found: Json = serde_json::from_str(&text).unwrap();
    found["vectors"].as_array().unwrap().clone()
}

fn bytes(text: &Json) -> Option<Bytes> {
    match text {
        Json::Null => None,
        Json::String(text) => Some(Bytes::from(text.clone())),
        other => Some(Bytes::from(STANDARD.decode(other["base64"].as_str().unwrap()).unwrap())),
    }
}

/// Bytes as the vectors write them.
fn written(bytes: &[u8]) -> Json {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "base64": STANDARD.encode(bytes) }),
    }
}

fn said(outcome: Result<Parsed<'_>, CodecError>) -> Json {
    let parsed = match outcome {
        Ok(parsed) => parsed,
        Err(error) => {
            let mut out = json!({ "error": error.name() });
            if let Some(attribute) = error.attribute() {
                out["attribute"] = json!(attribute);
            }
            return out;
        }
    };
    let value = |value: Value<'_>| match value {
        Value::Text(text) => json!(text),
        Value::Integer(number) => json!(number),
        Value::Boolean(boolean) => json!(boolean),
    };
    let attributes: Map<String, Json> =
        parsed.attributes().map(|(name, found)| (name.to_owned(), value(found))).collect();
    let mut event = json!({ "attributes": attributes });
    if let Some(data) = parsed.data() {
        event["data"] = written(data);
    }
    let deviations: Vec<&str> = parsed.deviations().iter().map(|deviation| deviation.kind.name()).collect();
    json!({ "event": event, "deviations": deviations })
}

fn read(vector: &Json) -> Json {
    let body = bytes(&vector["body"]);
    let text = body.clone().unwrap_or_default();
    let header = |pair: &Json| (pair[0].as_str().unwrap().to_owned(), bytes(&pair[1]));
    let headers: Vec<_> = vector["headers"].as_array().into_iter().flatten().map(header).collect();
    let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
    let full = pairs.clone().map(|(name, value)| (name, value.unwrap()));
    match vector["binding"].as_str().unwrap() {
        "json" => said(format::read(&text)),
        "json-batch" => match format::read_batch(&text, 3) {
            Ok(events) => json!({ "events": events.into_iter().map(said).collect::<Vec<_>>() }),
            Err(error) => said(Err(error)),
        },
        "http" => match http::decode(full, &text, 3) {
            Ok(http::Content::One(parsed)) => said(Ok(*parsed)),
            Ok(http::Content::Batch(_)) => panic!("a batch"),
            Err(error) => said(Err(error)),
        },
        "nats" => said(nats::decode(full, &text)),
        "kafka" => said(kafka::decode(pairs, body.as_deref())),
        other => panic!("{other}"),
    }
}

/// What a vector expects, without what it is given.
fn expected(vector: &Json) -> Json {
    let given = ["name", "binding", "headers", "body"];
    let kept = vector.as_object().unwrap().iter().filter(|(name, _)| !given.contains(&name.as_str()));
    Json::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
}

#[test]
fn every_vector_is_read_as_it_says() {
    let (mut count, mut faults) = (0, Vec::new());
    for file in ["json.json", "batch.json", "http.json", "nats.json", "kafka.json"] {
        for vector in vectors(file) {
            count += 1;
            let (found, wanted) = (read(&vector), expected(&vector));
            if found != wanted {
                faults.push(format!("{file}, {}:\n  found  {found}\n  wanted {wanted}", vector["name"]));
            }
        }
    }
    println!("CloudEvents vectors: {} of {count} are read as they say", count - faults.len());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(count >= 260, "only {count} vectors were found");
}

fn sorted(mut headers: Vec<(String, String)>) -> Json {
    headers.sort();
    json!(headers)
}

#[test]
fn every_vector_is_written_as_it_says() {
    let all = vectors("write.json");
    for vector in &all {
        let mut event = vector["event"]["attributes"].clone();
        if let Some(data) = bytes(&vector["event"]["data"]) {
            event["data_base64"] = json!(STANDARD.encode(data));
        }
        let text = Bytes::from(event.to_string());
        let envelope = format::read(&text).unwrap().into_envelope(&Defaults::default()).unwrap();
        let name = &vector["name"];
        for (binding, encoded) in
            [("http", http::encode_binary(&envelope).unwrap()), ("nats", nats::encode_binary(&envelope).unwrap())]
        {
            let headers = encoded.headers.into_iter().map(|(name, value)| (name.into_owned(), value)).collect();
            let found = json!({ "headers": sorted(headers), "body": written(&encoded.body) });
            assert_eq!(found, vector[binding], "{name} to {binding}");
        }
        let encoded = kafka::encode_binary(&envelope).unwrap();
        let headers = encoded.headers.into_iter().map(|(name, value)| (name.into_owned(), value)).collect();
        let value = encoded.value.as_deref().map_or(Json::Null, written);
        assert_eq!(json!({ "headers": sorted(headers), "body": value }), vector["kafka"], "{name} to kafka");
    }
    println!("CloudEvents vectors: {0} of {0} are written as they say, to three bindings each", all.len());
    assert!(all.len() >= 8);
}
