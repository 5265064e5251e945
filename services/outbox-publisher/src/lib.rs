//! The role around the relay: publishes the log to the broker, and publishes again what the broker lost.

use tidewire::config::Config;
use tidewire::handler::Consumer;
use tidewire::relay::{Relay, RelayOptions};
use tidewire::{Ports, Service};

/// The relays of a configuration, one for each shard. What `readers` have yet to handle is published again when the
/// broker lost it, however old it is.
pub fn relays(config: &Config, readers: &[Consumer]) -> Vec<RelayOptions> {
    let shards = u8::try_from(config.relay.shards).unwrap_or(64).clamp(1, 64);
    let relay = |index| RelayOptions {
        shard: (index, shards),
        batch: config.relay.batch,
        lease_ttl: config.relay.lease_ttl,
        lease_renew: config.relay.lease_renew,
        retention: config.broker.retention_age,
        readers: readers.to_vec(),
    };
    (0..shards).map(relay).collect()
}

/// Every process with this role competes for all shards; each shard has one holder at a time.
pub fn service(ports: &Ports, relays: &[RelayOptions]) -> Service {
    relays.iter().fold(Service::new("outbox-publisher"), |service, options| {
        let relay = Relay::new(ports, options.clone());
        service.background("relay", |stop| relay.run(stop))
    })
}
