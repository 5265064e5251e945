//! The operators' commands: the same answers whether an instance runs or not.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::process::{Finished, Instance, run_in};
use crate::support::workload::{Address, SMALL, Workload, check};

async fn ask(data: &Path, args: &[&str]) -> Finished {
    let mut all = args.to_vec();
    all.extend(["--data-dir", data.to_str().expect("UTF-8")]);
    run_in(Path::new("/"), &all, &[]).await
}

async fn ask_json(data: &Path, args: &[&str]) -> Value {
    let mut all = args.to_vec();
    all.extend(["-o", "json"]);
    let finished = ask(data, &all).await;
    assert_eq!(finished.code, Some(0), "{args:?}: {}", finished.stderr);
    finished.json()
}

/// The rows of a listing, however it is wrapped.
fn rows(value: &Value) -> Vec<Value> {
    value.as_array().or_else(|| value["items"].as_array()).unwrap_or_else(|| panic!("no rows in {value}")).clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_the_same_with_and_without_a_running_instance() {
    let dir = TempDir::new().expect("a folder");
    let data = dir.path().join("data");
    let mut instance = Instance::up(&data, &[]).await.expect("it starts");
    let address = Address::default();
    address.set(&instance.url);
    let accepted = Workload::new("operators", SMALL, address).run().await;
    check(&instance, &accepted).await;

    let running = look(&data).await;
    assert!(instance.terminate().await.success());
    let stopped = look(&data).await;
    assert_eq!(running, stopped);

    let table = ask(&data, &["consumers", "list"]).await;
    assert!(table.stdout.contains("notifications.inbox"), "{}", table.stdout);
    assert!(!table.stdout.contains('\u{1b}'), "no colours when it is no terminal");
}

/// What the commands say, without what changes by itself.
async fn look(data: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let events = rows(&ask_json(data, &["events", "list", "--limit", "500"]).await);
    assert!(events.len() >= 60, "{} events", events.len());
    found.push(format!("{} events", events.len()));
    let id = events[0]["id"].as_str().or_else(|| events[0]["event"]["id"].as_str()).expect("an id").to_owned();
    let shown = ask_json(data, &["events", "show", &id]).await;
    assert!(shown.to_string().contains(&id));
    let sagas = rows(&ask_json(data, &["sagas", "list"]).await);
    assert_eq!(sagas.len(), SMALL.good_documents + SMALL.bad_documents);
    for saga in &sagas {
        found.push(format!("{} {}", saga["id"], saga["status"]));
        let id = saga["id"].as_str().expect("an id");
        let shown = ask_json(data, &["sagas", "show", id]).await;
        found.push(format!("{} steps", shown["steps"].as_array().map_or(0, Vec::len)));
    }
    for consumer in rows(&ask_json(data, &["consumers", "list"]).await) {
        found.push(format!("{} handled {} parked {}", consumer["name"], consumer["handled"], consumer["parked"]));
    }
    assert_eq!(rows(&ask_json(data, &["parked", "list"]).await).len(), 0);
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_have_their_exit_codes() {
    let dir = TempDir::new().expect("a folder");
    let data = dir.path().join("data");
    let nothing = ask(&data, &["events", "list"]).await;
    assert_eq!(nothing.code, Some(7), "there is nothing to ask yet: {}", nothing.stderr);
    assert!(Instance::up(&data, &[]).await.expect("it starts").terminate().await.success());
    let cases: [(&[&str], i32); 5] = [
        (&["events", "show", "no-such-event"], 3),
        (&["sagas", "show", "00000000-0000-0000-0000-000000000000"], 3),
        (&["explain", "no.such.code"], 3),
        (&["nonsense"], 2),
        (&["parked", "show", "999999"], 3),
    ];
    for (args, code) in cases {
        let finished = ask(&data, args).await;
        assert_eq!(finished.code, Some(code), "{args:?}: {}{}", finished.stdout, finished.stderr);
        assert!(!finished.stderr.is_empty(), "{args:?} says why");
    }
}
