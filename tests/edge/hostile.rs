//! Everything that is no good, from one table, against a real instance: each line with the answer it must get.
//!
//! `hostile.yaml` is the table. A line either holds a request and its answer, or names the tests that show the case
//! elsewhere; both kinds are checked here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::address;
use crate::house::top;
use crate::support::process::Instance;

/// Cases of the catalogue that reach the edge, the attributes, credentials, consumers and schemas.
const MUST_BE_THERE: std::ops::RangeInclusive<u32> = 1..=60;
/// For one answer, on a machine that compiles beside it.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// The case of the catalogue.
    case: u32,
    what: String,
    /// `METHOD path`, or nothing where `raw` or `shown_by` says it all.
    send: Option<String>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: Body,
    /// The bytes of a whole request, for what no client would send.
    raw: Option<String>,
    /// The status, and the code where the answer is a problem.
    answers: Option<String>,
    /// `file::test`, one or several.
    #[serde(default)]
    shown_by: Vec<String>,
    /// Why it cannot happen here, where it cannot.
    ruled_out: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "snake_case")]
enum Body {
    #[default]
    None,
    Text(String),
    Hex(String),
    /// The good event with members set, or removed by null.
    Event(Value),
    /// `before`, `times` of `piece`, `after`.
    Made {
        #[serde(default)]
        before: String,
        piece: String,
        times: usize,
        #[serde(default)]
        after: String,
    },
    /// A batch of so many good events, one of them changed.
    Batch {
        events: usize,
        #[serde(default)]
        at: usize,
        #[serde(default)]
        change: Value,
    },
}

impl Body {
    fn bytes(&self, name: &str) -> Vec<u8> {
        match self {
            Self::None => Vec::new(),
            Self::Text(text) => text.clone().into_bytes(),
            Self::Hex(text) => {
                let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
                let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("hex");
                digits.chunks(2).map(byte).collect()
            }
            Self::Event(change) => changed(name, change).to_string().into_bytes(),
            Self::Made { before, piece, times, after } => {
                format!("{before}{}{after}", piece.repeat(*times)).into_bytes()
            }
            Self::Batch { events, at, change } => {
                let one = |n: usize| changed(&format!("{name}-{n}"), if n == *at { change } else { &Value::Null });
                json!((0..*events).map(one).collect::<Vec<_>>()).to_string().into_bytes()
            }
        }
    }
}

fn changed(id: &str, change: &Value) -> Value {
    let mut event = json!({
        "specversion": "1.0", "id": id, "source": "/hostile", "type": "user.followed.v1",
        "data": { "follower_id": "7", "followed_id": "42" },
    });
    for (name, value) in change.as_object().into_iter().flatten() {
        match value {
            Value::Null => drop(event.as_object_mut().expect("an object").remove(name)),
            // What the table should not have to spell out: a text of so many characters.
            Value::Object(made) if made.contains_key("text_of") => {
                event[name] = "x".repeat(made["text_of"].as_u64().expect("a number") as usize).into();
            }
            value => event[name] = value.clone(),
        }
    }
    event
}

fn table() -> Vec<Line> {
    serde_yaml_ng::from_str(include_str!("hostile.yaml")).expect("the table can be read")
}

/// What came back: the status, and the code of a problem.
struct Came {
    status: u16,
    code: String,
    text: String,
}

impl Came {
    fn of(status: u16, content_type: &str, text: String) -> Self {
        let code = match content_type == "application/problem+json" {
            true => serde_json::from_str::<Value>(&text).expect("JSON")["code"].as_str().expect("a code").to_owned(),
            false => String::new(),
        };
        Self { status, code, text }
    }

    fn answers(&self) -> String {
        format!("{} {}", self.status, self.code).trim().to_owned()
    }
}

async fn send(instance: &Instance, line: &Line, name: &str) -> Came {
    let (method, path) = line.send.as_deref().and_then(|send| send.split_once(' ')).expect("METHOD path");
    // As it stands: a client that tidies addresses up would hide what is wrong with them.
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    for (name, value) in &line.headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut request = request.replace("{long}", &"x".repeat(10_000)).into_bytes();
    let body = line.body.bytes(name);
    request.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    request.extend_from_slice(&body);
    exchange(instance, &request).await
}

