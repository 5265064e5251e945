//! The OpenAPI document before foreign judges: a validator, and Schemathesis, which asks for everything it promises.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use servers::Python;
use tempfile::TempDir;

use crate::house::top;
use crate::support::process::Instance;

const REQUIREMENTS: &str = include_str!("requirements.txt");
const VALIDATE: &str =
    "import json, sys; from openapi_spec_validator import validate; validate(json.load(open(sys.argv[1])))";
/// Requests per operation and phase: a minute or so for all.
const EXAMPLES: &str = "8";
/// Where its random choices come from: the same requests every time.
const SEED: &str = "20261120";
/// Streams never end, and what reads the whole log is nothing to be asked a thousand times.
const NOT_ASKED: &str = "/stream$|^/v1/audit$|^/v1/log/";
/// It reaches into the network when asked, and there is none.
const NOT_CALLED: &str = "^/v1/subscriptions/[^/]+/test$";

fn python() -> Option<Python> {
    if servers::left_out("python") {
        println!("left out: python");
        return None;
    }
    Some(Python::with("openapi", REQUIREMENTS).unwrap_or_else(|missing| panic!("{missing}")))
}

/// Runs to its end; what it said is the failure.
fn run(mut command: Command) -> String {
    let output = command.output().expect("it runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} ended with {:?}:\n{said}", output.status.code());
    said
}

#[test]
fn a_foreign_validator_takes_the_document() {
    let Some(python) = python() else { return };
    let mut command = python.command();
    command.args(["-c", VALIDATE]).arg(top().join("schemas/openapi.json"));
    run(command);
}

/// Somebody to read about, and everything that follows from him.
async fn seed(instance: &Instance) {
    let client = reqwest::Client::new();
    let ask = |method: reqwest::Method, path: &str, content_type: &str, body: String| {
        let request = client.request(method, format!("{}{path}", instance.url));
        let request = request.header("content-type", content_type.to_owned()).body(body);
        async move {
            let answer = request.send().await.expect("answered");
            assert!(answer.status().is_success(), "{answer:?}");
        }
    };
    for (id, name) in [("7", "Grace"), ("42", "Ada"), ("ada", "Ada Lovelace")] {
        ask(reqwest::Method::POST, "/v1/users", "application/json", json!({ "id": id, "name": name }).to_string())
            .await;
    }
    ask(reqwest::Method::PUT, "/v1/users/7/following/42", "application/json", String::new()).await;
    let tracked = json!({ "user": "42", "action": "page.viewed", "object": "/pricing" });
    ask(reqwest::Method::POST, "/v1/track", "application/json", tracked.to_string()).await;
    ask(reqwest::Method::POST, "/v1/documents", "text/plain", "Tide tables for Hamburg".into()).await;
}

async fn key(instance: &Instance) -> String {
    let wanted = json!({ "name": "schemathesis", "scopes": "*" });
    let answer = reqwest::Client::new().post(format!("{}/v1/keys", instance.url)).json(&wanted).send().await;
    let made: Value = answer.expect("answered").json().await.expect("JSON");
    made["key"].as_str().expect("a key").to_owned()
}

fn schemathesis(python: &Python, dir: &Path, url: &str, key: &str) -> Command {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/edge/schemathesis.toml");
    let mut command = python.program("st");
    command.args(["--config-file", config, "run", &format!("{url}/openapi.json"), "--url", url]);
    command.args(["--header", &format!("Authorization: Bearer {key}"), "--seed", SEED, "--max-examples", EXAMPLES]);
    command.args(["--phases", "examples,coverage,fuzzing", "--no-color", "--no-shrink", "--continue-on-failure"]);
    command.args(["--exclude-path-regex", &format!("{NOT_ASKED}|{NOT_CALLED}"), "--request-timeout", "20"]);
    command.args(["--generation-database", "none", "--warnings", "off"]);
    command.current_dir(dir);
    command
}

/// On an instance that asks for keys, so that what needs one is asked without one as well.
#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing_to_object_to() {
    let Some(python) = python() else { return };
    let dir = TempDir::new().expect("a folder");
    let data = dir.path().join("data");
    let mut open = Instance::up(&data, &[]).await.expect("it starts");
    seed(&open).await;
    let key = key(&open).await;
    open.terminate().await;
    let env = [("TIDEWIRE_HTTP__AUTH", "required"), ("TIDEWIRE_HTTP__RATE_LIMIT", "0")];
    let instance = Instance::up(&data, &env).await.expect("it starts");
    let served = instance.get("/openapi.json").await;
    let committed = std::fs::read(top().join("schemas/openapi.json")).expect("the document");
    let committed: Value = serde_json::from_slice(&committed).expect("JSON");
    assert_eq!(
        served["paths"].as_object().map(|paths| paths.len()),
        committed["paths"].as_object().map(|paths| paths.len())
    );

    let (begun, command) = (Instant::now(), schemathesis(&python, dir.path(), &instance.url, &key));
    let ran = tokio::task::spawn_blocking(move || run(command));
    let said = tokio::time::timeout(Duration::from_secs(400), ran).await.expect("in time").expect("no objection");
    let summary: Vec<&str> =
        said.lines().filter(|line| line.contains("generated") || line.contains("Tested")).collect();
    println!("{} in {:.0} s", summary.join(", "), begun.elapsed().as_secs_f64());
    assert!(!instance.log().contains("panic"), "{}", instance.log());
    assert_eq!(instance.get("/readyz").await["status"], "ready");
}
