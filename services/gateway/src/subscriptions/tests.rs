//! Subscriptions over HTTP, without anybody who delivers.

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::options;
use serde_json::{Value, json};
use tidewire::egress::Egress;
use tidewire::http::Json;
use tidewire::push::PushOptions;

use crate::Options;
use crate::tests::House;

/// A house that may call endpoints on this machine.
async fn house() -> House {
    tidewire::install_tls();
    let egress = Egress { allow_private: true, allow_http: true };
    House::pushing(PushOptions { egress, max_subscriptions: 3, ..PushOptions::default() }).await
}

/// An endpoint that agrees to be called by this origin, and answers with this status.
async fn endpoint(allowed: &'static str, status: StatusCode) -> String {
    let agree = move || async move { [("webhook-allowed-origin", allowed), ("webhook-allowed-rate", "120")] };
    let take = move |headers: HeaderMap| async move {
        let signed = headers.contains_key("webhook-signature") && headers.contains_key("ce-type");
        if signed { (status, Json(json!({}))) } else { (StatusCode::BAD_REQUEST, Json(json!({}))) }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = Router::new().route("/hook", options(agree).post(take));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    format!("http://{address}/hook")
}

async fn ask(house: &House, method: &str, path: &str, body: Value) -> (u16, Value) {
    let answer = house.call(method, path, &body).await;
    if answer.status.is_client_error() || answer.status.is_server_error() {
        let (status, code) = answer.problem();
        return (status, code.into());
    }
    (answer.status.as_u16(), if answer.text.is_empty() { Value::Null } else { answer.json() })
}

#[tokio::test]
async fn a_subscription_lives_from_create_to_delete() {
    let house = house().await;
    let sink = endpoint("*", StatusCode::NO_CONTENT).await;
    let wanted = json!({"id": "followers", "sink": sink, "types": ["user.*"], "config": {"concurrency": 2}});
    let (status, made) = ask(&house, "POST", "/v1/subscriptions", wanted.clone()).await;
    assert_eq!(
        (status, &made["id"], &made["state"], &made["rate"]),
        (201, &json!("followers"), &json!("active"), &json!(120))
    );
    let secret = made["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_"), "{made}");
    assert_eq!(ask(&house, "POST", "/v1/subscriptions", wanted.clone()).await, (409, "push.exists".into()));

    let (_, listed) = ask(&house, "GET", "/v1/subscriptions", Value::Null).await;
    assert_eq!(listed["items"][0]["consumer"], "push.followers");
    assert!(!listed.to_string().contains(&secret[6..]), "a secret is shown once");
    let (_, consumers) = ask(&house, "GET", "/v1/consumers/push.followers", Value::Null).await;
    assert_eq!(consumers["types"].as_array().map(Vec::len), Some(3), "{consumers}");

    let changed = json!({"sink": sink, "types": ["user.followed"], "description": "mail"});
    let (status, after) = ask(&house, "PUT", "/v1/subscriptions/followers", changed).await;
    assert_eq!((status, &after["types"], &after["description"]), (200, &json!(["user.followed"]), &json!("mail")));
    assert_eq!(after["config"]["start"], "now");
    let other_start = json!({"sink": sink, "config": {"start": "earliest"}});
    assert_eq!(ask(&house, "PUT", "/v1/subscriptions/followers", other_start).await, (400, "http.invalid".into()));

    let (_, paused) = ask(&house, "POST", "/v1/subscriptions/followers/pause", json!({"reason": "lunch"})).await;
    let (_, resumed) = ask(&house, "POST", "/v1/subscriptions/followers/resume", Value::Null).await;
    assert_eq!((&paused["state"], &resumed["state"]), (&json!("paused"), &json!("active")));
    let (_, rotated) = ask(&house, "POST", "/v1/subscriptions/followers/rotate", json!({"overlap_seconds": 60})).await;
    assert!(rotated["secret"].as_str().is_some_and(|new| new.starts_with("whsec_") && *new != secret), "{rotated}");
    assert_eq!(rotated["secrets"].as_array().map(Vec::len), Some(2));
    let (_, tested) = ask(&house, "POST", "/v1/subscriptions/followers/test", Value::Null).await;
    assert_eq!(tested["outcome"], "taken", "{tested}");

    assert_eq!(ask(&house, "DELETE", "/v1/subscriptions/followers", Value::Null).await.0, 204);
    assert_eq!(ask(&house, "GET", "/v1/subscriptions/followers", Value::Null).await.0, 404);
    let (_, acted) = ask(&house, "GET", "/v1/events?type=operator.acted", Value::Null).await;
    assert_eq!(acted["items"].as_array().map(Vec::len), Some(6), "{acted}");
}

