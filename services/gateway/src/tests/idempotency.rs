use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use serde_json::json;
use tidewire::http::{Idempotency, Json, Problem, expire};
use tidewire::store::DocumentQuery;
use tidewire::{Append, Commit, Envelope, Expect};

use super::*;

/// Routes that do their work in one commit with the answer: `/jobs` reads its body, `/blind` does not.
fn routes(ports: &Ports) -> Router {
    Router::new()
        .route("/jobs", post(work).put(work))
        .route("/blind", post(blind))
        .layer(DefaultBodyLimit::disable())
        .with_state(ports.clone())
}

async fn work(State(ports): State<Ports>, idempotency: Idempotency, body: Bytes) -> Result<Response, Problem> {
    commit(&ports, &idempotency, body.len()).await
}

async fn blind(State(ports): State<Ports>, idempotency: Idempotency) -> Result<Response, Problem> {
    commit(&ports, &idempotency, 0).await
}

async fn commit(ports: &Ports, idempotency: &Idempotency, bytes: usize) -> Result<Response, Problem> {
    let id = ports.clock.id().to_string();
    let text = super::events::followed(&id, "7", "42").to_string();
    let text = text.replacen('{', r#"{"time":"2026-01-01T00:00:00Z","partitionkey":"user/42","#, 1);
    let envelope = Envelope::from_json(text.as_bytes())?;
    let answer = json!({"id": id, "bytes": bytes});
    let append = Append { key: envelope.key.clone(), expect: Expect::Any, events: vec![envelope] };
    let documents = idempotency.record_at(StatusCode::CREATED, &answer, Some("/jobs/1"));
    ports.store.commit(Commit { append: vec![append], documents, ..Default::default() }).await?;
    Ok((StatusCode::CREATED, [("location", "/jobs/1")], Json(answer)).into_response())
}

async fn house() -> House {
    House::with(Options::default(), routes).await
}

const KEY: (&str, &str) = ("idempotency-key", "k-1");

#[tokio::test]
async fn the_same_request_gets_the_same_answer() {
    let house = house().await;
    let first = house.post("/jobs?a=1", &[KEY], "body").await;
    assert_eq!((first.status.as_u16(), first.headers.get("idempotency-replayed")), (201, None));
    let again = house.post("/jobs?a=1", &[KEY], "body").await;
    assert_eq!((again.status, &again.text), (first.status, &first.text));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(
        (again.headers["location"].as_bytes(), again.headers["tidewire-position"].as_bytes()),
        (&b"/jobs/1"[..], &b"1"[..])
    );
    assert_eq!(house.appended().await, 1);

    for (method, path, body) in [
        ("POST", "/jobs?a=1", "bodY"),
        ("POST", "/jobs?a=1", "bod"),
        ("POST", "/jobs?a=1", "body "),
        ("POST", "/jobs?a=1", ""),
        ("POST", "/jobs", "body"),
        ("PUT", "/jobs?a=1", "body"),
        ("POST", "/blind", "body"),
    ] {
        let other = house.send(request(method, path, &[KEY], body)).await;
        assert_eq!(other.problem(), (409, "http.idempotency_conflict".into()), "{method} {path} {body}");
    }
    assert_eq!(house.post("/jobs?a=1", &[("idempotency-key", "k-2")], "body").await.status, 201);
    assert_eq!(house.post("/jobs?a=1", &[], "body").await.status, 201);
    assert_eq!(house.appended().await, 3);
}

#[tokio::test]
async fn keys_are_checked() {
    let house = house().await;
    let (long, fits) = ("k".repeat(10_240), "k".repeat(255));
    let twice = [KEY, KEY];
    for bad in [
        &[("idempotency-key", "")][..],
        &[("idempotency-key", "a b")],
        &[("idempotency-key", "ü")],
        &[("idempotency-key", &long)],
        &twice,
    ] {
        assert_eq!(house.post("/jobs", bad, "x").await.problem(), (400, "http.invalid_idempotency_key".into()));
    }
    assert_eq!(house.post("/jobs", &[("idempotency-key", &fits)], "x").await.status, 201);
}

#[tokio::test]
async fn of_equal_requests_at_once_one_is_carried_out() {
    let house = house().await;
    let sent = futures::future::join_all((0..16).map(|_| house.post("/jobs", &[KEY], "body"))).await;
    assert!(sent.iter().all(|answer| answer.status == 201 && answer.text == sent[0].text), "{sent:?}");
    assert_eq!(house.appended().await, 1);
    // Different bodies under one key: one wins, the others are told.
    let bodies: Vec<String> = (0..8).map(|n| format!("{n}")).collect();
    let sent =
        futures::future::join_all(bodies.iter().map(|body| house.post("/jobs", &[("idempotency-key", "k-2")], body)))
            .await;
    assert_eq!(sent.iter().filter(|answer| answer.status == 201).count(), 1);
    assert!(sent.iter().filter(|a| a.status != 201).all(|a| a.problem() == (409, "http.idempotency_conflict".into())));
    assert_eq!(house.appended().await, 2);
}

#[tokio::test]
async fn large_bodies_pass_by_and_unread_ones_do_not_count() {
    let house = house().await;
    let large = "x".repeat(8 << 20);
    let chunked = |last: &'static str| {
        let chunks = [large.clone(), last.to_owned()].map(Ok::<_, std::io::Error>);
        let mut request = request("POST", "/jobs", &[KEY], "");
        *request.body_mut() = Body::from_stream(futures::stream::iter(chunks));
        request
    };
    let first = house.send(chunked("y")).await;
    assert_eq!(first.json()["bytes"], (8 << 20) + 1);
    assert_eq!(house.send(chunked("y")).await.text, first.text);
    assert_eq!(house.send(chunked("z")).await.problem(), (409, "http.idempotency_conflict".into()));
    assert_eq!(house.send(chunked("yy")).await.problem(), (409, "http.idempotency_conflict".into()));
    let blind = house.post("/blind", &[("idempotency-key", "b")], "whatever").await;
    assert_eq!(house.post("/blind", &[("idempotency-key", "b")], "something else").await.text, blind.text);
}

