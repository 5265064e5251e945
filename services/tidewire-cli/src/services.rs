//! Every service of this build. To add one: its crate in Cargo.toml, a role in `args/serve.rs`, a line here.

use std::path::PathBuf;

use gateway::Part;
use tidewire::config::Config;
use tidewire::operate::{Folded, Operator};
use tidewire::run::{consume_options, handlers_of};
use tidewire::{Ports, Service};

use crate::args::Role;
use crate::exit::Exit;
use crate::failure::Failure;

/// The services on their ports, and the operators' view of them.
pub struct Services {
    /// All of them.
    pub all: Vec<Service>,
    /// Over the handlers of all of them.
    pub operator: Operator,
}

impl Services {
    /// Builds every service; nothing runs yet. What a service keeps on this machine is opened only for `roles`: other
    /// processes have it open.
    pub async fn build(ports: &Ports, config: &Config, roles: &[Role]) -> Result<Self, Failure> {
        let documents = match roles.contains(&Role::Documents) {
            true => documents::service_in(ports, config, &index_dir(ports, config).await?),
            false => documents::service_elsewhere(ports, config),
        };
        let mut all = vec![
            social::service(ports, config),
            documents.map_err(|error| cannot("documents", error))?,
            enrichment::service(ports, config).map_err(|error| cannot("enrichment", error))?,
            notifications::service(ports, config),
            analytics::service(ports, config),
            saga_orchestrator::service(ports, config).map_err(|error| cannot("saga-orchestrator", error))?,
        ];
        let handlers = handlers_of(&all);
        let readers: Vec<_> = handlers.iter().map(|(handler, _)| handler.consumer()).collect();
        let relays = outbox_publisher::relays(config, &readers);
        all.push(outbox_publisher::service(ports, &relays));
        // Who reads streams from their beginning: `log retire` leaves those events alone.
        let folded = vec![Folded::aggregate::<social::User>(), Folded::whole::<documents::view::Life>("documents")];
        let operator = Operator::new(ports, handlers, consume_options(config)).with_relays(relays).with_folded(folded);
        all.push(gateway::service(ports, operator.clone()));
        Ok(Self { all, operator })
    }

    /// What they add to the HTTP surface.
    pub fn parts(&self) -> Vec<Part> {
        self.all.iter().map(Part::from).collect()
    }

    /// Those of `roles`.
    pub fn only(self, roles: &[Role]) -> Vec<Service> {
        self.all.into_iter().filter(|service| roles.iter().any(|role| role.name() == service.name)).collect()
    }
}

/// Where the search index is. One log is in the data directory, like the index; of logs on servers there may be many.
async fn index_dir(ports: &Ports, config: &Config) -> Result<PathBuf, Failure> {
    if config.sqlite_dir().is_some() {
        return Ok(config.data_dir.join("index"));
    }
    let log: String = ports.store.info().await?.log_id.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
    Ok(config.data_dir.join(format!("index-{log}")))
}

fn cannot(service: &str, error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Error, "service.failed", format!("the {service} service cannot start: {error}"))
}
