//! The desk on a real store, as operators' programs see it.

use events::DocumentSubmitted;
use serde_json::{Value, json};
use tidewire::Ports;
use tidewire::config::Config;
use tidewire::saga::{Direction, SagaRef};
use tidewire::store::Selection;
use tidewire::testing::Bench;
use tidewire::{Append, Commit, Draft, Envelope, Expect, Service};

fn service(ports: &Ports, config: &Config) -> Service {
    crate::service(ports, config).unwrap()
}

async fn bench() -> Bench {
    Bench::new(service, &[]).await
}

fn submitted(document: &str) -> Value {
    json!({"document_id": document, "workspace": "w", "media_type": "text/plain", "bytes": 1, "sha256": "00", "original": "o"})
}

async fn begin(bench: &Bench) -> String {
    let event: DocumentSubmitted = serde_json::from_value(submitted("7")).unwrap();
    let event = bench.emit(&event).await;
    bench.settle().await;
    tidewire::saga::saga_id("document-ingestion", &event).to_string()
}

async fn emitted(bench: &Bench, name: &str) -> Vec<Envelope> {
    let selection = Selection { names: vec![name.into()], limit: 100, ..Selection::default() };
    let found = bench.ports.store.read(&selection).await.unwrap();
    found.into_iter().map(|recorded| recorded.envelope).collect()
}

/// Answers the last event of this name as a participant would.
async fn reply(bench: &Bench, request: &str, ty: &str, data: Value) {
    let request = emitted(bench, request).await.pop().unwrap();
    let mut data = data;
    data["document_id"] = json!("7");
    let draft = Draft {
        ty: ty.parse().unwrap(),
        key: request.key.clone(),
        data: Some(data.to_string().into()),
        datacontenttype: None,
        subject: None,
        id: None,
        correlationid: None,
        expirytime: None,
        dataref: None,
        extensions: Default::default(),
    };
    let draft = SagaRef::of(&request).unwrap().stamp(draft);
    let event = draft.seal(bench.ports.clock.as_ref(), "/documents", Some(&request));
    let append = Append { key: event.key.clone(), expect: Expect::Any, events: vec![event] };
    bench.ports.store.commit(Commit { append: vec![append], ..Commit::default() }).await.unwrap();
    bench.settle().await;
}

const EXTRACTED: &str = "document.extracted.v1";

fn extracted() -> Value {
    json!({"title": "Of tides", "media_type": "text/html", "characters": 90, "chunks": 2, "language": "de", "object": "w/7/text"})
}

#[tokio::test]
async fn a_rehearsal_shows_what_then_happens_and_tells_who_did_it() {
    let bench = bench().await;
    let id = begin(&bench).await;
    reply(&bench, "document.extraction.requested", EXTRACTED, extracted()).await;
    let at = |verb: &str| format!("/v1/sagas/{id}/{verb}");
    let (status, shown) = bench.call("POST", &at("cancel"), json!({"dry_run": true})).await;
    assert_eq!(
        (status.as_u16(), &shown["done"], &shown["to"]),
        (200, &json!(false), &json!("compensating")),
        "{shown}"
    );
    assert_eq!((&shown["undos"], &shown["in_doubt"]), (&json!(["store", "extract"]), &json!(["store"])));
    assert_eq!(bench.get(&format!("/v1/sagas/{id}")).await["status"], "running", "a rehearsal changes nothing");
    assert!(emitted(&bench, "operator.acted").await.is_empty());

    let order = json!({"revision": shown["revision"], "reason": "sent by mistake"});
    let (status, done) = bench.call("POST", &at("cancel"), order.clone()).await;
    assert_eq!((status.as_u16(), &done["done"], &done["undos"]), (200, &json!(true), &shown["undos"]));
    let saga = bench.get(&format!("/v1/sagas/{id}")).await;
    assert_eq!((&saga["status"], &saga["code"]), (&json!("compensating"), &json!("saga.cancelled")));
    assert_ne!(saga["revision"], shown["revision"]);
    let acted = emitted(&bench, "operator.acted").await;
    let acted: Value = serde_json::from_slice(acted[0].data.as_deref().unwrap()).unwrap();
    assert_eq!(
        (&acted["verb"], &acted["target"], &acted["reason"]),
        (&json!("sagas cancel"), &json!(id), &json!("sent by mistake"))
    );
    assert_eq!(acted["actor"], "local");
    let ordered = saga["history"].as_array().unwrap().iter().find(|entry| entry["what"] == "ordered").unwrap();
    assert_eq!(ordered["reason"], "cancel by local: sent by mistake");

    // The same order again was decided upon another saga.
    let (status, problem) = bench.call("POST", &at("cancel"), order).await;
    assert_eq!((status.as_u16(), &problem["code"]), (409, &json!("saga.order_refused")));
    let stale = json!({"revision": shown["revision"], "reason": "x"});
    let (status, problem) = bench.call("POST", &at("forward"), stale).await;
    assert_eq!(
        (status.as_u16(), &problem["code"], &problem["revision"]),
        (409, &json!("saga.revision_changed"), &saga["revision"])
    );
    assert_eq!(emitted(&bench, "operator.acted").await.len(), 1);
}

