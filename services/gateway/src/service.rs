//! The gateway as a service.

use std::time::Duration;

use tidewire::http::expire;
use tidewire::operate::Operator;
use tidewire::{Ports, Service};
use tokio_util::sync::CancellationToken;

use crate::{audit, auth, events, operate, schemas};

/// How often old answers are cleared away: far more often than they come of age, so that each time is short.
const UPKEEP: Duration = Duration::from_secs(600);

/// The gateway's own routes (events, operations, schemas) and its upkeep. It handles no events itself.
pub fn service(ports: &Ports, operator: Operator) -> Service {
    let upkeep = ports.clone();
    Service::new("gateway")
        .routes(events::routes(ports))
        .routes(operate::routes(operator.clone()))
        .routes(audit::routes(operator))
        .routes(schemas::routes())
        .routes(auth::routes(ports))
        .background("gateway.upkeep", |stop| keep_up(upkeep, stop))
}

/// Removes the answers to old idempotency keys.
async fn keep_up(ports: Ports, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(UPKEEP)).await.is_some() {
        match expire(ports.store.as_ref(), ports.clock.as_ref()).await {
            Ok(0) => {}
            Ok(removed) => tracing::debug!(removed, "answers to old idempotency keys removed"),
            Err(error) => tracing::warn!(%error, "answers to old idempotency keys stay until the next round"),
        }
    }
}
