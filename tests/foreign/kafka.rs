//! `confluent-kafka` alone.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::client::{is_left_out, read, run};
use super::{assert_handled, assert_understood};
use crate::support::ground::{BrokerAt, Ground};
use crate::support::world::{Place, World};

const PROGRAM: &str = "kafka_client.py";

fn place(ground: &Ground) -> [String; 2] {
    match &ground.broker {
        BrokerAt::Kafka(options) => [options.brokers.clone(), format!("tidewire.{}", options.domain)],
        BrokerAt::JetStream(_) => panic!("this ground is JetStream's"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_client_understands_what_the_relay_publishes() {
    if is_left_out() {
        return;
    }
    let Some(ground) = Ground::on_shared_kafka().await else { return };
    let [brokers, topic] = place(&ground);
    let found = assert_understood(&ground, async || read(PROGRAM, &["read", &brokers, &topic]).await).await;
    let mut partitions: HashMap<&str, &Value> = HashMap::new();
    for event in &found {
        let key = event.attribute("partitionkey");
        let (partition, record_key) = (&event.place[0], &event.place[1]);
        assert_eq!(record_key, key, "the record's key is the event's");
        assert_eq!(*partitions.entry(key).or_insert(partition), partition, "a key stays in its partition");
    }
    let used: HashSet<String> = partitions.values().map(|partition| partition.to_string()).collect();
    assert!(used.len() > 1, "keys are spread: {used:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kafka_client_publishes_is_handled_or_passed_over() {
    if is_left_out() {
        return;
    }
    let Some(world) = World::kafka().await else { return };
    let Place::Servers(ground) = &world.place else { panic!("this ground has servers") };
    let [brokers, topic] = place(ground);
    let write = async |orders: Vec<Value>| {
        run(PROGRAM, &["write", &brokers, &topic], &orders).await;
    };
    assert_handled(world, write).await;
}
