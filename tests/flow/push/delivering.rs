//! What arrives, in which order, and signed how.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tidewire::chrono::TimeDelta;
use tokio::io::AsyncWriteExt;

use super::{Pushing, hasty};
use crate::flow::on_every_ground;
use crate::support::endpoint::{Endpoint, Received, Reply};
use crate::support::event::counted;
use crate::support::eventually;
use crate::support::world::World;

on_every_ground! {
    every_key_arrives_in_order_through_failures_and_a_restart,
}

async fn every_key_arrives_in_order_through_failures_and_a_restart(world: World) {
    // Every third event fails the first time, and once more after that.
    let endpoint = Endpoint::start(|request: &Received| {
        let fails = request.data("n").as_u64().is_some_and(|n| n % 3 == 0) && request.attempt <= 2;
        Reply::status(if fails { 500 } else { 204 })
    })
    .await;
    let pushing = Pushing::begin(world, hasty());
    pushing.subscribe("order", &endpoint.url, json!({"config": {"max_attempts": 50}})).await;
    let keys = ["a", "b", "c", "d"];
    let append = |from: u64, to: u64, pushing: &Pushing| {
        let ports = pushing.world.ports.clone();
        keys.iter().flat_map(|key| (from..=to).map(|n| counted(&ports, key, n)).collect::<Vec<_>>()).collect()
    };
    pushing.world.append(append(1, 8, &pushing)).await;
    eventually("some arrived", || async { (endpoint.received().len() > 5).then_some(()) }).await;
    let pushing = pushing.again(hasty()).await;
    pushing.world.append(append(9, 12, &pushing)).await;
    pushing.settled(&["order"]).await;
    for key in keys {
        assert_eq!(endpoint.numbers(key), (1..=12).collect::<Vec<u64>>(), "{key}");
    }
    assert_eq!(pushing.parked("order").await, 0);
    let failed = endpoint.received().iter().filter(|request| request.attempt > 1).count();
    assert!(failed >= 4 * 4, "{failed} tries were repeated");
    pushing.life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_events_in_binary_mode_signed_with_every_good_secret() {
    let endpoint = Endpoint::start(|_| Reply::status(200)).await;
    let pushing = Pushing::begin(World::embedded().await, hasty());
    let made = pushing.subscribe("signed", &endpoint.url, json!({})).await;
    pushing.world.append(vec![counted(&pushing.world.ports, "a", 1)]).await;
    eventually("the first arrived", || async { (endpoint.received().len() == 1).then_some(()) }).await;
    let now = pushing.world.ports.clock.now();
    pushing.change("signed", |subscription| assert!(subscription.rotate(now, TimeDelta::hours(1)))).await;
    eventually("both secrets sign", || async {
        pushing.world.append(vec![counted(&pushing.world.ports, "a", 2)]).await;
        let last = endpoint.received().pop()?;
        (last.header("webhook-signature").split(' ').count() == 2).then_some(())
    })
    .await;
    let all = endpoint.received();
    let first = &all[0];
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-type", "test.counted.v1"),
        ("ce-source", "/tests"),
        ("ce-partitionkey", "counter/a"),
        ("ce-sequence", "1"),
        ("content-type", "application/json"),
        ("webhook-request-origin", "tidewire.localhost"),
    ] {
        assert_eq!(first.header(name), value, "{name}");
    }
    assert_eq!(first.body, r#"{"key":"a","n":1}"#);
    let (now, _) = pushing.register.find("signed").await.unwrap().unwrap();
    let old = made.secrets[0].reveal().to_owned();
    let new = now.secrets[0].reveal().to_owned();
    for (request, secrets) in [(first, vec![old.clone()]), (all.last().unwrap(), vec![new, old])] {
        let expected = signed_by_python(request, &secrets).await;
        assert_eq!(request.header("webhook-signature"), expected);
    }
    assert_ne!(all[0].header("webhook-id"), all.last().unwrap().header("webhook-id"));
    pushing.life.end().await;
}

/// The header by another implementation: Python's standard library.
async fn signed_by_python(request: &Received, secrets: &[String]) -> String {
    let program = "import base64,hashlib,hmac,sys\n\
        head=sys.argv[1].encode()\nbody=sys.stdin.buffer.read()\n\
        sign=lambda s:'v1,'+base64.b64encode(hmac.new(base64.b64decode(s[6:]),head+body,hashlib.sha256).digest()).decode()\n\
        print(' '.join(map(sign,sys.argv[2:])),end='')";
    let head = format!("{}.{}.", request.header("webhook-id"), request.header("webhook-timestamp"));
    let mut command = tokio::process::Command::new("python3");
    command.args(["-c", program, &head]).args(secrets).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("python3 runs");
    child.stdin.take().expect("a pipe").write_all(&request.body).await.expect("written");
    String::from_utf8(child.wait_with_output().await.expect("it ends").stdout).expect("UTF-8")
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_and_the_beginning_decide_what_is_sent() {
    let (from_now, picky) =
        (Endpoint::start(|_| Reply::status(200)).await, Endpoint::start(|_| Reply::status(200)).await);
    let pushing = Pushing::begin(World::embedded().await, hasty());
    pushing.world.append((1..=3).map(|n| counted(&pushing.world.ports, "a", n)).collect()).await;
    pushing.subscribe("now", &from_now.url, json!({})).await;
    let all = json!({"filters": [{"sql": "sequence > 1"}, {"prefix": {"partitionkey": "counter/"}}], "config": {"start": "earliest"}});
    pushing.subscribe("picky", &picky.url, all).await;
    pushing.world.append((4..=6).map(|n| counted(&pushing.world.ports, "a", n)).collect()).await;
    pushing.settled(&["now", "picky"]).await;
    assert_eq!(from_now.numbers("a"), [4, 5, 6]);
    assert_eq!(picky.numbers("a"), [2, 3, 4, 5, 6]);
    // What was not sent counts as handled.
    let rows = pushing.life.operator.consumers().await.unwrap();
    assert!(rows.iter().filter(|row| row.name.starts_with("push.")).all(|row| row.handled == 6), "{rows:?}");
    pushing.life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_endpoint_holds_up_no_other() {
    let slow = Endpoint::start(|_| Reply::status(200).after(Duration::from_secs(2))).await;
    let quick = Endpoint::start(|_| Reply::status(200)).await;
    let pushing = Pushing::begin(World::embedded().await, hasty());
    pushing.subscribe("slow", &slow.url, json!({"config": {"concurrency": 1}})).await;
    pushing.subscribe("quick", &quick.url, json!({})).await;
    pushing.world.append((1..=40).map(|n| counted(&pushing.world.ports, &n.to_string(), n)).collect()).await;
    eventually("the quick one has all", || async { (quick.received().len() == 40).then_some(()) }).await;
    assert!(slow.received().len() < 10, "{}", slow.received().len());
    let row = pushing.life.operator.consumers().await.unwrap().into_iter().find(|row| row.name == "push.slow").unwrap();
    assert!(row.pending > 20, "{row:?}");
    pushing.life.end().await;
}
