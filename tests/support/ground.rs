//! The ground a test stands on: where the servers of the store and the broker are. Ports are opened on it as often as there are
//! processes, real ones or loops in this one.

use std::sync::Arc;
use std::time::Duration;

use tidewire::consume::ConsumeOptions;
use tidewire::relay::{Relay, RelayOptions};
use tidewire::replay::Generations;
use tidewire::run::{RunOptions, Running, start};
use tidewire::{Backoff, Broker, Clock, Ports, Service, SystemClock};
use tidewire_broker::{JetStreamBroker, JetStreamOptions};
use tidewire_store::{PostgresOptions, PostgresStore};

use super::handlers::Tally;

/// How long a drain may take.
const DRAIN: Duration = Duration::from_secs(30);

/// What a stream on the shared JetStream reserves: more than any test fills.
const STREAM_BYTES: u64 = 64 << 20;

/// Where the broker is.
#[derive(Clone)]
pub enum BrokerAt {
    /// JetStream.
    JetStream(JetStreamOptions),
    /// Apache Kafka.
    #[cfg(feature = "kafka")]
    Kafka(tidewire_broker::KafkaOptions),
}

/// Where both are.
#[derive(Clone)]
pub struct Ground {
    /// The URL of a database on PostgreSQL.
    pub database: String,
    pub broker: BrokerAt,
}

impl Ground {
    /// PostgreSQL and one JetStream node, with members that are missed soon.
    pub fn on_jetstream(database: String, url: &str) -> Self {
        Self { database, broker: BrokerAt::JetStream(soon_missed(url)) }
    }

    /// PostgreSQL and a JetStream cluster of three, the same otherwise.
    pub fn on_cluster(database: String, url: &str) -> Self {
        Self { database, broker: BrokerAt::JetStream(JetStreamOptions { replicas: 3, ..soon_missed(url) }) }
    }

    /// PostgreSQL and Kafka, with a topic of this domain: few partitions, which change hands soon.
    #[cfg(feature = "kafka")]
    pub fn on_kafka(database: String, brokers: &str, domain: &str) -> Self {
        let options = tidewire_broker::KafkaOptions {
            brokers: brokers.to_owned(),
            domain: domain.to_owned(),
            partitions: 8,
            publish_timeout: Duration::from_secs(6),
            ..Default::default()
        };
        Self { database, broker: BrokerAt::Kafka(options) }
    }

    /// A fresh database and a stream of its own on the servers that all tests share; `None` where they are left out.
    /// The stream is small: each reserves its bytes.
    pub async fn on_shared_jetstream() -> Option<Self> {
        let database = shared_database("nats").await?;
        let nats = servers::nats().await.unwrap_or_else(|missing| panic!("{missing}"));
        let options =
            JetStreamOptions { domain: domain_of(&database), max_bytes: STREAM_BYTES, ..soon_missed(nats.url()) };
        Some(Self { database, broker: BrokerAt::JetStream(options) })
    }

    /// The same with a topic of its own on Kafka.
    #[cfg(feature = "kafka")]
    pub async fn on_shared_kafka() -> Option<Self> {
        let database = shared_database("kafka").await?;
        let kafka = servers::kafka().await.unwrap_or_else(|missing| panic!("{missing}"));
        let domain = domain_of(&database);
        Some(Self::on_kafka(database, kafka.brokers(), &domain))
    }

    /// What this installation is called on its broker.
    pub fn domain(&self) -> &str {
        match &self.broker {
            BrokerAt::JetStream(options) => &options.domain,
            #[cfg(feature = "kafka")]
            BrokerAt::Kafka(options) => &options.domain,
        }
    }

    /// Opens ports, as a process does when it starts.
    pub async fn open(&self) -> Ports {
        tidewire::install_tls();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = PostgresStore::open(PostgresOptions::new(&self.database), clock.clone()).await;
        let store = Generations::over(Arc::new(store.expect("the store opens"))).await;
        let store = Arc::new(store.expect("the generations are read"));
        Ports { store, broker: self.open_broker(clock.clone()).await, clock }
    }

