//! The broker's server dies: alone, again and again; the one of a cluster that leads; and with all that it held.

use std::time::Duration;

use servers::{Nats, NatsCluster};
use tidewire::relay::RelayOptions;

use crate::fault::{needs, own_nats, shared_postgres};
use crate::support::ground::{Ground, Member};
use crate::support::load::{Load, settle};
use crate::support::within;

const KILLS: u64 = 20;

/// How long between two events of a writer.
const PACE: Duration = Duration::from_millis(8);

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_twenty_times_loses_nothing() {
    needs!("nats", "postgres");
    let (postgres, nats) = (shared_postgres().await, own_nats().await);
    let ground = Ground::on_jetstream(postgres.database().await, nats.url());
    let relay = Member::relaying(&ground, RelayOptions::default()).await;
    let consumer = Member::consuming(&ground, "tally").await;
    let load = Load::start(&relay.ports, 4, PACE);
    for round in 0..KILLS {
        // Not a condition to wait for: the moment of the kill is meant to be arbitrary.
        tokio::time::sleep(Duration::from_millis(150 + 97 * round % 400)).await;
        nats.kill().await;
        nats.start_again().await;
    }
    let ledger = load.end().await;
    assert!(ledger.total() > 20 * KILLS, "the store took events all the time: {}", ledger.total());
    settle(&relay.ports, &ledger, "tally").await;
    consumer.end().await;
    relay.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_of_a_cluster_is_killed() {
    needs!("nats", "postgres");
    let postgres = shared_postgres().await;
    let cluster = NatsCluster::start(3).await.unwrap_or_else(|missing| panic!("{missing}"));
    let ground = Ground::on_cluster(postgres.database().await, &cluster.url());
    let relay = Member::relaying(&ground, RelayOptions::default()).await;
    let consumer = Member::consuming(&ground, "tally").await;
    let load = Load::start(&relay.ports, 4, PACE);
    for _ in 0..2 {
        load.accepts(200).await;
        let leader = leader(&cluster).await;
        leader.kill().await;
        // The two that are left elect another, and go on.
        load.accepts(200).await;
        let survivor = cluster.nodes().iter().find(|node| !node.has_ended()).expect("two are left");
        within(Duration::from_secs(60), "another leads", || async {
            leader_by(survivor).await.filter(|name| name != leader.name())
        })
        .await;
        leader.start_again().await;
    }
    let ledger = load.end().await;
    settle(&relay.ports, &ledger, "tally").await;
    consumer.end().await;
    relay.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_store_gets_everything_again_and_nothing_is_handled_twice() {
    needs!("nats", "postgres");
    let (postgres, nats) = (shared_postgres().await, own_nats().await);
    let ground = Ground::on_jetstream(postgres.database().await, nats.url());
    let relay = Member::relaying(&ground, RelayOptions::default()).await;
    let consumer = Member::consuming(&ground, "tally").await;
    let load = Load::start(&relay.ports, 4, PACE);
    load.accepts(300).await;
    // What comes from now on is acknowledged by the broker and handled by nobody, until the broker has lost it.
    consumer.end().await;
    load.accepts(300).await;
    nats.wipe().await;
    load.accepts(100).await;
    let consumer = Member::consuming(&ground, "tally").await;
    let ledger = load.end().await;
    settle(&relay.ports, &ledger, "tally").await;
    consumer.end().await;
    relay.end().await;
}

/// The node that leads the stream.
async fn leader(cluster: &NatsCluster) -> &Nats {
    let node = &cluster.nodes()[0];
    let name = within(Duration::from_secs(60), "the stream has a leader", || leader_by(node)).await;
    cluster.node(&name)
}

/// Who leads the stream, by what a node says.
async fn leader_by(node: &Nats) -> Option<String> {
    let answer = reqwest::get(format!("{}/jsz?streams=true", node.monitor())).await.ok()?;
    let found: serde_json::Value = answer.json().await.ok()?;
    let streams = found["account_details"].get(0)?["stream_detail"].as_array()?;
    let stream = streams.iter().find(|stream| stream["name"].as_str().is_some_and(|name| name.starts_with("TW_")))?;
    stream["cluster"]["leader"].as_str().map(str::to_owned)
}
