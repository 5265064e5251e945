//! A program in Python, and what it says.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use servers::{Missing, Python};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// How long a program may take: more than the patience it has itself.
const LIMIT: Duration = Duration::from_secs(120);

/// An event as a client understood it.
#[derive(Debug, Deserialize)]
pub struct Understood {
    /// What it was found under: a subject, or a partition and a record's key.
    pub place: Value,
    attributes: BTreeMap<String, String>,
    data: Value,
}

impl Understood {
    /// One of its attributes.
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).unwrap_or_else(|| panic!("no `{name}`: {self:?}"))
    }

    /// All of it that does not depend on the broker.
    pub fn as_said(&self) -> (BTreeMap<String, String>, Value) {
        (self.attributes.clone(), self.data.clone())
    }
}

/// Whether `TIDEWIRE_TEST_WITHOUT` names `python`, which is printed.
pub fn is_left_out() -> bool {
    let left_out = servers::left_out("python");
    if left_out {
        println!("left out: clients in Python (TIDEWIRE_TEST_WITHOUT)");
    }
    left_out
}

/// Has a program read all there is.
pub async fn read(program: &str, args: &[&str]) -> Vec<Understood> {
    let said = run(program, args, &[]).await;
    let event = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    said.lines().map(event).collect()
}

/// Runs one of the programs with these orders to read, and answers what it printed.
pub async fn run(program: &str, args: &[&str], orders: &[Value]) -> String {
    let python = tokio::task::spawn_blocking(python).await.expect("no panic").unwrap_or_else(|missing| {
        panic!("{missing}, or TIDEWIRE_TEST_WITHOUT=python to leave clients in Python out");
    });
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign").join(program);
    let mut command = Command::from(python.command());
    command.arg(path).args(args).kill_on_drop(true);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("Python runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    for order in orders {
        stdin.write_all(format!("{order}\n").as_bytes()).await.expect("it listens");
    }
    drop(stdin);
    let ended = tokio::time::timeout(LIMIT, child.wait_with_output()).await;
    let output = ended.unwrap_or_else(|_| panic!("{program} did not end")).expect("its output");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn python() -> Result<&'static Python, &'static Missing> {
    static PYTHON: OnceLock<Result<Python, Missing>> = OnceLock::new();
    PYTHON.get_or_init(|| Python::with("foreign", include_str!("requirements.txt"))).as_ref()
}