    /// The same for a real process.
    pub fn env(&self) -> Vec<(String, String)> {
        let own = match &self.broker {
            BrokerAt::JetStream(options) => [
                ("TIDEWIRE_BROKER_URL", options.url.clone()),
                ("TIDEWIRE_NATS__MAX_BYTES", format!("{}MiB", options.max_bytes >> 20)),
            ],
            #[cfg(feature = "kafka")]
            BrokerAt::Kafka(options) => [
                ("TIDEWIRE_BROKER_URL", format!("kafka://{}", options.brokers)),
                ("TIDEWIRE_KAFKA__PARTITIONS", options.partitions.to_string()),
            ],
        };
        let common =
            [("TIDEWIRE_STORE_URL", self.database.clone()), ("TIDEWIRE_BROKER__DOMAIN", self.domain().to_owned())];
        common.into_iter().chain(own).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    async fn open_broker(&self, clock: Arc<dyn Clock>) -> Arc<dyn Broker> {
        match &self.broker {
            BrokerAt::JetStream(options) => {
                JetStreamBroker::open(options.clone(), clock).await.expect("the broker opens")
            }
            #[cfg(feature = "kafka")]
            BrokerAt::Kafka(options) => {
                tidewire_broker::KafkaBroker::open(options.clone(), clock).await.expect("the broker opens")
            }
        }
    }
}

/// A fresh database on the server that all tests share; `None`, and a word about it, where that server or the other one
/// is left out.
async fn shared_database(other: &str) -> Option<String> {
    if let Some(server) = ["postgres", other].into_iter().find(|server| servers::left_out(server)) {
        println!("left out: {server}");
        return None;
    }
    let postgres = servers::postgres().await.unwrap_or_else(|missing| panic!("{missing}"));
    Some(postgres.database().await)
}

/// A domain that nobody else has: the name of a database that nobody else has.
fn domain_of(database: &str) -> String {
    let (_, name) = database.rsplit_once('/').expect("the URL of a database");
    name.split('?').next().unwrap_or(name).to_owned()
}

/// Where a silent server and a silent member are given up soon: tests have no patience.
fn soon_missed(url: &str) -> JetStreamOptions {
    JetStreamOptions {
        url: url.to_owned(),
        member_ttl: Duration::from_secs(3),
        ack_timeout: Duration::from_secs(2),
        // A stream reserves it, and there are many of them.
        max_bytes: 256 << 20,
        ..JetStreamOptions::default()
    }
}

/// As much as a process: loops on ports of their own.
pub struct Member {
    pub ports: Ports,
    running: Running,
}

impl Member {
    /// One that consumes under this name.
    pub async fn consuming(ground: &Ground, name: &'static str) -> Self {
        Self::start(ground.open().await, vec![Service::new("tests").handler(Tally::new(name))])
    }

    /// One that relays.
    pub async fn relaying(ground: &Ground, options: RelayOptions) -> Self {
        let ports = ground.open().await;
        let relay = Relay::new(&ports, options);
        Self::start(ports, vec![Service::new("relay").background("relay", |stop| relay.run(stop))])
    }

    fn start(ports: Ports, services: Vec<Service>) -> Self {
        let options = RunOptions { consume: steadfast(), effects: Default::default(), callers: Vec::new() };
        Self { running: start(&ports, services, options), ports }
    }

    /// Ends it, as SIGTERM would.
    pub async fn end(self) {
        assert!(self.running.shutdown(DRAIN).await, "the drain kept its deadline");
    }
}

/// Options under which faults of servers are survived: as many attempts as usual, and soon.
fn steadfast() -> ConsumeOptions {
    ConsumeOptions {
        backoff: Backoff::new(Duration::from_millis(20), Duration::from_millis(500)),
        handler_timeout: Duration::from_secs(5),
        ack_wait: Duration::from_secs(10),
        ..ConsumeOptions::default()
    }
}
