//! The role around the relay: publishes the log to the broker.

use tidewire::config::Config;
use tidewire::relay::{Relay, RelayOptions};
use tidewire::{Ports, Service};

/// A relay per shard. Every process with this role competes for all shards; each shard has one holder at a time.
pub fn service(ports: &Ports, config: &Config) -> Service {
    let shards = u8::try_from(config.relay.shards).unwrap_or(64).clamp(1, 64);
    (0..shards).fold(Service::new("outbox-publisher"), |service, index| {
        let options = RelayOptions {
            shard: (index, shards),
            batch: config.relay.batch,
            lease_ttl: config.relay.lease_ttl,
            lease_renew: config.relay.lease_renew,
        };
        let relay = Relay::new(ports, options);
        service.background("relay", |stop| relay.run(stop))
    })
}
