//! The enrichment service.

use std::time::Duration;

use tidewire::config::Config;
use tidewire::objects::{Objects, ObjectsError};
use tidewire::saga::Participant;
use tidewire::{Ports, Service};

use crate::part::Enrichment;

/// The longest text there is takes a few seconds.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Analyses at once: each keeps a core busy.
const CONCURRENCY: usize = 2;

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EnrichmentError {
    /// The object store.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
}

/// The service: the participant for the last step of ingestion.
pub fn service(_: &Ports, config: &Config) -> Result<Service, EnrichmentError> {
    let objects = Objects::from_config(config)?;
    let participant = Participant::new("enrichment.documents").timeout(TIMEOUT).concurrency(CONCURRENCY);
    Ok(Service::new("enrichment").handler(participant.reversible(Enrichment { objects })))
}
