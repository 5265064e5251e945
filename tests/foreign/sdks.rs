//! The CloudEvents SDKs of others, without any broker: what our codec writes they read, and what they write it reads, in
//! every binding and mode they have. Attributes and data must be equal; where a library falls short of the
//! specification, the comparison says in what.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tidewire::bytes::Bytes;
use tidewire::codec::{self, Defaults, Departure, Parsed, http, kafka, percent};
use tidewire::envelope::Attribute;
use tidewire::{Envelope, Key};

use super::client::{is_left_out, run};
use super::{AWKWARD, node};

/// A library, and in what it is not as the specification has it.
#[derive(Clone, Copy)]
struct Library {
    name: &'static str,
    /// It leaves percent-encoding as it is in both directions, and writes text that no header may hold.
    is_deaf_to_percent: bool,
    /// It writes `True` into headers.
    capitalises_booleans: bool,
}

const PYTHON: Library = Library { name: "Python", is_deaf_to_percent: false, capitalises_booleans: true };
const NODE: Library = Library { name: "Node", is_deaf_to_percent: true, capitalises_booleans: false };

/// What is sent through, by what is special about it.
fn events() -> Vec<Envelope> {
    let text = r#"{"specversion":"1.0","id":"1","source":"/s","type":"user.followed.v1","time":"2026-01-31T12:00:00Z","partitionkey":"user/1"}"#;
    let least = Envelope::from_json(text.as_bytes()).expect("an event");
    let of = |n: usize, change: &dyn Fn(&mut Envelope)| {
        let mut event = Envelope { id: format!("event-{n}"), ..least.clone() };
        change(&mut event);
        event
    };
    let typed = |event: &mut Envelope, media_type: &str, data: &'static [u8]| {
        event.datacontenttype = Some(media_type.into());
        event.data = Some(Bytes::from_static(data));
    };
    vec![
        of(0, &|event| typed(event, "application/json", br#"{"n": 1.5, "text": "\u00fc"}"#)),
        of(1, &|event| typed(event, "application/json", r#"{"größe":["😀",null,true]}"#.as_bytes())),
        of(2, &|event| typed(event, "text/plain", "Größe: 100 %".as_bytes())),
        of(3, &|event| typed(event, "application/octet-stream", &[0, 159, 146, 150, 255])),
        of(4, &|event| {
            typed(event, "application/json", b"{}");
            event.subject = Some(AWKWARD.into());
            event.extensions.insert("tenant".into(), Attribute::Text("two words".into()));
        }),
        of(5, &|event| {
            typed(event, "application/json", b"{}");
            event.key = Key::new("user/ü 7").expect("a key");
            event.dataschema = Some("https://example.com/schemas/user".into());
            event.correlationid = Some("flow".into());
            event.causationid = Some("cause".into());
            event.traceparent = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into());
            event.sequence = Some(7);
        }),
        of(6, &|event| {
            typed(event, "application/json", b"{}");
            event.extensions.insert("n".into(), Attribute::Integer(-7));
            event.extensions.insert("flag".into(), Attribute::Boolean(true));
        }),
    ]
}

type Attributes = BTreeMap<String, String>;

/// Attributes as text, times without digits that say nothing.
fn text(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.strip_suffix(".000Z").map_or(text.clone(), |time| format!("{time}Z"))
}

fn attributes(event: &Envelope) -> Attributes {
    let all: BTreeMap<String, Value> = serde_json::from_slice(&event.to_json()).expect("JSON");
    all.iter()
        .filter(|(name, _)| !name.starts_with("data") || *name == "dataschema" || *name == "datacontenttype")
        .map(|(name, value)| (name.clone(), text(value)))
        .collect()
}

fn data(event: &Envelope) -> Value {
    let Some(data) = &event.data else { return Value::Null };
    match std::str::from_utf8(data) {
        Ok(text) if event.is_json() => json!({ "json": serde_json::from_str::<Value>(text).expect("JSON") }),
        Ok(text) => json!({ "text": text }),
        Err(_) => json!({ "base64": base64(data) }),
    }
}

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn bytes(text: &Value) -> Bytes {
    Bytes::from(STANDARD.decode(text.as_str().expect("text")).expect("base64"))
}

const WAYS: [(&str, &str); 4] =
    [("http", "binary"), ("http", "structured"), ("kafka", "binary"), ("kafka", "structured")];

/// The orders: every event, every way, for them to read; then for them to write.
fn orders() -> Vec<Value> {
    let mut orders = Vec::new();
    for event in events() {
        for (binding, mode) in WAYS {
            let (headers, body) = match (binding, mode) {
                ("http", "binary") => of_http(http::encode_binary(&event)),
                ("http", _) => of_http(http::encode_structured(&event)),
                (_, "binary") => of_kafka(kafka::encode_binary(&event)),
                _ => of_kafka(kafka::encode_structured(&event)),
            };
            orders.push(json!({
                "do": "read", "binding": binding, "headers": headers, "body": base64(&body), "key": event.key.as_str(),
            }));
        }
    }
    for event in events() {
        let mut given: BTreeMap<String, Value> = serde_json::from_slice(&event.to_json()).expect("JSON");
        given.retain(|name, _| name != "data" && name != "data_base64");
        for (binding, mode) in WAYS {
            orders.push(json!({
                "do": "write", "binding": binding, "mode": mode, "attributes": given, "data": data(&event),
            }));
        }
    }
    orders
}

fn of_http(encoded: Result<http::Encoded, codec::CodecError>) -> (Value, Bytes) {
    let http::Encoded { headers, body } = encoded.expect("it is written");
    (headers.into_iter().map(|(name, value)| (name.into_owned(), json!(value))).collect(), body)
}

fn of_kafka(encoded: Result<kafka::Encoded, codec::CodecError>) -> (Value, Bytes) {
    let kafka::Encoded { headers, value } = encoded.expect("it is written");
    let headers = headers.into_iter().map(|(name, value)| (name.into_owned(), json!(value))).collect();
    (headers, value.expect("all of them have data"))
}

/// What was counted.
#[derive(Default)]
struct Count {
    read: usize,
    written: usize,
    /// A percent sign that was not encoded can be read in two ways.
    ambiguous: usize,
    deviations: BTreeMap<&'static str, usize>,
}

/// Compares what a library answered with what was ordered.
fn compare(library: Library, answers: &[Value]) {
    let each = events().len() * WAYS.len();
    assert_eq!(answers.len(), 2 * each, "{answers:?}");
    let mut count = Count::default();
    for (index, answer) in answers.iter().enumerate() {
        let event = &events()[index % each / WAYS.len()];
        let way = WAYS[index % WAYS.len()];
        let at = format!("{} {} {way:?}: {answer}", library.name, event.id);
        assert!(answer.get("refused").is_none(), "{at}");
        if index < each {
            they_read(library, event, way, answer, &at);
            count.read += 1;
        } else {
            we_read(library, event, way, answer, &at, &mut count);
        }
    }
    println!(
        "CloudEvents SDK for {}: {} events of ours read, {} of theirs read, all equal; {} of theirs refused as ambiguous; deviations \
         named in theirs: {:?}",
        library.name, count.read, count.written, count.ambiguous, count.deviations
    );
    assert_eq!(count.ambiguous, usize::from(library.is_deaf_to_percent));
}

fn they_read(library: Library, event: &Envelope, way: (&str, &str), answer: &Value, at: &str) {
    let mut expected = attributes(event);
    if library.is_deaf_to_percent && way == ("http", "binary") {
        for (name, value) in &mut expected {
            if name != "datacontenttype" {
                *value = percent::encode(value).into_owned();
            }
        }
    }
    let found: BTreeMap<String, Value> = serde_json::from_value(answer["attributes"].clone()).expect("attributes");
    let found: Attributes = found.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    assert_eq!(found, expected, "{at}");
    assert_eq!(answer["data"], data(event), "{at}");
}

fn we_read(library: Library, event: &Envelope, way: (&str, &str), answer: &Value, at: &str, count: &mut Count) {
    let headers: BTreeMap<String, String> = serde_json::from_value(answer["headers"].clone()).expect("headers");
    let body = bytes(&answer["body"]);
    let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let has_percent = event.subject.as_deref().is_some_and(|subject| subject.contains('%'));
    if library.is_deaf_to_percent && way == ("http", "binary") && has_percent {
        let error = http::decode_one(pairs, &body).expect_err("a bare percent sign");
        assert_eq!(error.attribute(), Some("subject"), "{at}");
        count.ambiguous += 1;
        return;
    }
    count.written += 1;
    let parsed: Parsed<'_> = match way.0 {
        "http" => http::decode_one(pairs, &body).unwrap_or_else(|error| panic!("{error}: {at}")).expect("an event"),
        _ => {
            let pairs = pairs.map(|(name, value)| (name, Some(value)));
            kafka::decode(pairs, Some(&body)).unwrap_or_else(|error| panic!("{error}: {at}"))
        }
    };
    for deviation in parsed.deviations() {
        let is_known = matches!(deviation.kind, Departure::NotPercentEncoded | Departure::PrefixedContentType);
        assert!(library.is_deaf_to_percent && is_known, "{deviation}: {at}");
        *count.deviations.entry(deviation.kind.name()).or_default() += 1;
    }
    let read = parsed.into_envelope(&Defaults::default()).unwrap_or_else(|error| panic!("{error}: {at}"));
    let mut found = attributes(&read);
    if library.capitalises_booleans
        && let Some(flag) = found.get_mut("flag")
    {
        *flag = flag.to_lowercase();
    }
    assert_eq!(found, attributes(event), "{at}");
    assert_eq!(data(&read), data(event), "{at}");
}

#[tokio::test]
async fn the_python_sdk_and_we_read_each_other() {
    if is_left_out() {
        return;
    }
    let said = run("cloudevents_sdk.py", &[], &orders()).await;
    let answers: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    compare(PYTHON, &answers);
}

#[test]
fn the_node_sdk_and_we_read_each_other() {
    let Some(command) = node::script("cloudevents.cjs") else { return };
    let answers = conversation(command, &orders());
    compare(NODE, &answers);
}

/// Runs a program with orders to read.
fn conversation(mut command: Command, orders: &[Value]) -> Vec<Value> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Node runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    let lines: String = orders.iter().map(|order| format!("{order}\n")).collect();
    // What it answers meanwhile has to be read: pipes are small.
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()).expect("it listens"));
    let output = child.wait_with_output().expect("its output");
    writer.join().expect("no panic");
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The SDK for Rust has no batch and no NATS; its JSON format is what can be compared without its bindings.
#[test]
fn the_rust_sdk_and_we_read_each_other() {
    let (mut read, mut written) = (0, 0);
    for event in events() {
        let theirs: cloudevents::Event = serde_json::from_slice(&event.to_json()).expect("they read ours");
        let converted = Envelope::try_from(theirs.clone()).expect("it converts");
        assert_eq!((attributes(&converted), data(&converted)), (attributes(&event), data(&event)), "{}", event.id);
        read += 1;
        let text = Bytes::from(serde_json::to_vec(&theirs).expect("they write"));
        let parsed = codec::json::read(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
        assert_eq!(parsed.deviations(), [], "{text:?}");
        let again = parsed.into_envelope(&Defaults::default()).expect("an event");
        assert_eq!((attributes(&again), data(&again)), (attributes(&event), data(&event)), "{text:?}");
        written += 1;
    }
    println!("CloudEvents SDK for Rust: {read} events of ours read, {written} of theirs read, all equal");
}
