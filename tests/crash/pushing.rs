//! Endpoints of push subscriptions, while the process that calls them is killed; and as steps of a real saga.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::auditor::{audit, consumers};
use crate::support::endpoint::{Endpoint, Received, Reply};
use crate::support::eventually;
use crate::support::process::Instance;

/// Endpoints of tests are on this machine, and without TLS.
const ALLOWED: [(&str, &str); 2] =
    [("TIDEWIRE_PUSH__ALLOW_PRIVATE_TARGETS", "true"), ("TIDEWIRE_PUSH__ALLOW_HTTP", "true")];

async fn post(instance: &Instance, path: &str, body: &Value) -> Value {
    let request = reqwest::Client::new().post(format!("{}{path}", instance.url)).json(body);
    let answer = request.send().await.unwrap_or_else(|error| panic!("{path}: {error}"));
    let (status, text) = (answer.status(), answer.text().await.expect("a body"));
    assert!(status.is_success(), "{path}: {status}: {text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_delivers_it_loses_nothing_and_keeps_the_order_of_every_key() {
    const USERS: usize = 60;
    let endpoint = Endpoint::start(|_| Reply::status(204).after(Duration::from_millis(100))).await;
    let dir = TempDir::new().expect("a folder");
    let data = dir.path().join("data");
    let mut instance = Instance::up(&data, &ALLOWED).await.expect("it starts");
    let wanted = json!({"id": "killed", "sink": endpoint.url, "types": ["user.*"], "config": {"concurrency": 2}});
    let made = post(&instance, "/v1/subscriptions", &wanted).await;
    assert!(made["secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")), "{made}");
    for n in 0..USERS {
        post(&instance, "/v1/users", &json!({"id": format!("u{n}"), "name": "n"})).await;
    }
    let client = reqwest::Client::new();
    for n in 1..USERS {
        // Half of them follow one and the same.
        let followed = if n % 2 == 0 { 0 } else { n - 1 };
        let url = format!("{}/v1/users/u{n}/following/u{followed}", instance.url);
        assert!(client.put(url).send().await.expect("an answer").status().is_success());
    }
    for round in 1..=3 {
        let enough = endpoint.received().len() + 15;
        eventually("some more arrived", || async { (endpoint.received().len() >= enough).then_some(()) }).await;
        instance.kill().await;
        instance = Instance::up(&data, &ALLOWED).await.unwrap_or_else(|log| panic!("round {round}: {log}"));
    }
    eventually("everything is delivered", || async {
        let shown = instance.get("/v1/subscriptions/killed").await;
        (shown["delivery"]["lag"] == 0 && shown["delivery"]["parked"] == 0).then_some(())
    })
    .await;
    let all = endpoint.received();
    let distinct: HashSet<&str> = all.iter().map(|request| request.header("ce-id")).collect();
    assert_eq!(distinct.len(), USERS + USERS - 1, "of {} requests", all.len());
    let mut last: HashMap<&str, u64> = HashMap::new();
    for request in &all {
        let sequence: u64 = request.header("ce-sequence").parse().expect("a number");
        let before = last.entry(request.header("ce-partitionkey")).or_default();
        // What was sent before a kill comes again; nothing is skipped.
        assert!(sequence <= *before + 1, "{} after {before}", sequence);
        *before = (*before).max(sequence);
    }
    let consumers = consumers(&instance).await;
    assert!(consumers.iter().any(|(name, _)| name == "push.killed"), "{consumers:?}");
    assert!(instance.terminate().await.success(), "{}", instance.log());
    audit(&data, &consumers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_carries_out_a_step_of_a_real_saga() {
    let endpoint = Endpoint::start(|request: &Received| {
        let (ty, data) = match request.header("ce-type") {
            "document.enrichment.requested.v1" if request.attempt == 1 => return Reply::status(503),
            "document.enrichment.requested.v1" => (
                "document.enriched.v1",
                json!({"document_id": request.data("document_id"), "language": "tlh", "keywords": ["pushed"],
                    "entities": [], "near_duplicates": [], "words": 3, "reading_seconds": 1}),
            ),
            _ => ("document.enrichment.removed.v1", json!({"document_id": request.data("document_id")})),
        };
        Reply::event(&json!({"specversion": "1.0", "id": "1", "source": "/whoever", "type": ty, "data": data}))
    })
    .await;
    let dir = TempDir::new().expect("a folder");
    let data = dir.path().join("data");
    // Everybody but the enrichment of the house.
    let roles = ["gateway", "outbox-publisher", "saga-orchestrator", "social", "documents", "notifications"];
    let env = ALLOWED.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut instance = Instance::run(&roles, &data, &env).await.expect("it starts");
    let types = ["document.enrichment.requested", "document.enrichment.removal_requested"];
    let replies = ["document.enriched", "document.enrichment.failed", "document.enrichment.removed"];
    let wanted = json!({"id": "enricher", "sink": endpoint.url, "types": types,
        "config": {"reply": {"source": "/enricher", "types": replies}}});
    post(&instance, "/v1/subscriptions", &wanted).await;
    let request = reqwest::Client::new()
        .post(format!("{}/v1/documents?workspace=push", instance.url))
        .header("content-type", "text/plain")
        .body("The tide comes in and the tide goes out.");
    let submitted: Value = request.send().await.expect("an answer").json().await.expect("JSON");
    let id = submitted["document"].as_str().unwrap_or_else(|| panic!("{submitted}"));
    let document = eventually("it is ingested", || async {
        let document = instance.get(&format!("/v1/documents/{id}")).await;
        (document["status"] != "ingesting").then_some(document)
    })
    .await;
    assert_eq!((&document["status"], &document["language"]), (&json!("ingested"), &json!("tlh")), "{document}");
    let replies = instance.get("/v1/events?type=document.enriched").await;
    assert_eq!(replies["items"].as_array().map(Vec::len), Some(1), "{replies}");
    assert_eq!(replies["items"][0]["event"]["source"], "/enricher");
    assert!(endpoint.received().len() >= 2, "asked, and asked again");
    assert!(instance.terminate().await.success(), "{}", instance.log());
}