#[tokio::test]
async fn events_sent_with_a_key_are_answered_from_the_store() {
    let house = House::new().await;
    let headers = [KEY, ("content-type", "application/cloudevents+json")];
    let event = super::events::followed("1", "7", "42").to_string();
    let first = house.post("/v1/events", &headers, &event).await;
    assert_eq!((first.status.as_u16(), house.post("/v1/events", &headers, &event).await.text), (202, first.text));
    let refused = house.post("/v1/events", &[("idempotency-key", "x"), headers[1]], "{}").await;
    assert_eq!(refused.problem(), (400, "event.malformed".into()));
    let retried = house.post("/v1/events", &[("idempotency-key", "x"), headers[1]], &event).await;
    assert_eq!(retried.status, 202, "a refused request does not use its key up");
}

#[tokio::test]
async fn old_answers_expire() {
    let house = house().await;
    for n in 0..450 {
        house.post("/jobs", &[("idempotency-key", &format!("old-{n}"))], "x").await;
    }
    house.pass(TimeDelta::hours(23));
    house.post("/jobs", &[("idempotency-key", "young")], "x").await;
    let sweep = async || expire(house.ports.store.as_ref(), house.ports.clock.as_ref()).await.unwrap();
    assert_eq!(sweep().await, 0);
    house.pass(TimeDelta::hours(2));
    assert_eq!((sweep().await, sweep().await), (450, 0));
    for collection in ["idempotency", "idempotency_by_time"] {
        let query = DocumentQuery { collection: collection.into(), limit: 10, ..Default::default() };
        assert_eq!(house.ports.store.list(&query).await.unwrap().len(), 1, "{collection}");
    }
    assert!(
        house.post("/jobs", &[("idempotency-key", "young")], "x").await.headers.contains_key("idempotency-replayed")
    );
    assert!(
        !house.post("/jobs", &[("idempotency-key", "old-1")], "x").await.headers.contains_key("idempotency-replayed")
    );
}
