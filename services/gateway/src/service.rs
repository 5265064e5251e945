//! The gateway as a service.

use std::sync::Arc;
use std::time::Duration;

use tidewire::http::expire;
use tidewire::operate::Operator;
use tidewire::push::{PushOptions, Register};
use tidewire::{Ports, Service};
use tokio_util::sync::CancellationToken;

use crate::contracts::Contracts;
use crate::{audit, auth, collections, docs, effects, events, operate, parked, replay, schemas, subscriptions};

/// How often old answers are cleared away: far more often than they come of age, so that each time is short.
const UPKEEP: Duration = Duration::from_secs(600);

/// The gateway's own routes (events, operations, schemas) and its upkeep, with the event types of this build alone. It
/// handles no events itself.
pub fn service(ports: &Ports, operator: Operator) -> Service {
    service_with(ports, operator, Arc::new(Contracts::default()))
}

/// As [`service`], with the event types of `contracts`.
pub fn service_with(ports: &Ports, operator: Operator, contracts: Arc<Contracts>) -> Service {
    let admission = events::admission(ports, contracts.clone());
    let register = Register::new(ports, PushOptions::default(), admission);
    service_over(ports, operator, contracts, register)
}

/// As [`service_with`], with the push subscriptions of `register`.
pub fn service_over(ports: &Ports, operator: Operator, contracts: Arc<Contracts>, register: Register) -> Service {
    let upkeep = ports.clone();
    let domains = operator.replays().without_handlers();
    Service::new("gateway")
        .routes(events::routes(ports, contracts.clone()))
        .routes(events::why_routes(operator.clone()))
        .routes(operate::routes(operator.clone()))
        .routes(parked::routes(operator.clone(), contracts.clone()))
        .routes(effects::routes(operator.clone()))
        .routes(replay::routes(operator.replays()))
        .routes(collections::routes(ports, operator.replays()))
        .routes(audit::routes(operator))
        .routes(schemas::routes(contracts))
        .routes(auth::routes(ports))
        .routes(subscriptions::routes(register))
        .documented(events::docs())
        .documented(docs::operations())
        .documented(parked::docs())
        .documented(effects::docs())
        .documented(replay::docs())
        .documented(collections::docs())
        .documented(docs::upkeep())
        .documented(docs::schemas())
        .documented(auth::docs())
        .documented(subscriptions::docs())
        .background("gateway.replay", |stop| domains.run(stop))
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
