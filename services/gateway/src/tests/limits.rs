//! Shares, places, lengths, versions, and what the probes report.

use axum::extract::ConnectInfo;
use axum::routing::{get, post};
use serde_json::json;
use tidewire::http::Idempotency;

use super::*;
use crate::{Check, Condition};

fn from(peer: &str, mut request: Request) -> Request {
    let address: std::net::IpAddr = peer.parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(std::net::SocketAddr::new(address, 4_000)));
    request
}

fn slow(limit: u32, burst: u32) -> Options {
    Options { rate_limit: limit, rate_burst: burst, ..Options::default() }
}

#[tokio::test]
async fn every_caller_has_a_share_of_his_own() {
    let house = House::with(slow(1, 3), |_| Router::new().route("/ok", get(|| async { "ok" }))).await;
    let ask = async |peer: &str| house.send(from(peer, request("GET", "/ok", &[], ""))).await;
    for left in [2, 1, 0] {
        let answer = ask("192.0.2.7").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["ratelimit-policy"], "\"caller\";q=3;w=3");
        assert_eq!(answer.headers["ratelimit"].to_str().unwrap(), format!("\"caller\";r={left};t={}", 3 - left));
    }
    let refused = ask("192.0.2.7").await;
    assert_eq!(refused.problem(), (429, "http.rate_limited".into()));
    assert_eq!(refused.headers["retry-after"], "1");
    assert!(refused.headers.contains_key("ratelimit"));
    assert_eq!(ask("192.0.2.8").await.status, 200, "another caller");
    for _ in 0..10 {
        assert_eq!(ask("127.0.0.1").await.status, 200, "the machine's own");
        let probe = house.send(from("192.0.2.7", request("GET", "/livez", &[], ""))).await;
        assert_eq!(probe.status, 200, "probes are answered whatever else goes on");
    }
}

#[tokio::test]
async fn a_key_is_a_caller_and_guessing_keys_is_counted() {
    let house = House::with(Options { authenticate: true, ..slow(1, 2) }, |_| Router::new()).await;
    let mut keys = Vec::new();
    for name in ["a", "b"] {
        let made = house.inside("POST", "/v1/keys", &json!({"name": name, "scopes": "events"})).await.json();
        keys.push(format!("Bearer {}", made["key"].as_str().unwrap()));
    }
    let ask = async |key: &str| {
        let request = request("GET", "/v1/events?limit=1", &[("authorization", key)], "");
        house.send(from("192.0.2.7", request)).await.status.as_u16()
    };
    assert_eq!([ask(&keys[0]).await, ask(&keys[0]).await, ask(&keys[0]).await], [200, 200, 429]);
    assert_eq!(ask(&keys[1]).await, 200, "another key from the same address");
    let guesses = [ask("Bearer x").await, ask("Bearer y").await, ask("Bearer z").await];
    assert_eq!(guesses, [401, 401, 429]);
    assert_eq!(ask(&keys[1]).await, 200, "who guesses uses up the share of his address, and nobody's key");
}

#[tokio::test]
async fn more_than_can_be_done_at_once_is_refused_at_once() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (held, reached) = (gate.clone(), Arc::new(tokio::sync::Semaphore::new(0)));
    let told = reached.clone();
    let slow = move || async move {
        told.add_permits(1);
        let _ = held.acquire().await;
        "slow"
    };
    let options = Options { max_in_flight: 2, ..Options::default() };
    let house =
        House::with(options, |_| Router::new().route("/slow", get(slow)).route("/ok", get(|| async { "ok" }))).await;
    let both = futures::future::join(house.get("/slow"), house.get("/slow"));
    let meanwhile = async {
        let _both = reached.acquire_many(2).await.unwrap();
        let refused = house.get("/ok").await;
        assert_eq!(refused.problem(), (503, "http.overloaded".into()));
        assert!(refused.headers.contains_key("retry-after"));
        assert_eq!(house.get("/livez").await.status, 200);
        gate.add_permits(2);
    };
    let ((first, second), ()) = tokio::join!(both, meanwhile);
    assert_eq!(
        (first.status, second.status, house.get("/ok").await.status),
        (StatusCode::OK, StatusCode::OK, StatusCode::OK)
    );
}

