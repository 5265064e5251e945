//! `kill -9` in the middle of a rebuild and of a replay: whoever comes next goes on at the exact place.

use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::eventually;
use crate::support::process::Instance;

/// Tracked activities: a rebuild of them takes more than one batch.
const TRACKED: u64 = 6_000;
/// So many per request.
const AT_ONCE: u64 = 100;
/// Follows: a replay of them takes more than one batch. Two people share them, or their inboxes would forget some.
const FOLLOWERS: u64 = 700;
const STARS: u64 = 2;

async fn post(instance: &Instance, path: &str, body: &Value) -> Option<Value> {
    let answer = Client::new().post(format!("{}{path}", instance.url)).json(body).send().await.ok()?;
    let status = answer.status();
    let text = answer.text().await.ok()?;
    assert!(status.is_success(), "{path}: {status}: {text}");
    serde_json::from_str(&text).ok()
}

async fn track(instance: &Instance) {
    for n in 0..TRACKED / AT_ONCE {
        let one = |i: u64| json!({"user": format!("u{}", i % 7), "action": "viewed", "object": format!("{n}-{i}")});
        let batch = Value::Array((0..AT_ONCE).map(one).collect());
        post(instance, "/v1/track", &batch).await.expect("tracked");
    }
}

async fn follow(instance: &Instance) {
    let event = |n: u64| {
        json!({"specversion": "1.0", "id": format!("f{n}"), "source": "/crash", "type": "user.followed.v1",
            "partitionkey": format!("user/star{}", n % STARS), "datacontenttype": "application/json",
            "data": {"follower_id": format!("fan{n}"), "followed_id": format!("star{}", n % STARS)}})
    };
    let events: Vec<Value> = (0..FOLLOWERS).map(event).collect();
    for batch in events.chunks(100) {
        let request = Client::new().post(format!("{}/v1/events", instance.url));
        let request = request.header("content-type", "application/cloudevents-batch+json");
        let answer = request.body(Value::from(batch).to_string()).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
    }
}

async fn settled(instance: &Instance) {
    eventually("everything is handled", || async { (instance.get("/v1/audit").await["lost"] == 0).then_some(()) })
        .await;
}

async fn notifications(instance: &Instance, user: &str) -> u64 {
    let (mut told, mut cursor) = (0, None::<String>);
    loop {
        let more = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let page = instance.get(&format!("/v1/users/{user}/notifications?limit=500{more}")).await;
        told += page["items"].as_array().expect("items").len() as u64;
        cursor = page["cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            return told;
        }
    }
}

/// Waits until the process has killed itself, starts another one, and waits for the end of the replay.
async fn through_a_kill(mut first: Instance, data: &std::path::Path, id: &str) -> (Instance, Value) {
    let end = std::time::Instant::now() + crate::support::PATIENCE;
    while !first.has_ended() {
        assert!(std::time::Instant::now() < end, "it was not killed\n{}", first.log());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let second = Instance::up(data, &[]).await.expect("it starts again");
    let path = format!("/v1/replays/{id}");
    let job = eventually("the replay ends", || async {
        let job = second.get(&path).await;
        (!["waiting", "running"].contains(&job["state"].as_str()?)).then_some(job)
    })
    .await;
    (second, job)
}

async fn rebuilt_through(failpoint: &str) {
    let dir = TempDir::new().expect("a folder");
    let data = dir.path().join("data");
    let first = Instance::up(&data, &[("TIDEWIRE_FAILPOINTS", failpoint)]).await.expect("it starts");
    track(&first).await;
    settled(&first).await;
    let before = first.get("/v1/users/u3/activity?limit=500").await;
    let totals = first.get("/v1/stats/hourly").await["totals"]["activity.tracked"].clone();
    assert_eq!(totals, TRACKED);
    let job = post(&first, "/v1/projections/analytics.hourly/rebuild", &json!({"reason": "a test"})).await;
    let id = job.expect("a replay")["id"].as_str().expect("an id").to_owned();
    let (mut second, job) = through_a_kill(first, &data, &id).await;
    assert_eq!(job["state"], "done", "{failpoint}: {job}");
    // The event that says who began it is in both.
    assert_eq!(job["compared"]["differing"], 0, "{failpoint}: {job}");
    settled(&second).await;
    assert_eq!(second.get("/v1/stats/hourly").await["totals"]["activity.tracked"], totals, "{failpoint}");
    assert_eq!(second.get("/v1/users/u3/activity?limit=500").await, before);
    let projections = second.get("/v1/projections").await;
    let hourly = projections["items"].as_array().expect("items").iter().find(|p| p["name"] == "analytics.hourly");
    assert_eq!(hourly.expect("the projection")["generation"], 2, "{projections}");
    // And live events are counted on top.
    post(&second, "/v1/track", &json!([{"user": "u3", "action": "viewed"}])).await.expect("tracked");
    settled(&second).await;
    assert_eq!(second.get("/v1/stats/hourly").await["totals"]["activity.tracked"], TRACKED + 1, "{failpoint}");
    assert!(second.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_killed_anywhere_goes_on_and_counts_nothing_twice() {
    for failpoint in ["replay.before_commit=kill9@2", "replay.after_commit=kill9@1", "replay.before_swap=kill9@1"] {
        println!("kill -9 at {failpoint}");
        rebuilt_through(failpoint).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_killed_between_two_batches_notifies_nobody_twice() {
    for failpoint in ["replay.before_commit=kill9@2", "replay.after_commit=kill9@1"] {
        println!("kill -9 at {failpoint}");
        let dir = TempDir::new().expect("a folder");
        let data = dir.path().join("data");
        let first = Instance::up(&data, &[("TIDEWIRE_FAILPOINTS", failpoint)]).await.expect("it starts");
        follow(&first).await;
        settled(&first).await;
        let request = json!({"target": {"kind": "consumer", "name": "notifications.inbox", "again": true}});
        let plan = post(&first, "/v1/replays/plans", &request).await.expect("a plan");
        assert_eq!(plan["report"]["events"], FOLLOWERS, "{plan}");
        let id = plan["hash"].as_str().expect("a hash").to_owned();
        post(&first, "/v1/replays", &json!({"plan": id, "reason": "a test"})).await;
        let (mut second, job) = through_a_kill(first, &data, &id).await;
        assert_eq!((&job["state"], &job["counts"]["handled"]), (&json!("done"), &json!(FOLLOWERS)), "{job}");
        let mut told = 0;
        for star in 0..STARS {
            told += notifications(&second, &format!("star{star}")).await;
        }
        assert_eq!(told, 2 * FOLLOWERS, "once live, once replayed: {failpoint}");
        assert!(second.terminate().await.success());
    }
}
