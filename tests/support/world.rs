//! A store and a broker, in a temporary folder or on servers, with services running on them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tidewire::consume::ConsumeOptions;
use tidewire::effects::{Caller, EffectOptions};
use tidewire::operate::Operator;
use tidewire::relay::{Relay, RelayOptions};
use tidewire::replay::Generations;
use tidewire::run::{RunOptions, Running, handlers_of, start};
use tidewire::{Append, Backoff, Commit, Envelope, Expect, Ports, Service, SystemClock};
use tidewire_broker::embedded::{EmbeddedBroker, EmbeddedOptions};
use tidewire_store::{SqliteOptions, SqliteStore};

use super::eventually;
use super::ground::Ground;

/// A store and a broker of a test's own, open.
pub struct World {
    pub ports: Ports,
    pub place: Place,
}

/// Where a world is.
pub enum Place {
    /// The embedded backends in a folder.
    Folder(TempDir),
    /// PostgreSQL and a broker's server.
    Servers(Box<Ground>),
}

/// Services running in a world.
pub struct Life {
    pub running: Running,
    pub operator: Operator,
}

impl World {
    /// A fresh one on the embedded backends.
    pub async fn embedded() -> Self {
        Self::at(Place::Folder(TempDir::new().expect("a temporary folder"))).await
    }

    /// A fresh one on PostgreSQL and JetStream; `None` where they are left out.
    pub async fn jetstream() -> Option<Self> {
        Some(Self::at(Place::Servers(Box::new(Ground::on_shared_jetstream().await?))).await)
    }

    /// A fresh one on PostgreSQL and Kafka; `None` where they are left out.
    #[cfg(feature = "kafka")]
    pub async fn kafka() -> Option<Self> {
        Some(Self::at(Place::Servers(Box::new(Ground::on_shared_kafka().await?))).await)
    }

    async fn at(place: Place) -> Self {
        let ports = match &place {
            Place::Folder(dir) => open(dir.path()).await,
            Place::Servers(ground) => ground.open().await,
        };
        Self { ports, place }
    }

    /// The same one opened again, as by the next process. The last life in it has ended.
    pub async fn again(self) -> Self {
        drop(self.ports);
        Self::at(self.place).await
    }

    /// Runs services, and the relay, with quick retries.
    pub fn run(&self, services: Vec<Service>) -> Life {
        self.run_with(services, quick(), Vec::new())
    }

    /// Runs services with these options and callers.
    pub fn run_with(&self, mut services: Vec<Service>, consume: ConsumeOptions, callers: Vec<Arc<dyn Caller>>) -> Life {
        let operator = Operator::new(&self.ports, handlers_of(&services), consume.clone());
        let relay = Relay::new(&self.ports, RelayOptions::default());
        services.push(Service::new("relay").background("relay", |stop| relay.run(stop)));
        let backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(200));
        let effects = EffectOptions { max_attempts: 5, backoff, ..EffectOptions::default() };
        Life { running: start(&self.ports, services, RunOptions { consume, effects, callers }), operator }
    }

    /// Appends events, each key in the order given.
    pub async fn append(&self, events: Vec<Envelope>) {
        let mut commit = Commit::default();
        for event in events {
            match commit.append.iter_mut().find(|append| append.key == event.key) {
                Some(append) => append.events.push(event),
                None => commit.append.push(Append { key: event.key.clone(), expect: Expect::Any, events: vec![event] }),
            }
        }
        self.ports.store.commit(commit).await.expect("appended");
    }
}

impl Life {
    /// Waits until every consumer has handled or parked everything there is.
    pub async fn settled(&self) {
        eventually("every consumer has caught up", || async {
            let audit = self.operator.audit().await.ok()?;
            (audit.lost == 0).then_some(())
        })
        .await;
    }

    /// Ends it, as SIGTERM would.
    pub async fn end(self) {
        assert!(self.running.shutdown(Duration::from_secs(20)).await, "the drain kept its deadline");
    }
}

/// Options under which a test need not wait for backoff.
pub fn quick() -> ConsumeOptions {
    ConsumeOptions {
        max_attempts: 4,
        backoff: Backoff::new(Duration::from_millis(10), Duration::from_millis(100)),
        handler_timeout: Duration::from_secs(5),
        ..ConsumeOptions::default()
    }
}

/// Opens the embedded backends in `dir`.
pub async fn open(dir: &Path) -> Ports {
    tidewire::install_tls();
    let clock = Arc::new(SystemClock);
    let store = SqliteStore::open(SqliteOptions::new(dir.join("log")), clock.clone()).await.expect("the store opens");
    let options = EmbeddedOptions { dir: dir.join("broker"), ..EmbeddedOptions::default() };
    let broker = EmbeddedBroker::open(options, clock.clone()).await.expect("the broker opens");
    let store = Arc::new(Generations::over(Arc::new(store)).await.expect("the generations are read"));
    Ports { store, broker, clock }
}
