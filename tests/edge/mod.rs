//! The edge as strangers meet it: programs of others, slow clients, and everything that is no good.

mod hostile;
mod idle;
mod openapi;
mod slow;

use std::net::SocketAddr;

use crate::support::process::Instance;

/// Where an instance listens.
fn address(instance: &Instance) -> SocketAddr {
    instance.url.trim_start_matches("http://").parse().expect("an address")
}
