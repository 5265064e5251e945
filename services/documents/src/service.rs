//! The documents service.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidewire::config::Config;
use tidewire::objects::{Objects, ObjectsError};
use tidewire::saga::Participant;
use tidewire::{Ports, Service};

use crate::extract::{ExtractorChild, ExtractorOptions};
use crate::index::IndexError;
use crate::listing::Listing;
use crate::live::{self, Live};
use crate::parts::{Extraction, Indexing, Storage};
use crate::rebuild::{self, Rebuild, Search};
use crate::routes::{Desk, docs, routes};
use crate::submit::sweep;
use crate::tidy::Tidy;

/// On top of a child's own deadline: reading the original, writing the text.
const EXTRACTION_MARGIN: Duration = Duration::from_secs(30);
/// Storing and indexing wait for disks, not for people.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum DocumentsError {
    /// The object store.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The program to run extraction children with.
    #[error("the running program cannot be found again: {0}")]
    Program(std::io::Error),
}

/// The service: three participants of ingestion, the listing, and the routes. An index that is damaged, outdated or
/// gone does not keep it from starting: it begins an empty one, which is filled in the background. Text is extracted in children of
/// the running program, started with the argument `extract-child`.
pub fn service(ports: &Ports, config: &Config) -> Result<Service, DocumentsError> {
    service_in(ports, config, &config.data_dir.join("index"))
}

/// The same with its index in this folder: an index is of one log.
pub fn service_in(ports: &Ports, config: &Config, index: &Path) -> Result<Service, DocumentsError> {
    let objects = Objects::from_config(config)?;
    let opened = Arc::new(rebuild::open(&live::folder(index), ports.clock.as_ref())?);
    let rebuild = Rebuild::new(ports.clone(), objects.clone(), opened.clone());
    let live = Live::new(index, opened);
    let search = Arc::new(Search { ports: ports.clone(), objects: objects.clone(), live: live.clone() });
    let service = assembled(ports, config, objects, Some(live))?.elsewhere(search);
    Ok(service.background("documents.rebuild", move |stop| async move { rebuild.run(&stop).await }))
}

/// The same service in a process that does not run it: everything but the index, which belongs to the process that
/// does. What needs the index answers `index.elsewhere`.
pub fn service_elsewhere(ports: &Ports, config: &Config) -> Result<Service, DocumentsError> {
    assembled(ports, config, Objects::from_config(config)?, None)
}

fn assembled(ports: &Ports, config: &Config, objects: Objects, index: Option<Live>) -> Result<Service, DocumentsError> {
    let program = std::env::current_exe().map_err(DocumentsError::Program)?;
    let options = ExtractorOptions {
        deadline: config.documents.extract_timeout,
        memory_bytes: config.documents.extract_memory,
        concurrency: config.documents.extract_concurrency,
    };
    let extractor = ExtractorChild::new(program, ["extract-child"], options);
    let document_limit = usize::try_from(config.http.document_limit).unwrap_or(usize::MAX);
    let desk = Desk { ports: ports.clone(), objects: objects.clone(), index: index.clone(), document_limit };
    let (sweep_ports, sweep_objects) = (ports.clone(), objects.clone());
    Ok(Service::new("documents")
        .handler(
            Participant::new("documents.extraction")
                .concurrency(config.documents.extract_concurrency)
                .timeout(config.documents.extract_timeout + EXTRACTION_MARGIN)
                .max_attempts(3)
                .reversible(Extraction { objects: objects.clone(), extractor }),
        )
        .handler(
            Participant::new("documents.storage")
                .timeout(STEP_TIMEOUT)
                .reversible(Storage { objects: objects.clone() }),
        )
        .handler(
            Participant::new("documents.indexing")
                .timeout(STEP_TIMEOUT)
                .reversible(Indexing { objects: objects.clone(), index }),
        )
        .handler(Tidy { objects })
        .projection(Listing)
        .routes(routes(desk))
        .documented(docs())
        .background("documents.sweep", move |stop| sweep(sweep_ports, sweep_objects, stop)))
}
