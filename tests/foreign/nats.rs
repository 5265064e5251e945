//! `nats-py` alone.

use serde_json::{Value, json};
use tidewire::Key;

use super::client::{is_left_out, read, run};
use super::{ASTRAY, NOBODYS, assert_handled, assert_understood, counting};
use crate::support::ground::{BrokerAt, Ground};
use crate::support::world::{Place, World};

const PROGRAM: &str = "nats_client.py";

fn url(ground: &Ground) -> &str {
    match &ground.broker {
        BrokerAt::JetStream(options) => &options.url,
        #[cfg(feature = "kafka")]
        BrokerAt::Kafka(_) => panic!("this ground is Kafka's"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nats_client_understands_what_the_relay_publishes() {
    if is_left_out() {
        return;
    }
    let Some(ground) = Ground::on_shared_jetstream().await else { return };
    let everything = format!("tw.{}.>", ground.domain());
    let found = assert_understood(&ground, async || read(PROGRAM, &["read", url(&ground), &everything]).await).await;
    for event in &found {
        let place = event.place.as_str().expect("a subject");
        let bucket = Key::new(event.attribute("partitionkey")).expect("a key").bucket();
        let expected = format!("tw.{}.{bucket:02}.{}", ground.domain(), event.attribute("type"));
        assert_eq!(place, expected, "a client may ask for what it wants by its subject");
    }
    // As one that is interested in follows only would.
    let follows = format!("tw.{}.*.user.followed.*", ground.domain());
    let some = read(PROGRAM, &["read", url(&ground), &follows]).await;
    let expected = found.iter().filter(|event| event.attribute("type") == "user.followed.v1").count();
    assert_eq!(some.len(), expected);
    assert!(some.iter().all(|event| event.attribute("type") == "user.followed.v1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_nats_client_publishes_is_handled_or_passed_over() {
    if is_left_out() {
        return;
    }
    let Some(world) = World::jetstream().await else { return };
    let Place::Servers(ground) = &world.place else { panic!("this ground has servers") };
    let ground = ground.clone();
    // Whoever knows how buckets are drawn may use them; any other one does as well, and what is under none is nobody's.
    let bucket = Key::of("counter", "theirs").bucket();
    let (drawn, other) = (format!("{bucket:02}"), format!("{:02}", (bucket + 1) % 64));
    let write = async |mut orders: Vec<Value>| {
        orders.push(counting("7", NOBODYS, 1));
        for order in &mut orders {
            let token = match order["data"]["key"].as_str() {
                Some(ASTRAY) => other.as_str(),
                Some(NOBODYS) => "nowhere",
                _ => drawn.as_str(),
            };
            order["subject"] = json!(format!("tw.{}.{token}.test.counted.v1", ground.domain()));
        }
        run(PROGRAM, &["write", url(&ground)], &orders).await;
    };
    assert_handled(world, write).await;
}
