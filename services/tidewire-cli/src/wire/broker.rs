//! The broker that a configuration names.

use std::path::PathBuf;
use std::sync::Arc;

use tidewire::config::Config;
use tidewire::{Broker, Clock};
use tidewire_broker::{EmbeddedBroker, EmbeddedOptions};

use super::unsupported;
use crate::failure::Failure;

/// The broker that a configuration names.
pub enum Choice {
    /// In this folder.
    Embedded(PathBuf),
}

impl Choice {
    /// By the scheme of `broker.url`.
    pub fn of(config: &Config) -> Result<Self, Failure> {
        let url = &config.broker.url;
        match (config.embedded_broker_dir(), url.scheme()) {
            (Some(dir), _) => Ok(Self::Embedded(dir)),
            (None, "kafka") => {
                let cure = "build it with `--features kafka`, which compiles librdkafka; broker.url = \"embedded:\" needs \
                            no server";
                Err(unsupported("broker.url", url, "Apache Kafka", cure))
            }
            (None, other) => Err(unsupported("broker.url", url, other, "broker.url = \"embedded:\" needs no server")),
        }
    }

    /// Opens it.
    pub async fn open(self, config: &Config, clock: Arc<dyn Clock>) -> Result<Arc<dyn Broker>, Failure> {
        let Self::Embedded(dir) = self;
        let broker = &config.broker;
        let options = EmbeddedOptions {
            dir,
            max_bytes: broker.retention_bytes,
            max_age: broker.retention_age,
            max_event_bytes: usize::try_from(broker.max_event_bytes).unwrap_or(usize::MAX),
            dedupe_window: broker.dedupe_window,
            ..EmbeddedOptions::default()
        };
        Ok(EmbeddedBroker::open(options, clock).await?)
    }
}
