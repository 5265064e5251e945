//! Every service of this build. To add one: its crate in Cargo.toml, a role in `args/serve.rs`, a line here.

use std::path::PathBuf;
use std::sync::Arc;

use gateway::{Contracts, Part};
use tidewire::config::Config;
use tidewire::operate::{Folded, Operator};
use tidewire::push::{Keeper, PushOptions, Register};
use tidewire::run::{consume_options, elsewhere_of, handlers_of};
use tidewire::{Ports, Service};

use crate::args::Role;
use crate::contracts;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::wire::OtherDomains;

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
        let contracts = Arc::new(Contracts::new(contracts::foreign(config)?));
        let admission = gateway::events::admission(ports, contracts.clone());
        let register = Register::new(ports, PushOptions::from_config(config), admission);
        let keeper = Keeper::new(register.clone());
        let mut all = vec![
            social::service(ports, config),
            documents.map_err(|error| cannot("documents", error))?,
            enrichment::service(ports, config).map_err(|error| cannot("enrichment", error))?,
            // The role that has a way out calls the endpoints of push subscriptions.
            notifications::service(ports, config).keeper("subscriptions", |roster, stop| keeper.run(roster, stop)),
            analytics::service(ports, config),
            saga_orchestrator::service(ports, config).map_err(|error| cannot("saga-orchestrator", error))?,
        ];
        let handlers = handlers_of(&all);
        let readers: Vec<_> = handlers.iter().map(|(handler, _)| handler.consumer()).collect();
        let relays = outbox_publisher::relays(config, &readers);
        all.push(outbox_publisher::service(ports, &relays));
        // Who reads streams from their beginning: `log retire` leaves those events alone.
        let folded = vec![Folded::aggregate::<social::User>(), Folded::whole::<documents::view::Life>("documents")];
        let operator = Operator::new(ports, handlers, consume_options(config))
            .with_relays(relays)
            .with_folded(folded)
            .with_directory(Arc::new(register.clone()))
            .with_elsewhere(elsewhere_of(&all))
            .with_domains(Arc::new(OtherDomains::new(config, ports.clock.clone())));
        all.push(gateway::service_over(ports, operator.clone(), contracts, register));
        all.push(console::service());
        Ok(Self { all, operator })
    }

    /// What they add to the HTTP surface of a process with these roles: with the gateway everything, with the console
    /// alone what its pages ask, else nothing.
    pub fn parts(&self, roles: &[Role]) -> Vec<Part> {
        let is_served = |service: &&Service| match service.name {
            "console" => roles.contains(&Role::Console),
            "gateway" | "saga-orchestrator" => roles.iter().any(|role| role.answers_operators()),
            _ => roles.contains(&Role::Gateway),
        };
        self.all.iter().filter(is_served).map(Part::from).collect()
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
