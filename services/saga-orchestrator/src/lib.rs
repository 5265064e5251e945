//! The sagas of this house, and the queries that show them. Document ingestion is the first.

mod ingestion;
mod routes;

pub use ingestion::{Ingestion, IngestionState};

use tidewire::config::Config;
use tidewire::saga::{InvalidDefinition, Policy, SagaQuery, SagaRunner};
use tidewire::{Ports, Service};

/// The emitter of this service's events.
pub const SOURCE: &str = "/saga-orchestrator";

/// The service: the orchestrators, and `GET /v1/sagas`. Fails only if a saga's definition makes no sense.
pub fn service(ports: &Ports, config: &Config) -> Result<Service, InvalidDefinition> {
    let ingestion = SagaRunner::new(Ingestion::new(policy(config)))?;
    let routes = routes::router(SagaQuery::new(ports.store.clone()), ports.store.clone());
    Ok(Service::new("saga-orchestrator").handler(ingestion).routes(routes))
}

/// The patience of every step, as configured.
fn policy(config: &Config) -> Policy {
    let saga = &config.saga;
    Policy {
        deadline: saga.step_deadline,
        attempts: saga.step_attempts,
        undo_attempts: saga.undo_attempts,
        ..Policy::default()
    }
}
