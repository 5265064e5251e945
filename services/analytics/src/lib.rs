//! What people do, and how much of everything happens.

mod docs;
mod history;
mod hourly;
mod routes;
#[cfg(test)]
mod tests;
mod track;

use std::sync::Arc;

use tidewire::config::Config;
use tidewire::{Ports, Service};

pub use history::{Entry, History};
pub use hourly::{HOURLY, Hourly, MAX_HOURS};
pub use track::MAX_TRACKED;

/// The emitter of this service's events.
pub const SOURCE: &str = "/analytics";

/// The service: tracking over HTTP, and the two read models with their queries.
pub fn service(ports: &Ports, config: &Config) -> Service {
    let _ = config;
    Service::new("analytics")
        .projection(History)
        .handler(Hourly)
        .routes(routes::router(Arc::new(routes::Analytics { ports: ports.clone() })))
        .documented(docs::docs())
}
