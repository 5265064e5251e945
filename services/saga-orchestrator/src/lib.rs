//! The sagas of this house, the queries that show them, and the operators' desk that repairs them. Document ingestion is the first.

mod docs;
mod ingestion;
mod readable;
mod routes;

pub use ingestion::{Ingestion, IngestionState};
pub use readable::read;

use std::time::Duration;

use tidewire::config::Config;
use tidewire::saga::{InvalidDefinition, Policy, Saga, SagaDesk, SagaQuery, SagaRunner};
use tidewire::telemetry::metrics;
use tidewire::{Ports, Service};
use tokio_util::sync::CancellationToken;

/// The emitter of this service's events.
pub const SOURCE: &str = "/saga-orchestrator";

/// How often sagas that have not ended are counted: as often as metrics are scraped at the most.
const GAUGES_EVERY: Duration = Duration::from_secs(15);

/// The wait before live sagas are looked at again, when the store was away.
const SURVEY_AGAIN: Duration = Duration::from_secs(5);

/// The service: the orchestrators, and `GET /v1/sagas`. Fails only if a saga's definition makes no sense.
pub fn service(ports: &Ports, config: &Config) -> Result<Service, InvalidDefinition> {
    let ingestion = SagaRunner::new(Ingestion::new(policy(config)))?;
    let query = SagaQuery::new(ports.store.clone());
    let desk = SagaDesk::new(ports, SOURCE).with(&ingestion);
    let routes = routes::router(query.clone(), desk);
    let (runner, on) = (ingestion.clone(), ports.clone());
    let service = Service::new("saga-orchestrator").handler(ingestion).routes(routes).documented(docs::docs());
    let service = service.background("saga-survey", move |stop| survey(runner, on, stop));
    Ok(service.background("saga-gauges", move |stop| gauges(query, stop)))
}

/// Looks once at every live saga: what this build does not know is stalled with a reason before anything reaches it.
async fn survey<G: Saga>(runner: SagaRunner<G>, ports: Ports, stop: CancellationToken) {
    while !stop.is_cancelled() {
        match runner.survey(&ports, SOURCE).await {
            Ok(found) => {
                tracing::info!(saga = G::NAME, ?found, "live sagas");
                return;
            }
            Err(error) => tracing::warn!(code = error.code(), %error, "cannot look at the live sagas; trying again"),
        }
        let _ = tokio::time::timeout(SURVEY_AGAIN, stop.cancelled()).await;
    }
}

/// Keeps the gauges of sagas that have not ended.
async fn gauges(query: SagaQuery, stop: CancellationToken) {
    while !stop.is_cancelled() {
        match query.open(Ingestion::NAME).await {
            Ok(counts) => {
                for (status, count) in counts {
                    metrics::sagas(Ingestion::NAME, status.as_str(), count);
                }
            }
            Err(error) => tracing::warn!(code = error.code(), %error, "cannot count sagas"),
        }
        let _ = tokio::time::timeout(GAUGES_EVERY, stop.cancelled()).await;
    }
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