/// Sends bytes and reads until the other side closes.
async fn exchange(instance: &Instance, request: &[u8]) -> Came {
    let mut stream = TcpStream::connect(address(instance)).await.expect("connected");
    let (mut read, mut write) = stream.split();
    let mut said = Vec::new();
    let both = async {
        let send = async {
            // Whoever is refused early need not be listened to.
            let _ = write.write_all(request).await;
        };
        let receive = async {
            let _ = read.read_to_end(&mut said).await;
        };
        tokio::join!(send, receive)
    };
    tokio::time::timeout(PATIENCE, both).await.expect("the connection was closed");
    let said = String::from_utf8_lossy(&said).into_owned();
    let (head, body) = said.split_once("\r\n\r\n").unwrap_or((&said, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).unwrap_or_default()
    };
    // What comes behind it answers another request.
    let length = header("content-length").parse().unwrap_or(body.len());
    Came::of(status, &header("content-type"), body.get(..length).unwrap_or(body).to_owned())
}

async fn head(instance: &Instance) -> u64 {
    instance.get("/v1/status").await["store"]["head"].as_u64().expect("a position")
}

/// One instance takes the whole table; whatever is refused leaves no trace, and nothing stops it.
#[tokio::test(flavor = "multi_thread")]
async fn every_hostile_request_gets_its_answer_and_leaves_no_trace() {
    let dir = TempDir::new().expect("a folder");
    let env = [("TIDEWIRE_HTTP__HEADER_TIMEOUT", "2s"), ("TIDEWIRE_HTTP__REQUEST_TIMEOUT", "20s")];
    let instance = Instance::up(&dir.path().join("data"), &env).await.expect("it starts");
    let (mut sent, mut wrong) = (0, Vec::new());
    for (number, line) in table().iter().enumerate() {
        let Some(expected) = &line.answers else { continue };
        let name = format!("B{}: {}", line.case, line.what);
        let before = head(&instance).await;
        let came = match &line.raw {
            Some(raw) => exchange(&instance, raw.as_bytes()).await,
            None => send(&instance, line, &format!("line-{number}")).await,
        };
        sent += 1;
        // Where several answers are right, the table says so with a bar.
        if !expected.split('|').any(|one| one.trim() == came.answers()) {
            wrong.push(format!("{name}: expected {expected}, got {}: {:.300}", came.answers(), came.text));
        }
        let (after, refused) = (head(&instance).await, came.status == 0 || came.status >= 400);
        if refused && after != before {
            wrong.push(format!("{name}: refused, and {} events are in the log all the same", after - before));
        }
        if came.text.contains("panicked") || came.text.contains("/src/") {
            wrong.push(format!("{name}: shows what is inside: {:.300}", came.text));
        }
    }
    assert!(wrong.is_empty(), "{} of {sent} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(!instance.log().contains("panic"), "{}", instance.log());
    assert_eq!(instance.get("/readyz").await["status"], "ready");
    println!("{sent} hostile requests got their answers");
}

/// A table with holes would show less than it says; a test that is named and not there shows nothing.
#[test]
fn every_case_is_in_the_table_and_every_test_it_names_is_there() {
    let lines = table();
    let mut by_case: BTreeMap<u32, usize> = BTreeMap::new();
    let (mut elsewhere, mut ruled_out) = (BTreeSet::new(), 0);
    for line in &lines {
        *by_case.entry(line.case).or_default() += 1;
        let ways = [line.answers.is_some(), !line.shown_by.is_empty(), line.ruled_out.is_some()];
        assert_eq!(ways.iter().filter(|way| **way).count(), 1, "B{}: {} is shown in one way", line.case, line.what);
        ruled_out += usize::from(line.ruled_out.is_some());
        for named in &line.shown_by {
            let (file, test) = named.split_once("::").expect("file::test");
            let source = std::fs::read_to_string(top().join(file));
            let source = source.unwrap_or_else(|error| panic!("B{}: {file}: {error}", line.case));
            assert!(source.contains(&format!("fn {test}(")), "B{}: {file} has no test {test}", line.case);
            elsewhere.insert(named.clone());
        }
    }
    let missing: Vec<u32> = MUST_BE_THERE.filter(|case| !by_case.contains_key(case)).collect();
    assert!(missing.is_empty(), "not in the table: {missing:?}");
    println!(
        "{} cases in {} lines: {} sent here, {} tests elsewhere, {ruled_out} ruled out",
        by_case.len(),
        lines.len(),
        lines.iter().filter(|line| line.answers.is_some()).count(),
        elsewhere.len(),
    );
}
