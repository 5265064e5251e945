//! A service of another language as a process, and what it is asked.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::house::top;

/// How long one may take to listen, on a machine that compiles beside it.
const START: Duration = Duration::from_secs(60);

/// A folder of `examples`.
pub fn example(name: &str) -> PathBuf {
    top().join("examples").join(name)
}

/// A process that ends with its test.
pub struct Service {
    _child: Child,
    pub url: String,
}

impl Service {
    /// Starts it, and waits until it says where it listens.
    pub async fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let listening = async {
            while let Some(line) = lines.next_line().await.expect("text") {
                if let Some(address) = line.strip_prefix("listening on ") {
                    return format!("http://{}", address.trim());
                }
            }
            panic!("it ended before it listened");
        };
        let url = tokio::time::timeout(START, listening).await.expect("it listens in time");
        // What it says later is read, so that it never waits for a reader.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { _child: child, url }
    }

    /// Sends a request; the status and the text of the answer.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, String) {
        ask(method, &format!("{}{path}", self.url), body).await
    }
}

/// Sends a request; the status and the text of the answer.
pub async fn ask(method: Method, url: &str, body: Option<&Value>) -> (u16, String) {
    let request = reqwest::Client::new().request(method, url);
    let request = match body {
        Some(body) => request.json(body),
        None => request,
    };
    let answer = request.send().await.unwrap_or_else(|error| panic!("{url}: {error}"));
    (answer.status().as_u16(), answer.text().await.expect("a body"))
}

/// Runs a command to its end, which must be a good one.
pub async fn run(mut command: Command) -> String {
    let output = command.kill_on_drop(true).output().await.expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Puts the schemas of these examples into one folder, as the services of a house share one.
pub fn schemas(into: &Path, examples: &[&str]) {
    for name in examples {
        for entry in std::fs::read_dir(example(name).join("schemas")).expect("a folder").flatten() {
            let to = into.join(entry.file_name());
            std::fs::create_dir_all(&to).expect("made");
            for file in std::fs::read_dir(entry.path()).expect("a folder").flatten() {
                std::fs::copy(file.path(), to.join(file.file_name())).expect("copied");
            }
        }
    }
}
