//! Every service of this build. To add one: its crate in Cargo.toml, a role in `args/serve.rs`, a line here.

use gateway::Part;
use tidewire::config::Config;
use tidewire::operate::Operator;
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
    /// Builds every service; nothing runs yet.
    pub async fn build(ports: &Ports, config: &Config) -> Result<Self, Failure> {
        let mut all = vec![
            outbox_publisher::service(ports, config),
            social::service(ports, config),
            documents::service(ports, config).map_err(|error| cannot("documents", error))?,
            enrichment::service(ports, config).map_err(|error| cannot("enrichment", error))?,
            notifications::service(ports, config),
            analytics::service(ports, config),
            saga_orchestrator::service(ports, config).map_err(|error| cannot("saga-orchestrator", error))?,
        ];
        let operator = Operator::new(ports, handlers_of(&all), consume_options(config));
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

fn cannot(service: &str, error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Error, "service.failed", format!("the {service} service cannot start: {error}"))
}
