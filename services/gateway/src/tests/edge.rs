use axum::routing::get;
use tidewire::handler::{Consumer, HandlerError, Kind};
use tidewire::{Context, Envelope, EventType, Handler, Mark, Seen, Service};

use super::*;

fn routes(_: &Ports) -> Router {
    Router::new()
        .route("/ok", get(|| async { "ok" }))
        .route("/text", get(|| async { (StatusCode::IM_A_TEAPOT, "short and stout") }))
        .route(
            "/panic",
            get(|| async {
                if true {
                    panic!("a secret")
                }
            }),
        )
        .route("/slow", get(std::future::pending::<()>))
        .route("/n/{n}", get(|axum::extract::Path(_): axum::extract::Path<u8>| async { "n" }))
        .route("/body", axum::routing::post(|_: bytes::Bytes| async { "taken" }))
}

#[tokio::test]
async fn every_error_is_a_problem() {
    let options = Options { request_timeout: Duration::from_millis(50), ..Options::default() };
    let house = House::with(options, routes).await;
    let cases = [
        ("GET", "/nowhere", 404, "http.not_found"),
        ("GET", "/%00", 404, "http.not_found"),
        ("GET", "/n/..%2f..", 400, "http.invalid"),
        ("GET", "/n/%c0%af", 400, "http.invalid"),
        ("GET", "/n/300", 400, "http.invalid"),
        ("DELETE", "/ok", 405, "http.method_not_allowed"),
        ("GET", "/text", 418, "http.invalid"),
        ("GET", "/panic", 500, "http.internal"),
        ("GET", "/slow", 503, "http.timeout"),
    ];
    for (method, path, status, code) in cases {
        let answer = house.send(request(method, path, &[], "")).await;
        assert_eq!(answer.problem(), (status, code.to_owned()), "{path}");
        assert_eq!(answer.json()["instance"], path);
        assert!(!answer.text.contains("secret"));
    }
    assert!(house.get("/slow").await.headers.contains_key("retry-after"));
    assert_eq!(house.send(request("DELETE", "/ok", &[], "")).await.headers["allow"], "GET,HEAD");
    assert_eq!(house.get("/text").await.json()["detail"], "short and stout");
    assert_eq!(house.get("/ok").await.text, "ok", "the panic was one request's");
    let long = "x".repeat((1 << 20) + 1);
    assert_eq!(house.post("/body", &[], &long).await.problem(), (413, "http.body_too_large".into()));
}

