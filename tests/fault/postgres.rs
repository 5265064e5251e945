//! The store's server dies, as when the power fails.

use std::time::Duration;

use tidewire::relay::RelayOptions;

use crate::fault::{needs, own_servers};
use crate::support::ground::Member;
use crate::support::load::{Load, settle};

const STOPS: u64 = 6;

#[tokio::test(flavor = "multi_thread")]
async fn immediate_stops_lose_nothing_that_was_accepted() {
    needs!("nats", "postgres");
    let (postgres, _nats, ground) = own_servers().await;
    let relay = Member::relaying(&ground, RelayOptions::default()).await;
    let consumer = Member::consuming(&ground, "tally").await;
    let load = Load::start(&relay.ports, 4, Duration::from_millis(8));
    for round in 0..STOPS {
        load.accepts(100).await;
        // An arbitrary moment under load, on purpose.
        tokio::time::sleep(Duration::from_millis(61 * round % 200)).await;
        match round % 3 {
            2 => postgres.kill().await,
            _ => postgres.stop_immediate().await,
        }
        postgres.start_again().await;
    }
    load.accepts(100).await;
    let ledger = load.end().await;
    settle(&relay.ports, &ledger, "tally").await;
    consumer.end().await;
    relay.end().await;
}
