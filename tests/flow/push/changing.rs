//! Subscriptions that change while events flow, in this process and in others.

use std::time::Duration;

use serde_json::json;
use tidewire::push::State;
use tidewire::{Commit, Service};

use super::{Pushing, hasty};
use crate::flow::on_every_ground;
use crate::support::endpoint::{Endpoint, Reply};
use crate::support::event::counted;
use crate::support::eventually;
use crate::support::handlers::Tally;
use crate::support::world::{Place, World};

on_every_ground! {
    a_change_is_seen_while_events_flow_and_loses_none,
}

async fn a_change_is_seen_while_events_flow_and_loses_none(world: World) {
    let (first, second) =
        (Endpoint::start(|_| Reply::status(200)).await, Endpoint::start(|_| Reply::status(200)).await);
    let pushing = Pushing::begin(world, hasty());
    pushing.subscribe("moving", &first.url, json!({})).await;
    let append = |n: u64| pushing.world.append(vec![counted(&pushing.world.ports, "a", n)]);
    append(1).await;
    eventually("the first one has it", || async { (first.received().len() == 1).then_some(()) }).await;

    pushing.change("moving", |subscription| subscription.state = State::Paused).await;
    let roster = pushing.life.running.roster();
    eventually("it is paused", || async { (!roster.runs("push.moving")).then_some(()) }).await;
    append(2).await;
    eventually("its lag is seen", || async {
        let rows = pushing.life.operator.consumers().await.ok()?;
        rows.into_iter().find(|row| row.name == "push.moving" && row.pending == 1).map(drop)
    })
    .await;
    let sink = second.url.clone();
    pushing
        .change("moving", |subscription| {
            subscription.state = State::Active;
            subscription.wanted.sink = sink.clone();
        })
        .await;
    append(3).await;
    pushing.settled(&["moving"]).await;
    assert_eq!((first.numbers("a"), second.numbers("a")), (vec![1], vec![2, 3]));

    let (_, revision) = pushing.register.find("moving").await.unwrap().unwrap();
    let documents = pushing.register.remove("moving", revision);
    pushing.world.ports.store.commit(Commit { documents, ..Commit::default() }).await.unwrap();
    eventually("it is gone", || async { (!roster.runs("push.moving")).then_some(()) }).await;
    let rows = pushing.life.operator.consumers().await.unwrap();
    assert!(!rows.iter().any(|row| row.name == "push.moving"), "{rows:?}");
    eventually("the broker keeps nothing for it", || async {
        let lags = pushing.world.ports.broker.lag().await.ok()?;
        (!lags.iter().any(|lag| lag.group == "push.moving" && lag.pending > 0)).then_some(())
    })
    .await;
    pushing.life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roster_runs_each_consumer_once_and_lets_it_come_back() {
    let world = World::embedded().await;
    let life = world.run(vec![Service::new("tests").handler(Tally::new("tally.fixed"))]);
    let roster = life.running.roster();
    let late = || std::sync::Arc::new(Tally::new("tally.late"));
    assert!(roster.enroll(late(), "/tests"));
    assert!(!roster.enroll(late(), "/tests"), "it runs here already");
    assert_eq!(roster.consumers(), ["tally.fixed", "tally.late"]);
    assert!(roster.dismiss("tally.late").await && !roster.dismiss("tally.late").await);
    world.append(vec![counted(&world.ports, "a", 1)]).await;
    assert!(roster.enroll(late(), "/tests"), "it has left");
    eventually("it goes on where it was", || async {
        (world.ports.store.handled("tally.late").await.ok()? == 1).then_some(())
    })
    .await;
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_the_work_of_a_subscription_and_both_see_it_end() {
    let Some(world) = World::jetstream().await else { return };
    let Place::Servers(ground) = &world.place else { panic!("it stands on servers") };
    let elsewhere = World { ports: ground.open().await, place: Place::Servers(ground.clone()) };
    let endpoint = Endpoint::start(|_| Reply::status(200).after(Duration::from_millis(10))).await;
    let (one, two) = (Pushing::begin(world, hasty()), Pushing::begin(elsewhere, hasty()));
    one.subscribe("shared", &endpoint.url, json!({"config": {"concurrency": 2}})).await;
    eventually("both run it", || async {
        let both = [&one, &two].iter().all(|pushing| pushing.life.running.roster().runs("push.shared"));
        both.then_some(())
    })
    .await;
    let keys: Vec<String> = (0..24).map(|n| format!("k{n}")).collect();
    for n in 1..=5 {
        one.world.append(keys.iter().map(|key| counted(&one.world.ports, key, n)).collect()).await;
    }
    eventually("both deliver", || async {
        let rows = two.life.operator.consumers().await.ok()?;
        rows.iter().find(|row| row.name == "push.shared" && row.members == 2).map(drop)
    })
    .await;
    // One of them ends in the midst of it; what it had in hand goes to the other.
    two.life.end().await;
    one.settled(&["shared"]).await;
    for key in &keys {
        assert_eq!(endpoint.numbers(key), [1, 2, 3, 4, 5], "{key}");
    }
    let (_, revision) = one.register.find("shared").await.unwrap().unwrap();
    let documents = one.register.remove("shared", revision);
    one.world.ports.store.commit(Commit { documents, ..Commit::default() }).await.unwrap();
    eventually("the broker knows the group no more", || async {
        let lags = one.world.ports.broker.lag().await.ok()?;
        (!lags.iter().any(|lag| lag.group == "push.shared")).then_some(())
    })
    .await;
    one.life.end().await;
}
