//! A service outside Tidewire's workspace: its own table, its events in the same transaction, and a handler.
//!
//! It is configured by the variables of the Tidewire it works with: `TIDEWIRE_STORE_URL`, `TIDEWIRE_BROKER_URL` and others.

mod events;
mod members;
mod welcome;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::put;
use tidewire::config::{Config, Sources};
use tidewire::run::{RunOptions, start};
use tidewire::{Broker, Clock, Ports, Service, SystemClock};
use tidewire_broker::{JetStreamBroker, JetStreamOptions};
use tidewire_store::{PostgresOptions, PostgresStore};

use members::Members;
use welcome::Welcome;

/// The emitter of this service's events.
pub const SOURCE: &str = "/loyalty";

/// How long what has begun may take to end.
const DRAIN: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tidewire::install_tls();
    let config = Config::load(Sources::from_process(None, true, Vec::new()))?;
    let database = config.store.url.expose();

    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = Arc::new(PostgresStore::open(PostgresOptions::new(database), clock.clone()).await?);
    let broker: Arc<dyn Broker> = JetStreamBroker::open(jetstream(&config), clock.clone()).await?;
    let ports = Ports { store: store.clone(), broker, clock: clock.clone() };

    let members = Arc::new(Members { pool: sqlx::PgPool::connect(database).await?, store, clock });
    members.prepare().await?;
    let services = vec![Service::new("loyalty").handler(Welcome)];
    // Mail and webhooks are left to the processes of Tidewire itself.
    let options = RunOptions { callers: Vec::new(), ..RunOptions::from_config(&config)? };
    let running = start(&ports, services, options);

    let address: SocketAddr = std::env::var("LISTEN").as_deref().unwrap_or("127.0.0.1:8200").parse()?;
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    let routes = Router::new().route("/members/{name}", put(join)).with_state(members);
    axum::serve(listener, routes).with_graceful_shutdown(asked_to_end()).await?;
    running.shutdown(DRAIN).await;
    Ok(())
}

/// The stream as Tidewire has it: what differs is refused.
fn jetstream(config: &Config) -> JetStreamOptions {
    JetStreamOptions {
        url: config.broker.url.expose().to_owned(),
        domain: config.broker.domain.clone(),
        replicas: config.broker.replicas.max(1),
        max_bytes: config.nats.max_bytes,
        max_age: config.broker.retention_age,
        dedupe_window: config.nats.dedupe_window,
        ..JetStreamOptions::default()
    }
}

/// `PUT /members/{name}`: 201 for a new member, 200 for one who is.
async fn join(
    State(members): State<Arc<Members>>,
    Path(name): Path<String>,
) -> Result<StatusCode, (StatusCode, String)> {
    let joined = members.join(&name).await;
    let is_new = joined.map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    Ok(if is_new { StatusCode::CREATED } else { StatusCode::OK })
}

async fn asked_to_end() {
    // Where signals cannot be had, it ends as any process does.
    let _ = tokio::signal::ctrl_c().await;
}
