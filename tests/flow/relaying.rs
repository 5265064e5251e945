//! The relay: everything, in order per key, and one holder at a time.

use std::collections::HashSet;
use std::time::Duration;

use tidewire::relay::{Relay, RelayOptions};
use tidewire::{Mark, Service};
use tokio_util::sync::CancellationToken;

use crate::flow::on_every_ground;
use crate::support::auditor::audit_ports;
use crate::support::event::counted;
use crate::support::eventually;
use crate::support::handlers::{Tally, tallied};
use crate::support::world::World;

on_every_ground! {
    relays_take_over_from_each_other_and_lose_nothing,
    shards_share_the_keys_and_may_be_cut_anew,
}

async fn relays_take_over_from_each_other_and_lose_nothing(world: World) {
    let life = world.run(vec![Service::new("tests").handler(Tally::new("tally"))]);
    // Beside the relay of the world, others that come and go.
    let options = RelayOptions { lease_ttl: Duration::from_millis(300), batch: 7, ..RelayOptions::default() };
    let relays: Vec<(CancellationToken, tokio::task::JoinHandle<()>)> = (0..3)
        .map(|_| {
            let stop = CancellationToken::new();
            (stop.clone(), tokio::spawn(Relay::new(&world.ports, options.clone()).run(stop)))
        })
        .collect();
    for n in 1..=100 {
        world.append((0..10).map(|key| counted(&world.ports, &key.to_string(), n)).collect()).await;
        if n % 30 == 0 {
            relays[(n / 30) as usize - 1].0.cancel();
        }
    }
    life.settled().await;
    for key in 0..10 {
        assert_eq!(tallied(&world.ports, "tally", &key.to_string()).await, (1..=100).collect::<Vec<u64>>());
    }
    for (stop, relay) in relays {
        stop.cancel();
        relay.await.unwrap();
    }
    life.end().await;
}

async fn shards_share_the_keys_and_may_be_cut_anew(world: World) {
    let fill = async |from: u64| {
        for n in from..from + 20 {
            world.append((0..50).map(|key| counted(&world.ports, &key.to_string(), n)).collect()).await;
        }
    };
    fill(1).await;
    for (from, shards) in [(21, 4u8), (41, 3)] {
        let stop = CancellationToken::new();
        let relays: Vec<_> = (0..shards)
            .map(|index| {
                let options = RelayOptions { shard: (index, shards), ..RelayOptions::default() };
                tokio::spawn(Relay::new(&world.ports, options).run(stop.clone()))
            })
            .collect();
        fill(from).await;
        let head = world.ports.store.head().await.unwrap().0;
        eventually("all of the log is on the broker", || async { (held(&world).await? == head).then_some(()) }).await;
        stop.cancel();
        futures::future::join_all(relays).await;
    }
    // Also that each key lies there in order.
    assert_eq!(audit_ports(&world.ports, &[]).await, 60 * 50);
}

/// How many different events the broker holds.
async fn held(world: &World) -> Option<u64> {
    let (mut held, mut cursor) = (HashSet::new(), None);
    loop {
        let (page, next) = world.ports.broker.scan(cursor, 1_000).await.ok()?;
        if page.is_empty() {
            return Some(held.len() as u64);
        }
        held.extend(page.iter().map(Mark::of));
        cursor = next;
    }
}
