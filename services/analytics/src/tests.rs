//! The service as its callers see it.

use events::{UserFollowed, UserId};
use serde_json::{Value, json};
use tidewire::testing::Bench;

use crate::service;

fn column(page: &Value, field: &str) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|item| item[field].as_str().unwrap_or("-").to_owned()).collect()
}

#[tokio::test]
async fn what_is_tracked_becomes_history_newest_first() {
    let bench = Bench::new(service, &[]).await;
    let one = json!({ "user": "42", "action": "page.viewed", "object": "/pricing", "metadata": { "a": 1 } });
    let (status, taken) = bench.call("POST", "/v1/track", one).await;
    assert_eq!((status.as_u16(), taken["ids"].as_array().unwrap().len()), (202, 1));
    let many: Vec<Value> =
        (0..5).map(|n| json!({ "user": if n == 2 { "4" } else { "42" }, "action": format!("a{n}") })).collect();
    let (status, many) = bench.call("POST", "/v1/track", Value::Array(many)).await;
    assert_eq!((status.as_u16(), many["ids"].as_array().unwrap().len()), (202, 5));
    bench.settle().await;

    let first = bench.get("/v1/users/42/activity?limit=3").await;
    assert_eq!(column(&first, "action"), ["a4", "a3", "a1"]);
    assert_eq!(first["items"][0]["id"], many["ids"][4]);
    let cursor = first["cursor"].as_str().unwrap();
    let rest = bench.get(&format!("/v1/users/42/activity?limit=3&cursor={cursor}")).await;
    assert_eq!(column(&rest, "action"), ["a0", "page.viewed"]);
    assert_eq!((&rest["items"][1]["metadata"], &rest["cursor"]), (&json!({ "a": 1 }), &Value::Null));
    assert_eq!(column(&bench.get("/v1/users/4/activity").await, "action"), ["a2"]);
}

#[tokio::test]
async fn all_or_nothing_is_tracked() {
    let bench = Bench::new(service, &[]).await;
    let (status, problem) = bench
        .call("POST", "/v1/track", json!([{ "user": "42", "action": "a" }, { "user": "4/2", "action": "a" }, 7]))
        .await;
    assert_eq!(status, 400);
    assert_eq!(
        problem["errors"].as_array().unwrap().iter().map(|e| e["index"].as_u64().unwrap()).collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(bench.ports.store.head().await.unwrap().0, 0);
}

#[tokio::test]
async fn every_type_is_counted_by_the_hour() {
    let bench = Bench::new(service, &[]).await;
    let id = |text: &str| UserId::new(text).unwrap();
    let body = Value::Array(vec![json!({ "user": "42", "action": "a" }); 7]);
    bench.call("POST", "/v1/track", body.clone()).await;
    bench.emit(&UserFollowed { follower_id: id("7"), followed_id: id("42") }).await;
    bench.settle().await;
    // A second batch adds to the same rows.
    bench.call("POST", "/v1/track", body).await;
    bench.settle().await;

    let stats = bench.get("/v1/stats/hourly").await;
    assert_eq!(stats["totals"], json!({ "activity.tracked": 14, "user.followed": 1 }));
    assert_eq!(column(&stats, "hour"), ["2026-11-20T13:00:00Z"; 2]);
    let one = bench.get("/v1/stats/hourly?type=user.followed&from=2026-11-20T13:00:00Z&to=2026-11-20T14:00:00Z").await;
    assert_eq!(one["items"], json!([{ "hour": "2026-11-20T13:00:00Z", "type": "user.followed", "count": 1 }]));
    for (from, to) in
        [("2026-11-20T12:00:00Z", "2026-11-20T13:00:00Z"), ("2026-11-20T14:00:00Z", "2026-11-20T15:00:00Z")]
    {
        assert_eq!(bench.get(&format!("/v1/stats/hourly?from={from}&to={to}")).await["items"], json!([]));
    }
    for bad in [
        "from=yesterday",
        "type=no.such",
        "from=2026-01-01T00:00:00Z",
        "from=2026-11-20T15:00:00Z&to=2026-11-20T14:00:00Z",
    ] {
        assert_eq!(bench.call("GET", &format!("/v1/stats/hourly?{bad}"), Value::Null).await.0, 400, "{bad}");
    }
}
