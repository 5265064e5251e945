//! The codec: whatever is read can be written and read again, and whatever is refused is refused with a reason.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use tidewire_core::Envelope;
use tidewire_core::bytes::Bytes;
use tidewire_core::chrono::DateTime;
use tidewire_core::codec::{CodecError, Defaults, Departure, Parsed, Place, http, json, kafka, nats};
use tidewire_core::envelope::Attribute;

use super::Target;

/// An input as text: the binding, then headers as lines, an empty line, and the body.
struct Input<'a> {
    binding: &'a str,
    headers: Vec<(&'a str, &'a [u8])>,
    body: Bytes,
}

impl<'a> Input<'a> {
    fn of(input: &'a [u8]) -> Self {
        let mut lines = input.splitn(2, |byte| *byte == b'\n');
        let binding = std::str::from_utf8(lines.next().unwrap_or_default()).unwrap_or("json");
        let rest = lines.next().unwrap_or_default();
        let end = rest.windows(2).position(|pair| pair == b"\n\n");
        let (head, body) = end.map_or((&b""[..], rest), |at| (&rest[..at], &rest[at + 2..]));
        let header = |line: &'a [u8]| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            Some((std::str::from_utf8(&line[..colon]).ok()?, &line[colon + 1..]))
        };
        let headers = head.split(|byte| *byte == b'\n').filter_map(header).collect();
        Self { binding, headers, body: Bytes::copy_from_slice(body) }
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().copied()
    }

    fn parsed(&self) -> Vec<Result<Parsed<'_>, CodecError>> {
        let one = match self.binding {
            "http" => match http::decode(self.pairs(), &self.body, 3) {
                Ok(http::Content::Batch(batch)) => return batch,
                Ok(http::Content::One(parsed)) => Ok(*parsed),
                Err(error) => Err(error),
            },
            "nats" => nats::decode(self.pairs(), &self.body),
            "kafka" => kafka::decode(self.pairs().map(|(name, value)| (name, Some(value))), Some(&self.body)),
            "json-batch" => match json::read_batch(&self.body, 3) {
                Ok(batch) => return batch,
                Err(error) => Err(error),
            },
            _ => {
                agrees_with_survey(&self.body);
                json::read(&self.body)
            }
        };
        vec![one]
    }
}

/// A survey finds something exactly where a reader refuses.
fn agrees_with_survey(body: &Bytes) {
    let found = json::survey(body).map(|(_, faults)| faults);
    match (json::read(body), found) {
        (Ok(_), Ok(faults)) => assert!(faults.is_empty(), "{faults:?}"),
        (Err(error), Ok(faults)) => assert!(faults.contains(&error), "{error} is not among {faults:?}"),
        (Err(error), Err(other)) => assert_eq!(error, other),
        (Ok(_), Err(error)) => panic!("read, and yet {error}"),
    }
}

fn check(input: &[u8]) -> bool {
    let input = Input::of(input);
    let mut accepted = false;
    for parsed in input.parsed() {
        match parsed {
            Err(error) => is_told(&error, input.body.len()),
            Ok(parsed) => accepted |= is_kept(parsed),
        }
    }
    accepted
}

/// A refusal says what, and where.
fn is_told(error: &CodecError, length: usize) {
    assert!(!error.to_string().is_empty() && !error.name().is_empty());
    assert!(error.to_string().len() < 2_000, "{error}");
    if let Some(Place::Text { offset, line, column }) = error.place() {
        assert!(*offset <= length && *line >= 1 && *column >= 1 && *column <= offset + 1, "{error:?} of {length}");
    }
}

/// What was read goes through every writer and comes back.
fn is_kept(parsed: Parsed<'_>) -> bool {
    let given = Defaults { time: Some(DateTime::UNIX_EPOCH), key: None, is_keyed_by_subject: true };
    let envelope = match parsed.into_envelope(&given) {
        Ok(envelope) => envelope,
        Err(error) => {
            is_told(&error, usize::MAX);
            return false;
        }
    };
    envelope.check().unwrap_or_else(|error| panic!("it was read, and is no envelope: {error}: {envelope:?}"));
    through_json(&envelope);
    through_headers(&envelope);
    true
}

fn through_json(envelope: &Envelope) {
    let exact = json::write_trusted(envelope);
    assert_eq!(&again(json::read_slice(&exact)), envelope);
    assert_eq!(&Envelope::from_trusted_json(&exact).expect("ours"), envelope);
    let written = Bytes::from(json::write(envelope).expect("checked"));
    let mut trimmed = envelope.clone();
    if envelope.is_json() {
        trimmed.data = envelope.data.as_ref().map(|data| Bytes::copy_from_slice(data.trim_ascii()));
    }
    assert_eq!(again(json::read(&written)), trimmed);
    let batch = Bytes::from(json::write_batch(&[envelope.clone(), envelope.clone()]).expect("checked"));
    for read in json::read_batch(&batch, 2).expect("a batch") {
        assert_eq!(again(read), trimmed);
    }
}

