//! A running instance: ports, services, loops and the HTTP surface, from start to drained end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway::{Health, Options};
use tidewire::config::{Config, HttpAuth};
use tidewire::operate::Operator;
use tidewire::run::{self, RunOptions, Running};
use tidewire::{Clock, Ports};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::args::Role;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::runfile::{Published, RunFile};
use crate::services::Services;
use crate::{watched, wire};

/// Of the time to stop, what the open requests get; the loops get the rest.
const SERVER_SHARE: u32 = 2;

/// The role that asks for effects, and so knows the mail server and has a way out: the others leave effects to it.
const EFFECTS: Role = Role::Notifications;

/// A running instance.
pub struct Instance {
    /// Where it answers.
    pub url: String,
    /// What operators see of it.
    pub operator: Operator,
    running: Running,
    server: JoinHandle<()>,
    stop_server: CancellationToken,
    health: Health,
    deadline: Duration,
    _published: Option<Published>,
}

impl Instance {
    /// Opens everything and starts `roles`. Once it answers, it is ready.
    pub async fn start(config: &Config, roles: &[Role], clock: Arc<dyn Clock>) -> Result<Self, Failure> {
        // Before any file is touched: a taken port is the most frequent failure.
        let (listener, address) = bind(config.listen).await?;
        // On shared backends as well: the file that says where it answers, the search index, objects.
        wire::make_private(&config.data_dir)?;
        let ports = wire::open(config, clock).await?;
        match Self::start_on(&ports, config, roles, listener, address).await {
            Ok(instance) => Ok(instance),
            Err(failure) => {
                ports.broker.close().await;
                ports.store.close().await;
                Err(failure)
            }
        }
    }

    async fn start_on(
        ports: &Ports,
        config: &Config,
        roles: &[Role],
        listener: TcpListener,
        address: SocketAddr,
    ) -> Result<Self, Failure> {
        let mut options = RunOptions::from_config(config)
            .map_err(|error| Failure::new(Exit::Invalid, "config.invalid_value", format!("smtp: {error}")))?;
        if !roles.contains(&EFFECTS) {
            options.callers.clear();
        }
        somebody_can_come_in(ports, config, roles).await?;
        let services = Services::build(ports, config, roles).await?;
        let operator = services.operator.clone();
        let url = url_of(address);
        let published = publish(config, &url, roles, ports.clock.as_ref())?;
        let (health, stop_server) = (Health::new(), CancellationToken::new());
        watched::watch(&health, &operator, config.data_dir.clone());
        let edge = Options {
            drain: config.shutdown.deadline / SERVER_SHARE,
            ..Options::of(&config.http, address.ip().is_loopback())
        };
        // Without gateway and console only probes and metrics answer.
        let parts = services.parts(roles);
        let router = gateway::router(ports, parts, &health, &edge, stop_server.clone());
        let running = run::start(ports, services.only(roles), options);
        let server = tokio::spawn(gateway::serve(listener, router, edge, stop_server.clone()));
        health.started();
        let deadline = config.shutdown.deadline;
        Ok(Self { url, operator, running, server, stop_server, health, deadline, _published: published })
    }

    /// Not ready any more; open requests end, then the loops, then the files are closed. Answers whether all of it
    /// was done within `shutdown.deadline`.
    pub async fn stop(self) -> bool {
        let begun = Instant::now();
        self.health.draining();
        self.stop_server.cancel();
        // `serve` cuts what does not end within its own share.
        let served = self.server.await.is_ok();
        let left = self.deadline.saturating_sub(begun.elapsed());
        self.running.shutdown(left).await && served
    }
}

/// A surface that needs credentials which nobody has would look like a broken one.
async fn somebody_can_come_in(ports: &Ports, config: &Config, roles: &[Role]) -> Result<(), Failure> {
    let needs_keys = roles.iter().any(|role| role.answers_operators())
        && config.http.auth == HttpAuth::Required
        && config.http.jwks_url.is_empty();
    if !needs_keys || gateway::auth::any_key(ports.store.as_ref(), ports.clock.now()).await? {
        return Ok(());
    }
    Err(Failure::new(Exit::Invalid, "auth.no_keys", "http.auth is `required`, and there is no API key that is good")
        .hint("tidewire keys create --name admin --scopes '*'"))
}

/// The address as a client writes it.
fn url_of(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        let host = if address.is_ipv6() { "[::1]" } else { "127.0.0.1" };
        return format!("http://{host}:{}", address.port());
    }
    format!("http://{address}")
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            Failure::new(Exit::Conflict, "listen.address_in_use", format!("another process listens on {address}"))
                .hint("choose another with --listen 127.0.0.1:0, which takes a free port and prints it")
        }
        _ => Failure::new(Exit::Error, "listen.failed", format!("cannot listen on {address}: {error}")),
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// `None` where another process on shared backends is the one to be found.
fn publish(config: &Config, url: &str, roles: &[Role], clock: &dyn Clock) -> Result<Option<Published>, Failure> {
    let file = RunFile {
        pid: std::process::id(),
        url: url.to_owned(),
        started: clock.now(),
        roles: roles.iter().map(|role| role.name().to_owned()).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let data_dir = &config.data_dir;
    let published = match wire::is_shared(config) {
        true => file.publish_beside(data_dir),
        false => file.publish(data_dir).map(Some),
    };
    published.map_err(|error| {
        Failure::new(Exit::Unavailable, "store.unavailable", format!("cannot write to {}: {error}", data_dir.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_address_is_written_as_one_that_can_be_asked() {
        for (address, url) in [
            ("127.0.0.1:4500", "http://127.0.0.1:4500"),
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("[::]:80", "http://[::1]:80"),
            ("[::1]:80", "http://[::1]:80"),
        ] {
            assert_eq!(url_of(address.parse().unwrap()), url);
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_told_before_anything_is_opened() {
        let (_held, address) = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let failure = bind(address).await.unwrap_err();
        assert_eq!((failure.exit, failure.code.as_str()), (Exit::Conflict, "listen.address_in_use"));
    }
}
