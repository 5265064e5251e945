//! The service as its callers see it.

use events::{ActivityTracked, UserFollowed, UserId};
use serde_json::{Value, json};
use tidewire::testing::Bench;

use crate::service;

fn id(text: &str) -> UserId {
    UserId::new(text).unwrap()
}

fn column(page: &Value, field: &str) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|item| item[field].as_str().unwrap_or("-").to_owned()).collect()
}

async fn with_users(ids: &[&str]) -> Bench {
    let bench = Bench::new(service, &[]).await;
    for id in ids {
        let (status, _) = bench.call("POST", "/v1/users", json!({ "id": id, "name": format!("User {id}") })).await;
        assert_eq!(status, 201);
    }
    bench
}

#[tokio::test]
async fn registers_once() {
    let bench = Bench::new(service, &[]).await;
    let ada = json!({ "id": "ada", "name": " Ada ", "email": "ada@example.org" });
    let shown = json!({ "id": "ada", "name": "Ada", "email": "ada@example.org" });
    assert_eq!(bench.call("POST", "/v1/users", ada.clone()).await, (http(201), shown.clone()));
    assert_eq!(bench.call("POST", "/v1/users", ada).await, (http(200), shown));
    let (status, problem) = bench.call("POST", "/v1/users", json!({ "id": "ada", "name": "Eve" })).await;
    assert_eq!((status.as_u16(), &problem["code"]), (409, &json!("user.already_exists")));
    let (status, drawn) = bench.call("POST", "/v1/users", json!({ "name": "Bob" })).await;
    assert_eq!(status, 201);
    assert_eq!(drawn["id"].as_str().unwrap().len(), 36);
    bench.settle().await;
    let profile = bench.get("/v1/users/ada").await;
    assert_eq!((&profile["name"], &profile["followers"]), (&json!("Ada"), &json!(0)));
    assert!(profile.get("email").is_none(), "an address is nobody else's business");
}

#[tokio::test]
async fn refuses_what_is_no_user() {
    let bench = Bench::new(service, &[]).await;
    for bad in [
        json!({}),
        json!({ "name": " " }),
        json!({ "name": "a\u{7}b" }),
        json!({ "name": "x".repeat(201) }),
        json!({ "id": "a/b", "name": "Ada" }),
        json!({ "id": "", "name": "Ada" }),
        json!({ "name": "Ada", "email": "ada" }),
        json!({ "name": "Ada", "mail": "typing@error.org" }),
    ] {
        let (status, problem) = bench.call("POST", "/v1/users", bad.clone()).await;
        assert_eq!((status.as_u16(), &problem["code"]), (400, &json!("http.invalid")), "{bad}");
    }
    assert_eq!(bench.ports.store.head().await.unwrap().0, 0);
}

#[tokio::test]
async fn follows_and_leaves() {
    let bench = with_users(&["7", "8", "42"]).await;
    let follow = |a: &str, b: &str| format!("/v1/users/{a}/following/{b}");
    let pair = json!({ "follower_id": "7", "followed_id": "42" });
    assert_eq!(bench.call("PUT", &follow("7", "42"), Value::Null).await, (http(201), pair.clone()));
    assert_eq!(bench.call("PUT", &follow("7", "42"), Value::Null).await, (http(200), pair));
    assert_eq!(bench.call("PUT", &follow("8", "42"), Value::Null).await.0, 201);
    for (a, b, status, code) in [
        ("7", "7", 400, "user.follows_itself"),
        ("7", "nobody", 404, "user.not_found"),
        ("nobody", "7", 404, "user.not_found"),
        ("7", "a%2Fb", 400, "http.invalid"),
    ] {
        let (found, problem) = bench.call("PUT", &follow(a, b), Value::Null).await;
        assert_eq!((found.as_u16(), &problem["code"]), (status, &json!(code)), "{a} {b}");
    }
    bench.settle().await;
    let first = bench.get("/v1/users/42/followers?limit=1").await;
    assert_eq!((column(&first, "id"), column(&first, "name")), (vec!["7".into()], vec!["User 7".into()]));
    let second =
        bench.get(&format!("/v1/users/42/followers?limit=1&cursor={}", first["cursor"].as_str().unwrap())).await;
    assert_eq!((column(&second, "id"), &second["cursor"]), (vec!["8".into()], &Value::Null));
    assert_eq!(column(&bench.get("/v1/users/7/following").await, "id"), ["42"]);

    for _ in 0..2 {
        assert_eq!(bench.call("DELETE", &follow("7", "42"), Value::Null).await, (http(204), Value::Null));
    }
    bench.settle().await;
    assert_eq!(column(&bench.get("/v1/users/42/followers").await, "id"), ["8"]);
    assert_eq!(column(&bench.get("/v1/users/7/following").await, "id"), Vec::<String>::new());
    assert_eq!(bench.ports.store.head().await.unwrap().0, 3 + 3, "what changed nothing emitted nothing");
}