fn through_headers(envelope: &Envelope) {
    let written = nats::encode_binary(envelope).expect("checked");
    for (name, value) in &written.headers {
        assert!(name.bytes().all(|byte| (0x21..0x7f).contains(&byte) && byte != b':'), "{name}");
        let is_allowed = |byte: u8| (0x21..0x7f).contains(&byte) || byte == b' ' && name == "content-type";
        assert!(value.bytes().all(is_allowed), "{name}: {value}");
    }
    assert_eq!(&again(nats::decode(pairs(&written.headers), &written.body)), envelope);
    assert_eq!(&again(nats::decode_trusted(pairs(&written.headers), &written.body)), envelope);

    let written = kafka::encode_binary(envelope).expect("checked");
    let headers = pairs(&written.headers).map(|(name, value)| (name, Some(value)));
    assert_eq!(&again(kafka::decode(headers, written.value.as_deref())), envelope);

    let Ok(written) = http::encode_binary(envelope) else {
        let media_type = envelope.datacontenttype.as_deref().unwrap_or_default();
        let is_structured = media_type.to_ascii_lowercase().starts_with("application/cloudevents");
        let is_bare = media_type.is_ascii() && media_type.trim() == media_type;
        assert!(is_structured || !is_bare, "{envelope:?}");
        return;
    };
    let parsed = http::decode_one(pairs(&written.headers), &written.body).expect("ours").expect("an event");
    assert_eq!(again(Ok(parsed)), over_http(envelope));
}

fn pairs<'a>(headers: &'a [(std::borrow::Cow<'static, str>, String)]) -> impl Iterator<Item = (&'a str, &'a [u8])> {
    headers.iter().map(|(name, value)| (name.as_ref(), value.as_bytes()))
}

/// What HTTP cannot tell apart.
fn over_http(envelope: &Envelope) -> Envelope {
    let mut envelope = envelope.clone();
    if envelope.data.is_some() {
        envelope.datacontenttype.get_or_insert_with(|| "application/json".into());
    }
    envelope.data = envelope.data.filter(|data| !data.is_empty());
    for value in envelope.extensions.values_mut() {
        *value = Attribute::Text(value.to_text());
    }
    envelope
}

/// What we write has no deviation that the event did not bring along itself.
fn again(read: Result<Parsed<'_>, CodecError>) -> Envelope {
    let parsed = read.unwrap_or_else(|error| panic!("ours is not read: {error}"));
    for deviation in parsed.deviations() {
        let is_its_own = matches!(deviation.kind, Departure::RelativeSchema | Departure::PrefixedContentType);
        assert!(is_its_own, "ours is written with {deviation}");
    }
    parsed.into_envelope(&Defaults::default()).unwrap_or_else(|error| panic!("ours is not read: {error}"))
}

/// The public vectors, and events that are envelopes of ours.
fn corpus() -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../schemas/vectors/cloudevents");
    let mut corpus = Vec::new();
    for file in ["json.json", "batch.json", "http.json", "nats.json", "kafka.json"] {
        let text = std::fs::read_to_string(folder.join(file)).expect("the vectors");
        let found: Value = serde_json::from_str(&text).expect("JSON");
        for vector in found["vectors"].as_array().expect("vectors") {
            let text = input(vector);
            corpus.push(text.replace("com.example.someevent", "a.happened.v1").into_bytes());
        }
    }
    assert!(corpus.len() > 250);
    corpus
}

fn input(vector: &Value) -> String {
    let mut headers = BTreeMap::new();
    for pair in vector["headers"].as_array().into_iter().flatten() {
        headers.insert(pair[0].as_str().expect("a name"), pair[1].as_str().unwrap_or_default());
    }
    let headers: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let body = vector["body"].as_str().unwrap_or_default();
    format!("{}\n{headers}\n{body}", vector["binding"].as_str().expect("a binding"))
}

const DICTIONARY: &[&str] = &[
    "ce-id",
    "ce_id",
    "ce-subject:",
    "ce_subject:",
    "ce-time:",
    "ce-datacontenttype:",
    "content-type:",
    "application/json",
    "application/cloudevents+json",
    "application/cloudevents-batch+json",
    "; charset=utf-8",
    "text/plain",
    "tw-types:n:integer",
    "tw-data:empty",
    "tidewire-hints:type,i:n,b:b",
    "\"data\":",
    "\"data_base64\":",
    "\"datacontenttype\":\"text/plain\"",
    "\"n\":7",
    "\"specversion\":\"1.0\"",
    "\"partitionkey\":\"k\"",
    "\"sequence\":\"7\"",
    "\"expirytime\":\"9999-12-31T23:59:59-01:00\"",
    "0000-01-01T00:00:00+01:00",
    "2016-12-31T23:59:60Z",
    "\"_-8=\"",
    "\n\n",
    ".v1",
    ".v65536",
];

#[test]
fn the_codec_survives() {
    Target { name: "codec", corpus: corpus(), dictionary: DICTIONARY, check }.run();
}
