//! Two relays, of which the one that holds the lease is stopped for longer than the lease lasts.

use std::time::Duration;

use tempfile::TempDir;

use crate::fault::{needs, own_nats, shared_postgres};
use crate::support::eventually;
use crate::support::ground::{Ground, Member};
use crate::support::load::{Load, settle};
use crate::support::process::Instance;

const ROUNDS: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_slept_through_its_lease_is_fenced() {
    needs!("nats", "postgres");
    let (postgres, nats) = (shared_postgres().await, own_nats().await);
    let ground = Ground::on_jetstream(postgres.database().await, nats.url());
    let consumer = Member::consuming(&ground, "tally").await;
    let dir = TempDir::new().expect("a folder");
    let mut env = ground.env();
    env.extend([
        ("TIDEWIRE_RELAY__LEASE_TTL".into(), "1s".into()),
        ("TIDEWIRE_RELAY__LEASE_RENEW".into(), "200ms".into()),
    ]);
    let mut relays = Vec::new();
    for name in ["a", "b"] {
        let relay = Instance::run(&["outbox-publisher"], &dir.path().join(name), &env).await;
        relays.push(relay.unwrap_or_else(|log| panic!("{log}")));
    }
    let load = Load::start(&consumer.ports, 4, Duration::from_millis(8));
    let mut holder = eventually("one of them relays", || async { (0..2).find(|n| taken(&relays[*n]) > 0) }).await;
    for _ in 0..ROUNDS {
        load.accepts(100).await;
        let other = 1 - holder;
        let (taken_before, fenced_before) = (taken(&relays[other]), fenced(&relays[holder]));
        relays[holder].pause();
        eventually("the other one takes over", || async { (taken(&relays[other]) > taken_before).then_some(()) }).await;
        load.accepts(100).await;
        relays[holder].resume();
        eventually("the one that slept notices", || async { (fenced(&relays[holder]) > fenced_before).then_some(()) })
            .await;
        holder = other;
    }
    let ledger = load.end().await;
    settle(&consumer.ports, &ledger, "tally").await;
    for relay in &mut relays {
        assert!(relay.terminate().await.success(), "{}", relay.log());
    }
    consumer.end().await;
}

/// How often it has taken the lease.
fn taken(relay: &Instance) -> usize {
    relay.log().lines().filter(|line| line.contains("relaying") && !line.contains("stopped")).count()
}

/// How often it has noticed that the lease is another's.
fn fenced(relay: &Instance) -> usize {
    relay.log().lines().filter(|line| line.contains("commit.fenced")).count()
}
