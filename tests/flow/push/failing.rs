//! Endpoints that fail: what is tried again, what is parked, and what only waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use serde_json::json;
use tidewire::egress::Egress;
use tidewire::push::{Circuit, PushOptions, State};
use tidewire::store::ParkedQuery;

use super::{Pushing, hasty};
use crate::support::endpoint::{Endpoint, Received, Reply};
use crate::support::event::counted;
use crate::support::eventually;
use crate::support::world::World;

/// A status that a test can change.
#[derive(Clone)]
struct Says(Arc<AtomicU16>);

impl Says {
    fn new(status: u16) -> Self {
        Self(Arc::new(AtomicU16::new(status)))
    }
    fn now(&self, status: u16) {
        self.0.store(status, Ordering::SeqCst);
    }
    fn status(&self) -> u16 {
        self.0.load(Ordering::SeqCst)
    }
}

async fn codes(pushing: &Pushing) -> Vec<(String, u32)> {
    let query = ParkedQuery { limit: 100, ..ParkedQuery::default() };
    let parked = pushing.world.ports.store.parked(&query).await.unwrap();
    parked.into_iter().map(|parked| (parked.code, parked.attempts)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_always_fails_is_parked_after_its_attempts_and_comes_back_by_redrive() {
    let mended = Says::new(500);
    let says = mended.clone();
    let endpoint = Endpoint::start(move |request: &Received| {
        Reply::status(if request.data("key") == "bad" && request.data("n") == 2 { says.status() } else { 200 })
    })
    .await;
    let pushing = Pushing::begin(World::embedded().await, hasty());
    pushing.subscribe("poison", &endpoint.url, json!({"config": {"max_attempts": 3}})).await;
    for n in 1..=3 {
        let ports = &pushing.world.ports;
        pushing.world.append(vec![counted(ports, "bad", n), counted(ports, "good", n)]).await;
    }
    pushing.settled(&["poison"]).await;
    assert_eq!(codes(&pushing).await, [("handler.failed".to_owned(), 3), ("parked.behind".to_owned(), 0)]);
    assert_eq!((endpoint.numbers("bad"), endpoint.numbers("good")), (vec![1, 2], vec![1, 2, 3]));
    let tries =
        endpoint.received().iter().filter(|request| request.data("n") == 2 && request.data("key") == "bad").count();
    assert_eq!(tries, 3);
    mended.now(200);
    let again = pushing.life.operator.redrive("push.poison", None, 10).await.unwrap();
    assert!(again.len() == 2 && again.iter().all(|redriven| redriven.handled), "{again:?}");
    assert_eq!(endpoint.numbers("bad"), [1, 2, 3]);
    pushing.life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_parked_at_once_and_a_redirect_is_not_followed() {
    let elsewhere = Endpoint::start(|_| Reply::status(200)).await;
    let target = elsewhere.url.clone();
    let endpoint = Endpoint::start(move |request: &Received| match request.data("key").as_str() {
        Some("moved") => Reply::status(307).header("location", &target),
        Some("refused") => Reply::status(422),
        _ => Reply::status(200),
    })
    .await;
    let pushing = Pushing::begin(World::embedded().await, hasty());
    pushing.subscribe("strict", &endpoint.url, json!({})).await;
    let ports = &pushing.world.ports;
    pushing.world.append(["moved", "refused", "fine"].map(|key| counted(ports, key, 1)).into()).await;
    pushing.settled(&["strict"]).await;
    let mut found = codes(&pushing).await;
    found.sort();
    assert_eq!(found, [("push.redirected".to_owned(), 1), ("push.refused".to_owned(), 1)]);
    assert!(elsewhere.received().is_empty(), "{:?}", elsewhere.received());
    pushing.life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_down_parks_nothing_and_gets_everything_when_it_is_back() {
    for down in [503, 500] {
        let says = Says::new(200);
        let answer = says.clone();
        let endpoint = Endpoint::start(move |_| Reply::status(answer.status())).await;
        let options = PushOptions { breaker_failures: 3, ..hasty() };
        let pushing = Pushing::begin(World::embedded().await, options);
        // Four tries each: the outage outlasts them many times over.
        pushing.subscribe("down", &endpoint.url, json!({})).await;
        pushing.world.append(vec![counted(&pushing.world.ports, "0", 1)]).await;
        pushing.settled(&["down"]).await;
        says.now(down);
        pushing.world.append((2..=60).map(|n| counted(&pushing.world.ports, &n.to_string(), n)).collect()).await;
        eventually("the circuit is seen to be open, and probed", || async {
            let status = pushing.register.status("down").await.ok()?;
            let is_open = status.circuit != Circuit::Closed && status.consecutive_failures >= 8;
            (is_open && status.last_failure.is_some()).then_some(())
        })
        .await;
        let tries = endpoint.received().len();
        assert!(tries < 60, "{down}: an endpoint that is down is left alone, not asked for every event: {tries}");
        assert_eq!(pushing.parked("down").await, 0, "{down}");
        says.now(204);
        pushing.settled(&["down"]).await;
        assert_eq!(pushing.parked("down").await, 0, "{down}");
        eventually("the circuit is seen to be closed", || async {
            let status = pushing.register.status("down").await.ok()?;
            (status.circuit == Circuit::Closed && status.last_success.is_some()).then_some(())
        })
        .await;
        pushing.life.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_asks_for_time_gets_it() {
    let endpoint = Endpoint::start(|request: &Received| match request.attempt {
        1 => Reply::status(429).header("retry-after", "1"),
        _ => Reply::status(200),
    })
    .await;
    let options = PushOptions { breaker_max: Duration::from_secs(5), ..hasty() };
    let pushing = Pushing::begin(World::embedded().await, options);
    pushing.subscribe("later", &endpoint.url, json!({})).await;
    pushing.world.append(vec![counted(&pushing.world.ports, "a", 1)]).await;
    pushing.settled(&["later"]).await;
    let stamps: Vec<i64> =
        endpoint.received().iter().map(|request| request.header("webhook-timestamp").parse().unwrap()).collect();
    assert!(stamps.len() == 2 && stamps[1] > stamps[0], "{stamps:?}");
    pushing.life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_gone_is_called_no_more_until_somebody_resumes_it() {
    let says = Says::new(410);
    let answer = says.clone();
    let endpoint = Endpoint::start(move |_| Reply::status(answer.status())).await;
    let pushing = Pushing::begin(World::embedded().await, hasty());
    pushing.subscribe("gone", &endpoint.url, json!({})).await;
    pushing.world.append((1..=5).map(|n| counted(&pushing.world.ports, "a", n)).collect()).await;
    let disabled = eventually("it is disabled", || async {
        let (subscription, _) = pushing.register.find("gone").await.ok()??;
        match subscription.state {
            State::Disabled { code, .. } => Some(code),
            _ => None,
        }
    })
    .await;
    assert_eq!(disabled, "push.gone");
    eventually("its loop has ended", || async { (!pushing.life.running.roster().runs("push.gone")).then_some(()) })
        .await;
    assert_eq!((endpoint.received().len(), pushing.parked("gone").await), (1, 0));
    says.now(200);
    pushing.change("gone", |subscription| subscription.state = State::Active).await;
    pushing.settled(&["gone"]).await;
    assert_eq!(endpoint.numbers("a"), [1, 2, 3, 4, 5]);
    pushing.life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_inside_is_not_called_whatever_it_led_to_before() {
    let endpoint = Endpoint::start(|_| Reply::status(200)).await;
    let options = PushOptions { egress: Egress { allow_private: false, allow_http: true }, ..hasty() };
    let pushing = Pushing::begin(World::embedded().await, options);
    let named = endpoint.url.replace("127.0.0.1", "localhost");
    pushing.subscribe("inside", &named, json!({})).await;
    pushing.world.append(vec![counted(&pushing.world.ports, "a", 1)]).await;
    let failure =
        eventually("it was refused", || async { pushing.register.status("inside").await.ok()?.last_failure }).await;
    assert_eq!(failure.code, "push.target_refused");
    assert_eq!((endpoint.received().len(), pushing.parked("inside").await), (0, 0));
    pushing.life.end().await;
}
