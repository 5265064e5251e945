//! `examples/node-service`.

use reqwest::Method;
use serde_json::json;
use servers::{Node, free_port};
use tempfile::TempDir;
use tokio::process::Command;

use super::service::{Service, ask, example, run, schemas};
use super::{beside, events};
use crate::support::eventually;
use crate::support::process::Instance;

fn node() -> Option<Node> {
    if servers::left_out("node") {
        println!("left out: the example for Node (TIDEWIRE_TEST_WITHOUT)");
        return None;
    }
    let read = |file: &str| std::fs::read_to_string(example("node-service").join(file)).expect("a file");
    let made = Node::with("example-node", &read("package.json"), &read("package-lock.json"));
    Some(made.unwrap_or_else(|missing| panic!("{missing}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_service_reacts_to_what_is_pushed_and_emits_once() {
    let Some(node) = tokio::task::spawn_blocking(node).await.expect("no panic") else { return };
    let dir = TempDir::new().expect("a folder");
    schemas(&dir.path().join("schemas"), &["python-django-style", "node-service"]);
    let env = beside(&dir.path().join("schemas"));
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let started = Instance::up(&dir.path().join("data"), &env).await;
    let instance = started.unwrap_or_else(|log| panic!("it does not start: {log}"));
    let port = free_port().to_string();
    let secret = dir.path().join("secret");
    let command = |script: &str| {
        let mut command = Command::from(node.script(&example("node-service").join(script)));
        command.env("TIDEWIRE_URL", &instance.url).env("PORT", &port).env("SECRET_FILE", &secret);
        command
    };
    let service = Service::start(command("service.mjs")).await;
    run(command("subscribe.mjs")).await;

    let placed = |id: i64, order: i64| {
        json!({ "specversion": "1.0", "id": id.to_string(), "source": "/shop", "type": "order.placed.v1",
            "partitionkey": format!("order/{order}"),
            "data": { "order_id": order, "customer": "ada", "total_cents": 100 } })
    };
    let send = async |event: serde_json::Value| {
        let request = reqwest::Client::new().post(format!("{}/v1/events", instance.url));
        let request = request.header("content-type", "application/cloudevents+json").body(event.to_string());
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 202, "{}", answer.text().await.unwrap_or_default());
    };
    for (id, order) in [(1, 7), (2, 8), (1, 7)] {
        send(placed(id, order)).await;
    }
    let shipped = eventually("both orders are shipped", || async {
        let found = events(&instance, "order.shipped").await;
        (found.len() >= 2).then_some(found)
    })
    .await;
    let mut parcels: Vec<&str> = shipped.iter().filter_map(|event| event["data"]["parcel"].as_str()).collect();
    parcels.sort_unstable();
    assert_eq!(parcels, ["P-0007", "P-0008"], "each once");
    assert_eq!(shipped[0]["source"], "/shipping");
    assert!(shipped.iter().all(|event| ["1", "2"].contains(&event["causationid"].as_str().unwrap_or_default())));
    // Whoever has no secret can make it do nothing.
    let (status, _) = ask(Method::POST, &format!("{}/events", service.url), Some(&placed(3, 9))).await;
    assert_eq!(status, 401);
    assert_eq!(events(&instance, "order.shipped").await.len(), 2);
    assert_eq!(instance.get("/v1/parked").await["items"], json!([]));
}
