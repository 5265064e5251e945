//! The operators' console, as its own scripts draw it, over a real instance.
//!
//! A browser's document is played by the package `happy-dom`, so that this runs wherever Node does.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::foreign::node::script;
use crate::support::process::Instance;
use crate::support::workload::{Address, SMALL, Workload, check};

/// What pages made of strings would choke on, as ids, keys and data.
const HOSTILE: [&str; 8] = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "\"><svg onload=alert(1)>",
    "javascript:alert(1)",
    "'; alert(1); //",
    "</pre><iframe src=//evil.example></iframe>",
    "{{constructor.constructor('alert(1)')()}}",
    "\u{202e}txt.exe\u{0007}",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_page_shows_what_is_there() {
    let Some(mut walk) = script("console.cjs") else { return };
    let dir = TempDir::new().expect("a folder");
    let instance = Instance::up(&dir.path().join("data"), &[]).await.expect("it starts");
    let address = Address::default();
    address.set(&instance.url);
    let accepted = Workload::new("console", SMALL, address).run().await;
    check(&instance, &accepted).await;
    let hostile = track_hostile(&instance).await;

    let undone = first(&instance, "/v1/sagas?status=undone").await;
    let ingested = first(&instance, "/v1/events?type=document.ingested").await;
    let (saga, event) = (text(&undone["id"]), text(&ingested["event"]["id"]));
    let pages = json!([
        { "page": "overview", "shows": ["the log", "How far behind", "notifications.inbox", "no parked events"] },
        { "page": "events?type=document.ingested", "shows": ["document.ingested.v1", event] },
        { "page": "events?type=activity.tracked", "shows": ["<img src=x"] },
        { "page": format!("events/{event}"), "shows": ["causationid", text(&ingested["event"]["partitionkey"]), "Why, and what came of it"] },
        { "page": format!("events/{hostile}"), "shows": HOSTILE.map(as_json) },
        { "page": "consumers", "shows": ["social.followers", "projection"] },
        { "page": "consumers/social.followers", "shows": ["user.followed.v1", "Pause"] },
        { "page": "parked", "shows": ["Nothing is parked."] },
        { "page": "sagas?status=undone", "shows": [saga, "document.corrupt"] },
        { "page": format!("sagas/{saga}"), "shows": ["turned back", "What it knows", "extract"] },
        { "page": "doctor", "shows": ["Each rule stands for a failure"] },
        { "page": "subscriptions", "shows": ["Nobody is sent anything."] },
        { "page": "replay", "shows": ["Nothing was ever replayed.", "social.followers", "Rebuild"] },
        { "page": "replay/plan?types=user.followed&kind=consumer&name=social.feed", "shows": ["Planning changes nothing"] },
        { "page": "schemas", "shows": ["user.followed.v1", "Somebody began to follow somebody."] },
        { "page": "schemas?type=user.followed.v1", "shows": ["follower_id"] },
        { "page": "events/nothing-like-this", "shows": ["Not found", "tidewire explain"] },
    ]);

    walk.arg(&instance.url).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = walk.spawn().expect("node runs");
    child.stdin.take().expect("piped").write_all(pages.to_string().as_bytes()).expect("it reads");
    let walked =
        tokio::task::spawn_blocking(move || child.wait_with_output()).await.expect("no panic").expect("it ends");
    let said = String::from_utf8_lossy(&walked.stdout);
    assert!(walked.status.success(), "{said}\n{}", String::from_utf8_lossy(&walked.stderr));
    assert_eq!(said.lines().count(), pages.as_array().expect("a list").len(), "{said}");
    println!("{} console pages shown", said.lines().count());
}

/// As the pages write it: between quotes, which do not count here.
fn as_json(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

async fn first(instance: &Instance, path: &str) -> Value {
    let list: Value = instance.get(path).await;
    list["items"][0].clone()
}

/// Tracks an activity made of hostile strings; answers the id of its event.
async fn track_hostile(instance: &Instance) -> String {
    let body = json!({ "user": "eve", "action": HOSTILE[0], "object": HOSTILE[1], "metadata": { "all": HOSTILE } });
    let answer =
        reqwest::Client::new().post(format!("{}/v1/track", instance.url)).json(&body).send().await.expect("an answer");
    assert_eq!(answer.status(), 202);
    let ids: Value = answer.json().await.expect("JSON");
    text(&ids["ids"][0]).to_owned()
}