#[tokio::test]
async fn no_user_is_a_prefix_of_another() {
    let bench = with_users(&["1", "4", "42", "42-"]).await;
    for followed in ["4", "42", "42-"] {
        bench.call("PUT", &format!("/v1/users/1/following/{followed}"), Value::Null).await;
    }
    bench.settle().await;
    assert_eq!(bench.get("/v1/users/4").await["followers"], 1);
    assert_eq!(column(&bench.get("/v1/users/42/followers").await, "id"), ["1"]);
    assert_eq!(column(&bench.get("/v1/users/1/following").await, "id"), ["4", "42", "42-"]);
}

#[tokio::test]
async fn users_of_other_systems_can_be_followed() {
    let bench = with_users(&["7"]).await;
    bench.emit(&UserFollowed { follower_id: id("theirs"), followed_id: id("7") }).await;
    bench.emit(&UserFollowed { follower_id: id("7"), followed_id: id("other") }).await;
    bench.settle().await;
    let followers = bench.get("/v1/users/7/followers").await;
    assert_eq!((column(&followers, "id"), column(&followers, "name")), (vec!["theirs".into()], vec!["-".into()]));
    assert_eq!(bench.call("PUT", "/v1/users/theirs/following/7", Value::Null).await.0, 404);
    // A stream that began with a foreign follow still becomes a user's.
    let other = json!({ "id": "other", "name": "Other" });
    assert_eq!(bench.call("POST", "/v1/users", other).await.0, 201);
    assert_eq!(bench.call("PUT", "/v1/users/other/following/7", Value::Null).await.0, 201);
    assert_eq!(bench.call("PUT", "/v1/users/7/following/other", Value::Null).await.0, 200);
}

#[tokio::test]
async fn a_feed_is_what_those_one_follows_did() {
    let bench = with_users(&["1", "2", "3"]).await;
    let did = |user: &str, action: &str| ActivityTracked {
        user_id: id(user),
        action: action.into(),
        object: None,
        metadata: None,
    };
    bench.emit(&did("2", "before")).await;
    bench.call("PUT", "/v1/users/1/following/2", Value::Null).await;
    bench.emit(&did("2", "after")).await;
    bench.emit(&did("3", "stranger")).await;
    bench.call("PUT", "/v1/users/2/following/3", Value::Null).await;
    bench.settle().await;
    let feed = bench.get("/v1/users/1/feed?limit=2").await;
    assert_eq!(column(&feed, "kind"), ["followed", "activity"]);
    assert_eq!(feed["items"][0]["followed_id"], "3");
    let rest = bench.get(&format!("/v1/users/1/feed?cursor={}", feed["cursor"].as_str().unwrap())).await;
    assert_eq!(column(&rest, "action"), ["before"]);

    bench.call("DELETE", "/v1/users/1/following/2", Value::Null).await;
    bench.settle().await;
    assert_eq!(bench.get("/v1/users/1/feed").await["items"], json!([]));
}

#[tokio::test]
async fn the_same_request_again_gets_the_same_answer() {
    use tidewire::http::{Answers, idempotent};
    let mut bench = with_users(&["7", "42"]).await;
    let answers = Answers { store: bench.ports.store.clone(), clock: bench.ports.clock.clone() };
    let layer = axum::middleware::from_fn_with_state(answers, idempotent);
    bench.service.routes = std::mem::take(&mut bench.service.routes).layer(layer);
    let call = |method: &'static str, uri: &'static str, body: &'static str| {
        let request = axum::http::Request::builder().method(method).uri(uri).header("idempotency-key", method);
        let request = request.header("content-type", "application/json").body(axum::body::Body::from(body)).unwrap();
        let routes = bench.service.routes.clone();
        async move {
            let response = tower::ServiceExt::oneshot(routes, request).await.unwrap();
            let (status, location) = (response.status(), response.headers().get("location").cloned());
            (status, location, axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap())
        }
    };
    // No id: without the key each would be another user.
    let register = || call("POST", "/v1/users", r#"{"name":"Bob"}"#);
    let (first, second) = tokio::join!(register(), register());
    assert_eq!((first.0.as_u16(), first.1.is_some()), (201, true));
    assert_eq!(first, second);
    assert_eq!(register().await, first);
    let follow = || call("PUT", "/v1/users/7/following/42", "");
    assert_eq!((follow().await.0.as_u16(), follow().await.0.as_u16()), (201, 201));
    assert_eq!(call("PUT", "/v1/users/42/following/7", "").await.0, 409);
    assert_eq!(bench.ports.store.head().await.unwrap().0, 2 + 1 + 1);
}

fn http(status: u16) -> axum::http::StatusCode {
    axum::http::StatusCode::from_u16(status).unwrap()
}