#[tokio::test]
async fn a_step_is_skipped_with_its_output_and_what_comes_late_is_ignored() {
    let bench = bench().await;
    let id = begin(&bench).await;
    let at = |verb: &str| format!("/v1/sagas/{id}/{verb}");
    let revision = bench.get(&format!("/v1/sagas/{id}")).await["revision"].clone();
    let bad = json!({"revision": revision, "reason": "r", "output": {"characters": "many"}});
    let (status, problem) = bench.call("POST", &at("skip"), bad).await;
    assert_eq!((status.as_u16(), &problem["code"]), (422, &json!("saga.output_invalid")), "{problem}");
    let mut output = extracted();
    output["document_id"] = json!("7");
    let good = json!({"revision": revision, "reason": "extracted by hand", "step": "extract", "output": output});
    let (status, done) = bench.call("POST", &at("skip"), good).await;
    assert_eq!((status.as_u16(), &done["emits"][0]["step"]), (200, &json!("store")), "{done}");
    let saga = bench.get(&format!("/v1/sagas/{id}")).await;
    assert_eq!((&saga["steps"][0]["status"], &saga["state"]["object"]), (&json!("skipped"), &json!("w/7/text")));
    reply(&bench, "document.extraction.requested", EXTRACTED, extracted()).await;
    assert_eq!(bench.get(&format!("/v1/sagas/{id}")).await["ignored"], 1);
    assert_eq!(serde_json::to_value(Direction::Undo).unwrap(), "undo");
}

#[tokio::test]
async fn history_tells_how_long_everything_took() {
    let bench = bench().await;
    let id = begin(&bench).await;
    reply(&bench, "document.extraction.requested", EXTRACTED, extracted()).await;
    let saga = bench.get(&format!("/v1/sagas/{id}")).await;
    let history = saga["history"].as_array().unwrap();
    let done = history.iter().find(|entry| entry["what"] == "done").unwrap();
    assert!(done["seconds"].is_f64() && done["step"] == "extract" && done["event"].is_string(), "{done}");
    assert!(history.iter().all(|entry| entry["what"] != "requested" || entry["seconds"].is_null()));
    assert!(saga["timer"].is_string() && saga["steps"][1]["due"].is_string());
}

#[tokio::test]
async fn a_start_with_a_token_starts_one_saga() {
    let bench = bench().await;
    let start = json!({"type": "document-ingestion", "data": submitted("8"), "token": "t-1", "reason": "again"});
    let (status, first) = bench.call("POST", "/v1/sagas", start.clone()).await;
    assert_eq!((status.as_u16(), &first["first"]), (202, &json!(true)), "{first}");
    let (status, again) = bench.call("POST", "/v1/sagas", start).await;
    assert_eq!((status.as_u16(), &again["first"], &again["id"]), (200, &json!(false), &first["id"]));
    bench.settle().await;
    let saga = bench.get(&format!("/v1/sagas/{}", first["id"].as_str().unwrap())).await;
    assert_eq!((&saga["status"], &saga["key"]), (&json!("running"), &json!("document/8")));
    assert_eq!(emitted(&bench, "document.submitted").await.len(), 1);

    let unknown = json!({"type": "no-such", "data": {}});
    assert_eq!(bench.call("POST", "/v1/sagas", unknown).await.1["code"], "saga.unknown_type");
    let wrong = json!({"type": "document-ingestion", "data": {"document_id": 7}});
    let (status, problem) = bench.call("POST", "/v1/sagas", wrong).await;
    assert_eq!((status.as_u16(), &problem["code"]), (400, &json!("event.schema_invalid")));
}

#[tokio::test]
async fn what_is_missing_or_unknown_is_refused() {
    let bench = bench().await;
    let id = begin(&bench).await;
    let nil = "00000000-0000-0000-0000-000000000000";
    for (uri, body, status, code) in [
        (format!("/v1/sagas/{id}/cancel"), json!({"reason": "r"}), 400, "http.invalid"),
        (format!("/v1/sagas/{id}/cancel"), json!({"revision": 1, "reason": " "}), 400, "http.invalid"),
        (format!("/v1/sagas/{id}/cancel"), json!({"revision": 1, "reason": "r", "step": "x"}), 400, "http.invalid"),
        (format!("/v1/sagas/{id}/forward"), json!({"dry_run": true}), 409, "saga.order_refused"),
        (format!("/v1/sagas/{id}/retry"), json!({"dry_run": true, "step": "nowhere"}), 409, "saga.order_refused"),
        (format!("/v1/sagas/{id}/signals/extract"), json!({"data": {}, "dry_run": true}), 409, "saga.order_refused"),
        (format!("/v1/sagas/{nil}/retry"), json!({"dry_run": true}), 404, "http.not_found"),
        ("/v1/sagas/x/retry".into(), json!({"dry_run": true}), 404, "http.not_found"),
    ] {
        let (found, problem) = bench.call("POST", &uri, body.clone()).await;
        assert_eq!((found.as_u16(), problem["code"].as_str()), (status, Some(code)), "{uri} {body}: {problem}");
    }
}
