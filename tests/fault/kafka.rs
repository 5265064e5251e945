//! Apache Kafka dies again and again, and once with all that it held.

use std::time::Duration;

use servers::{Kafka, KafkaOptions};
use tidewire::relay::RelayOptions;

use crate::fault::{needs, shared_postgres};
use crate::support::ground::{Ground, Member};
use crate::support::load::{Load, settle};

const KILLS: u64 = 3;

/// How long between two events of a writer.
const PACE: Duration = Duration::from_millis(8);

#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_that_is_killed_and_wiped_loses_nothing() {
    needs!("kafka", "postgres");
    let postgres = shared_postgres().await;
    let kafka = Kafka::start(KafkaOptions::default()).await.unwrap_or_else(|missing| panic!("{missing}"));
    let ground = Ground::on_kafka(postgres.database().await, kafka.brokers(), "main");
    let relay = Member::relaying(&ground, RelayOptions::default()).await;
    let consumer = Member::consuming(&ground, "tally").await;
    let load = Load::start(&relay.ports, 4, PACE);
    for round in 0..KILLS {
        load.accepts(100).await;
        // An arbitrary moment under load, on purpose.
        tokio::time::sleep(Duration::from_millis(97 * round % 400)).await;
        kafka.kill().await;
        kafka.start_again().await;
    }
    // What comes from now on is acknowledged by the broker and handled by nobody, until the broker has lost it.
    load.accepts(100).await;
    consumer.end().await;
    load.accepts(200).await;
    kafka.wipe().await;
    load.accepts(100).await;
    let consumer = Member::consuming(&ground, "tally").await;
    let ledger = load.end().await;
    settle(&relay.ports, &ledger, "tally").await;
    consumer.end().await;
    relay.end().await;
}
