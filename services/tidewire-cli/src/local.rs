//! The routes of every service on files nobody has open, or on servers, for commands while nothing runs.

use std::sync::Arc;

use axum::Router;
use gateway::{Health, Options};
use tempfile::TempDir;
use tidewire::config::Config;
use tidewire::{Clock, Ports};
use tokio_util::sync::CancellationToken;

use crate::args::Role;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::services::Services;
use crate::wire;

/// The routes, and what is behind them.
pub struct Local {
    routes: Router,
    ports: Option<Ports>,
    _folder: Option<TempDir>,
}

/// On servers a look at them leaves nothing behind: where there is no data directory, services that make folders make
/// them in a temporary one.
fn without_a_trace(config: &Config) -> Result<(Config, Option<TempDir>), Failure> {
    let mut config = config.clone();
    if !wire::is_shared(&config) || config.data_dir.exists() {
        return Ok((config, None));
    }
    let folder = tempfile::tempdir().map_err(|error| {
        Failure::new(Exit::Unavailable, "store.unavailable", format!("no temporary folder: {error}"))
    })?;
    config.data_dir = folder.path().to_owned();
    Ok((config, Some(folder)))
}

impl Local {
    /// Opens the data directory. Nothing is consumed, relayed or made that is not there.
    pub async fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, Failure> {
        if config.sqlite_dir().is_some_and(|dir| !dir.exists()) {
            let dir = config.data_dir.display();
            let message = format!("no instance is running, and there is no data in {dir}");
            return Err(Failure::new(Exit::Unavailable, "client.nothing_here", message)
                .hint("start one with `tidewire up`, or name it with --url or --data-dir"));
        }
        let (config, folder) = without_a_trace(config)?;
        let ports = wire::open(&config, clock).await.map_err(|failure| match failure.code.as_str() {
            "store.locked" | "broker.locked" => silent(failure),
            _ => failure,
        })?;
        // On shared backends others may be at work, the one with the search index among them.
        let roles = if wire::is_shared(&config) { &[][..] } else { &Role::ALL[..] };
        let services = match Services::build(&ports, &config, roles).await {
            Ok(services) => services,
            Err(failure) => {
                close(ports).await;
                return Err(failure);
            }
        };
        let health = Health::new();
        health.started();
        // No limits of an edge: there is none.
        let options = Options { request_timeout: std::time::Duration::MAX, ..Options::of(&config.http, false) };
        let routes =
            gateway::router(&ports, services.parts(&[Role::Gateway]), &health, &options, CancellationToken::new());
        Ok(Self { routes, ports: Some(ports), _folder: folder })
    }

    /// Routes without any files.
    #[cfg(test)]
    pub fn on_routes(routes: Router) -> Self {
        Self { routes, ports: None, _folder: None }
    }

    /// The routes.
    pub fn routes(&self) -> Router {
        self.routes.clone()
    }

    /// Closes the files.
    pub async fn close(self) {
        if let Some(ports) = self.ports {
            close(ports).await;
        }
    }
}

/// Somebody has the files open and does not answer.
fn silent(failure: Failure) -> Failure {
    let message = format!("{}; it does not answer at the address it published", failure.message);
    Failure::new(Exit::Unavailable, failure.code, message)
        .hint("it may be starting, or stopping; or name its address with --url")
}

async fn close(ports: Ports) {
    ports.broker.close().await;
    ports.store.close().await;
}
