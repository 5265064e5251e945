//! The network between us and the servers: cut in the middle of a word, black holes, answers that never arrive.

use std::time::Duration;

use servers::{Close, Direction, Proxy};
use tidewire::relay::RelayOptions;

use crate::fault::{needs, own_nats, shared_postgres};
use crate::support::eventually;
use crate::support::ground::{Ground, Member};
use crate::support::load::{Load, settle};

/// Longer than a member may be silent, and than an answer is waited for, all tries together.
const DARK: Duration = Duration::from_secs(7);

const PACE: Duration = Duration::from_millis(8);

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_network_to_the_broker_loses_and_doubles_nothing() {
    needs!("nats", "postgres");
    let (postgres, nats) = (shared_postgres().await, own_nats().await);
    let publishing = Proxy::start(nats.addr()).await.expect("a proxy");
    let consuming = Proxy::start(nats.addr()).await.expect("a proxy");
    let database = postgres.database().await;
    let ground = |proxy: &Proxy| Ground::on_jetstream(database.clone(), &format!("nats://{}", proxy.addr()));
    let relay = Member::relaying(&ground(&publishing), RelayOptions::default()).await;
    let consumer = Member::consuming(&ground(&consuming), "tally").await;
    let load = Load::start(&relay.ports, 4, PACE);
    // In the middle of a publish, and of an answer; of a delivery, and of an acknowledgement.
    for bytes in [200, 1_500, 7_000] {
        for proxy in [&publishing, &consuming] {
            for direction in [Direction::Up, Direction::Down] {
                cut(proxy, |proxy| proxy.cut_after(bytes, direction)).await;
            }
            cut(proxy, |proxy| proxy.cut(Close::Finish)).await;
        }
    }
    // Events arrive and their answers do not; nothing arrives; and everything is slow.
    publishing.blackhole(Direction::Down);
    consuming.blackhole(Direction::Up);
    tokio::time::sleep(DARK).await;
    publishing.heal();
    consuming.heal();
    load.accepts(30).await;
    publishing.blackhole(Direction::Both);
    consuming.stall(Direction::Both);
    tokio::time::sleep(DARK).await;
    publishing.heal();
    consuming.heal();
    consuming.delay(Duration::from_millis(30), Duration::from_millis(20));
    publishing.delay(Duration::from_millis(30), Duration::from_millis(20));
    load.accepts(100).await;
    let ledger = load.end().await;
    settle(&relay.ports, &ledger, "tally").await;
    consumer.end().await;
    relay.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_network_to_the_store_loses_and_doubles_nothing() {
    needs!("nats", "postgres");
    let (postgres, nats) = (shared_postgres().await, own_nats().await);
    let proxy = Proxy::start(postgres.addr()).await.expect("a proxy");
    let database = postgres.database().await;
    let straight = Ground::on_jetstream(database.clone(), nats.url());
    let ground = Ground::on_jetstream(postgres.url_through(&database, proxy.addr()), nats.url());
    let auditor = straight.open().await;
    let relay = Member::relaying(&ground, RelayOptions::default()).await;
    let consumer = Member::consuming(&ground, "tally").await;
    let load = Load::start(&relay.ports, 4, PACE);
    // In the middle of commits, and of their answers: whether they came through is to be found out.
    for bytes in [900, 9_000, 40_000] {
        for direction in [Direction::Up, Direction::Down] {
            cut(&proxy, |proxy| proxy.cut_after(bytes, direction)).await;
        }
        cut(&proxy, |proxy| proxy.cut(Close::Reset)).await;
    }
    proxy.blackhole(Direction::Down);
    tokio::time::sleep(Duration::from_secs(4)).await;
    proxy.heal();
    load.accepts(100).await;
    let ledger = load.end().await;
    settle(&auditor, &ledger, "tally").await;
    consumer.end().await;
    relay.end().await;
    auditor.broker.close().await;
    auditor.store.close().await;
}

/// Cuts, and waits until somebody has connected again: so the cut was one.
async fn cut(proxy: &Proxy, how: impl FnOnce(&Proxy)) {
    let before = proxy.connections();
    how(proxy);
    eventually("somebody connects again", || async { (proxy.connections() > before).then_some(()) }).await;
}
