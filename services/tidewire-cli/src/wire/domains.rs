//! The broker under other domains, for replays that nobody here consumes.

use std::sync::Arc;

use tidewire::config::Config;
use tidewire::replay::Domains;
use tidewire::{Broker, BrokerError, Clock, async_trait};

use super::broker::Choice;

/// Opens the broker that a configuration names under `<domain>-<name>`; an embedded one in a folder beside its own.
pub struct OtherDomains {
    config: Config,
    clock: Arc<dyn Clock>,
}

impl OtherDomains {
    /// By this configuration.
    pub fn new(config: &Config, clock: Arc<dyn Clock>) -> Self {
        Self { config: config.clone(), clock }
    }
}

#[async_trait]
impl Domains for OtherDomains {
    async fn open(&self, name: &str) -> Result<Arc<dyn Broker>, BrokerError> {
        let mut config = self.config.clone();
        config.broker.domain = format!("{}-{name}", config.broker.domain);
        let choice = match config.embedded_broker_dir() {
            Some(dir) => {
                let own = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
                Choice::Embedded(dir.with_file_name(format!("{own}-{name}")))
            }
            None => Choice::of(&config).map_err(|failure| BrokerError::Invalid(failure.message))?,
        };
        choice.open(&config, self.clock.clone()).await.map_err(|failure| match failure.exit {
            crate::exit::Exit::Unavailable => BrokerError::Unavailable(failure.message),
            _ => BrokerError::Misconfigured(failure.message),
        })
    }
}