#[tokio::test]
async fn long_addresses_and_unknown_versions_are_told_apart_from_nothing() {
    let house = House::new().await;
    let long = format!("/v1/events?filter={}", "x".repeat(9_000));
    assert_eq!(house.get(&long).await.problem(), (414, "http.uri_too_long".into()));
    let unknown = house.get("/v2/events").await;
    assert_eq!(unknown.problem(), (404, "http.unknown_version".into()));
    assert_eq!(unknown.json()["supported"], json!(["v1"]));
    assert_eq!(house.get("/v1/nothing").await.problem(), (404, "http.not_found".into()));
}

/// The table of endings, from the router's end.
#[tokio::test]
async fn what_comes_to_an_end_says_so_on_every_answer() {
    let house = House::new().await;
    house.health.started();
    let headers = house.get("/healthz").await.headers;
    assert_eq!((&headers["deprecation"], headers.contains_key("sunset")), (&"@1795132800".parse().unwrap(), false));
    assert_eq!(headers["link"], "</readyz>; rel=\"successor-version\"");
    assert!(!house.get("/readyz").await.headers.contains_key("deprecation"));
}

#[tokio::test]
async fn the_probes_report_every_dependency() {
    let house = House::new().await;
    house.health.started();
    house.health.watch(Check::new("relay", || async { Condition::Degraded("far behind".into()) }));
    house.health.watch(Check::new("nobody", std::future::pending));
    let begun = std::time::Instant::now();
    let answer = house.get("/readyz").await;
    assert!(begun.elapsed() < Duration::from_secs(10), "a dependency that hangs holds nobody up");
    assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (200, &json!("ready")));
    let checks = answer.json()["checks"].clone();
    let found: Vec<(&str, &str, bool)> = checks
        .as_array()
        .unwrap()
        .iter()
        .map(|check| {
            let text = |name: &str| check[name].as_str().unwrap();
            (text("name"), text("status"), check["required"].as_bool().unwrap())
        })
        .collect();
    let expected =
        [("store", "up", true), ("broker", found[1].1, false), ("relay", "degraded", false), ("nobody", "down", false)];
    assert_eq!(found, expected);
    assert!(checks[0]["ms"].is_number() && checks[2]["detail"] == "far behind", "{checks}");
    assert!(checks[3]["detail"].as_str().unwrap().starts_with("no answer within"), "{checks}");
    house.ports.store.close().await;
    let without = house.get("/readyz").await;
    assert_eq!((without.status.as_u16(), &without.json()["checks"][0]["status"]), (503, &json!("down")));
}

#[tokio::test]
async fn idempotency_keys_of_one_are_nothing_to_another() {
    let job = |ports: &Ports| {
        let ports = ports.clone();
        post(move |idempotency: Idempotency| async move {
            let body = json!({ "id": ports.clock.id().to_string() });
            let documents = idempotency.record(StatusCode::OK, &body);
            ports.store.commit(tidewire::Commit { documents, ..Default::default() }).await.unwrap();
            tidewire::http::Json(body)
        })
    };
    let options = Options { authenticate: true, ..Options::default() };
    let house = House::with(options, |ports| Router::new().route("/v1/users/jobs", job(ports))).await;
    let mut answers = Vec::new();
    for name in ["a", "b"] {
        let made = house.inside("POST", "/v1/keys", &json!({"name": name, "scopes": "write"})).await.json();
        let key = format!("Bearer {}", made["key"].as_str().unwrap());
        for _ in 0..2 {
            let headers = [("authorization", key.as_str()), ("idempotency-key", "same")];
            answers.push(house.post("/v1/users/jobs", &headers, "x").await.text);
        }
    }
    assert_eq!((&answers[0], &answers[2]), (&answers[1], &answers[3]));
    assert_ne!(answers[0], answers[2]);
}