#[tokio::test]
async fn every_answer_has_its_headers() {
    let house = House::with(Options::default(), routes).await;
    for path in ["/ok", "/nowhere", "/livez", "/"] {
        let headers = house.get(path).await.headers;
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert!(headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"), "{path}");
        assert!(headers.contains_key("x-request-id"), "{path}");
    }
    let named = house.send(request("GET", "/nowhere", &[("x-request-id", "mine")], "")).await;
    assert_eq!((&named.headers["x-request-id"], &named.json()["trace_id"]), (&"mine".parse().unwrap(), &"mine".into()));
    let hostile = house.send(request("GET", "/ok", &[("x-request-id", "a b")], "")).await;
    assert_ne!(hostile.headers["x-request-id"], "a b");
}

#[tokio::test]
async fn other_sites_are_kept_out() {
    let options = Options { local_names_only: true, ..Options::default() };
    let house = House::with(options, routes).await;
    let rebound = house.send(request("GET", "/ok", &[("host", "evil.example")], "")).await;
    assert_eq!(rebound.problem(), (403, "http.host_refused".into()));
    let headers = [("host", "localhost:4500"), ("origin", "https://evil.example"), ("content-type", "text/plain")];
    assert_eq!(house.post("/body", &headers, "x").await.problem(), (403, "http.origin_refused".into()));
    assert_eq!(house.post("/body", &headers[..1], "x").await.status, 200);
}

#[tokio::test]
async fn probes_follow_the_process() {
    let house = House::new().await;
    let state = async |path: &str| house.get(path).await.status.as_u16();
    assert_eq!((state("/livez").await, state("/startupz").await, state("/readyz").await), (200, 503, 503));
    house.health.started();
    assert_eq!((state("/startupz").await, state("/readyz").await), (200, 200));
    house.health.draining();
    assert_eq!((state("/livez").await, state("/readyz").await), (200, 503));
    house.health.started();
    assert_eq!(state("/readyz").await, 503, "draining is for good");
    let metrics = house.get("/metrics").await;
    assert!(metrics.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
    assert!(metrics.text.contains("tidewire_http_requests_total"), "{}", metrics.text);
    assert!(house.get("/").await.text.contains("Tidewire"));
}

#[tokio::test]
async fn schemas_are_served_as_published() {
    let house = House::new().await;
    let schema = house.get("/schemas/activity.tracked/v1.json").await;
    assert_eq!(schema.json()["title"], "activity.tracked.v1");
    assert!(schema.headers["cache-control"].to_str().unwrap().contains("immutable"));
    assert_eq!(house.get("/schemas").await.json()["items"].as_array().unwrap().len(), ::events::catalogue().len());
    for none in [
        "/schemas/activity.tracked/v3.json",
        "/schemas/activity.tracked/1.json",
        "/schemas/x/v1.json",
        "/schemas/..%2f..%2fetc/v1.json",
    ] {
        assert_eq!(house.get(none).await.problem(), (404, "http.not_found".into()), "{none}");
    }
}

#[tokio::test]
async fn a_read_with_a_position_waits_for_its_consumers() {
    let house = House::of(Options::default(), |ports| Part {
        routes: routes(ports),
        readers: vec![Consumer::new("test.reader", vec![EventType::new("user.followed", 1)])],
        ..Part::default()
    })
    .await;
    house.emit(&super::events::followed("1", "7", "42")).await;
    let read = async |position: &str| house.send(request("GET", "/ok", &[("tidewire-position", position)], "")).await;
    assert_eq!(read("x").await.problem(), (400, "http.invalid_position".into()));
    assert_eq!(read("2").await.problem(), (400, "http.invalid_position".into()));
    assert_eq!(read("0").await.status, 200);
    let behind = read("1").await;
    assert_eq!(behind.problem(), (503, "http.behind".into()));
    assert!(behind.headers.contains_key("retry-after"));
    let handle = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let seen = Seen { consumer: "test.reader".into(), mark: Mark { source: "/shell".into(), id: "1".into() } };
        house.ports.store.commit(tidewire::Commit { seen: vec![seen], ..Default::default() }).await.unwrap();
    };
    let (answer, ()) = tokio::join!(read("1"), handle);
    assert_eq!(answer.text, "ok");
    assert_eq!(house.get("/ok").await.text, "ok");
}

/// Handles nothing: whoever reads from it waits in vain.
pub(super) struct Idle(pub Consumer);

#[tidewire::async_trait]
impl Handler for Idle {
    fn consumer(&self) -> Consumer {
        self.0.clone()
    }
    async fn handle(&self, _: &Envelope, _: &mut Context<'_>) -> Result<(), HandlerError> {
        Ok(())
    }
}

/// Services leave the waiting to this layer, so it must know all of their consumers that anybody reads from.
#[tokio::test]
async fn every_handler_of_a_service_is_waited_for_unless_it_takes_part_in_a_saga() {
    let kinds = [Kind::Handler, Kind::Projection, Kind::Saga, Kind::Participant];
    let answers = kinds.map(async |kind| {
        let types = vec![EventType::new("user.followed", 1)];
        let idle = Idle(Consumer { kind, ..Consumer::new("test.idle", types) });
        let part = |ports: &Ports| Part::from(&Service::new("test").handler(idle).routes(routes(ports)));
        let house = House::of(Options::default(), part).await;
        house.emit(&super::events::followed("1", "7", "42")).await;
        house.send(request("GET", "/ok", &[("tidewire-position", "1")], "")).await.status.as_u16()
    });
    assert_eq!(::futures::future::join_all(answers).await, [503, 503, 503, 200]);
}
