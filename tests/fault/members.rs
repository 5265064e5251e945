//! The members of a group come and go all the time.

use std::time::{Duration, Instant};

use tidewire::relay::RelayOptions;

use crate::fault::{needs, own_nats, shared_postgres};
use crate::support::ground::{Ground, Member};
use crate::support::load::{Load, settle};

/// How often one leaves and another comes.
const CHANGE: Duration = Duration::from_secs(2);

/// How long.
const FOR: Duration = Duration::from_secs(16);

#[tokio::test(flavor = "multi_thread")]
async fn members_of_a_group_on_jetstream_come_and_go() {
    needs!("nats", "postgres");
    let (postgres, nats) = (shared_postgres().await, own_nats().await);
    come_and_go(&Ground::on_jetstream(postgres.database().await, nats.url())).await;
}

#[cfg(feature = "kafka")]
#[tokio::test(flavor = "multi_thread")]
async fn members_of_a_group_on_kafka_come_and_go() {
    needs!("kafka", "postgres");
    let postgres = shared_postgres().await;
    let kafka = servers::kafka().await.unwrap_or_else(|missing| panic!("{missing}"));
    come_and_go(&Ground::on_kafka(postgres.database().await, kafka.brokers(), "members")).await;
}

async fn come_and_go(ground: &Ground) {
    let relay = Member::relaying(ground, RelayOptions::default()).await;
    let load = Load::start(&relay.ports, 4, Duration::from_millis(8));
    let mut members = vec![Member::consuming(ground, "tally").await, Member::consuming(ground, "tally").await];
    let end = Instant::now() + FOR;
    while Instant::now() < end {
        // The very thing to be tested: a change every so often, whatever state the last one has left.
        tokio::time::sleep(CHANGE).await;
        let (left, joined) = tokio::join!(members.remove(0).end(), Member::consuming(ground, "tally"));
        let () = left;
        members.push(joined);
    }
    let ledger = load.end().await;
    settle(&relay.ports, &ledger, "tally").await;
    for member in members {
        member.end().await;
    }
    relay.end().await;
}