#[tokio::test]
async fn an_endpoint_must_agree_and_may_be_left_alone_by_nobody_but_its_own() {
    let house = house().await;
    let create = |sink: String| ask(&house, "POST", "/v1/subscriptions", json!({ "sink": sink }));
    let stranger = endpoint("somebody.else", StatusCode::OK).await;
    assert_eq!(create(stranger).await, (400, "push.handshake_refused".into()));
    let nobody = "http://127.0.0.1:1/".to_owned();
    assert_eq!(create(nobody).await, (400, "push.unreachable".into()));
    let ours = endpoint("TIDEWIRE.localhost", StatusCode::GONE).await;
    let (status, made) = create(ours.clone()).await;
    assert_eq!(status, 201, "{made}");
    let (_, tested) =
        ask(&house, "POST", &format!("/v1/subscriptions/{}/test", made["id"].as_str().unwrap()), Value::Null).await;
    assert_eq!((&tested["outcome"], &tested["code"]), (&json!("gone"), &json!("push.gone")));
    for _ in 0..2 {
        assert_eq!(create(ours.clone()).await.0, 201);
    }
    assert_eq!(create(ours).await, (409, "push.full".into()));
}

#[tokio::test]
async fn a_request_that_is_repeated_makes_one_subscription() {
    let house = house().await;
    let wanted = json!({ "sink": endpoint("*", StatusCode::OK).await }).to_string();
    let headers = [("content-type", "application/json"), ("idempotency-key", "once")];
    let first = house.post("/v1/subscriptions", &headers, &wanted).await;
    let second = house.post("/v1/subscriptions", &headers, &wanted).await;
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (201, 201));
    assert_eq!(first.json(), second.json(), "the secret, too");
    let (_, listed) = ask(&house, "GET", "/v1/subscriptions", Value::Null).await;
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn private_addresses_are_refused_unless_allowed() {
    tidewire::install_tls();
    let house = House::with(Options::default(), |_| Router::new()).await;
    for (sink, code) in [
        ("http://example.org/", "http.invalid"),
        ("https://127.0.0.1/", "push.target_refused"),
        ("https://2130706433/", "push.target_refused"),
        ("https://0x7f.1/", "push.target_refused"),
        ("https://[::ffff:10.0.0.1]/", "push.target_refused"),
        ("https://localhost/", "push.target_refused"),
        ("https://169.254.169.254/", "push.target_refused"),
    ] {
        assert_eq!(
            ask(&house, "POST", "/v1/subscriptions", json!({ "sink": sink })).await,
            (400, code.into()),
            "{sink}"
        );
    }
}

#[tokio::test]
async fn nobody_is_sent_what_he_may_not_read_nor_answers_with_what_he_may_not_emit() {
    let closed = Options { authenticate: true, ..Options::default() };
    let house = House::with(closed, |_| Router::new()).await;
    let key = json!({"name": "py", "scopes": "subscribe events:user.* emit:activity.*", "source": "/py"});
    let made = house.inside("POST", "/v1/keys", &key).await.json();
    let header = format!("Bearer {}", made["key"].as_str().unwrap());
    let reply = |source: Option<&str>, ty: &str| json!({"reply": {"source": source, "types": [ty]}});
    for (types, config, expected) in [
        (json!(["saga.stuck"]), json!({}), (403, "auth.forbidden")),
        (json!([]), json!({}), (403, "auth.forbidden")),
        (json!(["user.*"]), reply(Some("/py"), "user.followed"), (403, "auth.forbidden")),
        (json!(["user.*"]), reply(Some("/other"), "activity.tracked"), (403, "auth.source")),
        (json!(["user.*"]), reply(None, "activity.tracked"), (403, "auth.source")),
        // The rights are there; the address is not one that may be called.
        (json!(["user.*"]), reply(Some("/py"), "activity.tracked"), (400, "push.target_refused")),
    ] {
        let wanted = json!({"sink": "https://127.0.0.1/", "types": types, "config": config}).to_string();
        let headers = [("authorization", header.as_str()), ("content-type", "application/json")];
        let answer = house.post("/v1/subscriptions", &headers, &wanted).await;
        assert_eq!(answer.problem(), (expected.0, expected.1.to_owned()), "{wanted}");
    }
}
