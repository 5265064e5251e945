//! The broker that a configuration names.

use std::path::PathBuf;
use std::sync::Arc;

use tidewire::config::Config;
use tidewire::{Broker, Clock};
use tidewire_broker::{EmbeddedBroker, EmbeddedOptions, JetStreamBroker, JetStreamOptions};
#[cfg(feature = "kafka")]
use tidewire_broker::{KafkaBroker, KafkaOptions};

use super::unsupported;
use crate::failure::Failure;

/// The broker that a configuration names.
pub enum Choice {
    /// In this folder.
    Embedded(PathBuf),
    /// NATS JetStream.
    JetStream,
    /// Apache Kafka.
    #[cfg(feature = "kafka")]
    Kafka,
}

impl Choice {
    /// By the scheme of `broker.url`.
    pub fn of(config: &Config) -> Result<Self, Failure> {
        let url = &config.broker.url;
        match (config.embedded_broker_dir(), url.scheme()) {
            (Some(dir), _) => Ok(Self::Embedded(dir)),
            (None, "nats" | "tls") => Ok(Self::JetStream),
            #[cfg(feature = "kafka")]
            (None, "kafka") => Ok(Self::Kafka),
            #[cfg(not(feature = "kafka"))]
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
        match self {
            Self::Embedded(dir) => Ok(EmbeddedBroker::open(embedded(config, dir), clock).await?),
            Self::JetStream => Ok(JetStreamBroker::open(jetstream(config), clock).await?),
            #[cfg(feature = "kafka")]
            Self::Kafka => Ok(KafkaBroker::open(kafka(config), clock).await?),
        }
    }
}

fn max_event_bytes(config: &Config) -> usize {
    usize::try_from(config.broker.max_event_bytes).unwrap_or(usize::MAX)
}

fn embedded(config: &Config, dir: PathBuf) -> EmbeddedOptions {
    let broker = &config.broker;
    EmbeddedOptions {
        dir,
        max_bytes: broker.retention_bytes,
        max_age: broker.retention_age,
        max_event_bytes: max_event_bytes(config),
        dedupe_window: broker.dedupe_window,
        ..EmbeddedOptions::default()
    }
}

fn jetstream(config: &Config) -> JetStreamOptions {
    let (broker, nats) = (&config.broker, &config.nats);
    let file = |path: &str| (!path.is_empty()).then(|| PathBuf::from(path));
    JetStreamOptions {
        url: broker.url.expose().to_owned(),
        domain: broker.domain.clone(),
        replicas: broker.replicas.max(1),
        max_bytes: nats.max_bytes,
        max_age: broker.retention_age,
        max_event_bytes: max_event_bytes(config),
        dedupe_window: nats.dedupe_window,
        publish_window: broker.publish_window,
        credentials_file: file(&nats.credentials_file),
        nkey_file: file(&nats.nkey_file),
        root_ca: file(&nats.root_ca),
        ..JetStreamOptions::default()
    }
}

#[cfg(feature = "kafka")]
fn kafka(config: &Config) -> KafkaOptions {
    let (broker, kafka) = (&config.broker, &config.kafka);
    let some = |number: u32| u16::try_from(number).ok().filter(|number| *number > 0);
    let (user, hosts) = kafka_parts(broker.url.rest());
    let (of_url, password_of_url) = match user {
        Some(user) => match user.split_once(':') {
            Some((name, password)) => (name, password),
            None => (user, ""),
        },
        None => ("", ""),
    };
    let text =
        |first: &str, second: &str| [first, second].into_iter().find(|text| !text.is_empty()).map(ToOwned::to_owned);
    KafkaOptions {
        brokers: hosts,
        domain: broker.domain.clone(),
        partitions: kafka.partitions,
        replicas: some(u32::try_from(broker.replicas).unwrap_or(u32::MAX)),
        min_insync: some(kafka.min_insync),
        max_event_bytes: max_event_bytes(config),
        retention_age: broker.retention_age,
        publish_window: broker.publish_window,
        security: (kafka.security != "auto").then(|| kafka.security.clone()),
        mechanism: Some(kafka.mechanism.clone()),
        username: text(&kafka.username, of_url),
        password: text(kafka.password.expose(), password_of_url),
        extra: tidewire::config::kafka_settings(kafka.settings.expose()).unwrap_or_default(),
        ..KafkaOptions::default()
    }
}

/// `user:password@a:9092,b:9092/…` in its parts: who, and where. A password may hold `@`.
#[cfg(any(feature = "kafka", test))]
fn kafka_parts(rest: &str) -> (Option<&str>, String) {
    let (user, hosts) = match rest.rsplit_once('@') {
        Some((user, hosts)) => (Some(user), hosts),
        None => (None, rest),
    };
    let hosts = hosts.replace("kafka://", "");
    let hosts = hosts.split(['/', '?']).next().unwrap_or_default();
    let with_port = |host: &str| if host.contains(':') { host.to_owned() } else { format!("{host}:9092") };
    (user, hosts.split(',').map(with_port).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_kafka_url() {
        for (rest, user, hosts) in [
            ("h", None, "h:9092"),
            ("a:1,b/", None, "a:1,b:9092"),
            ("u:p@ss@a:1,kafka://b:2?x=y", Some("u:p@ss"), "a:1,b:2"),
        ] {
            assert_eq!(kafka_parts(rest), (user, hosts.to_owned()), "{rest}");
        }
    }

    #[test]
    fn every_key_reaches_jetstream() {
        let config = Config::with([
            ("broker.url", "tls://h:4222"),
            ("broker.domain", "blue"),
            ("broker.replicas", "3"),
            ("broker.retention_age", "2d"),
            ("broker.max_event_bytes", "128KiB"),
            ("broker.publish_window", "64"),
            ("nats.max_bytes", "5GiB"),
            ("nats.dedupe_window", "3m"),
            ("nats.credentials_file", "/c"),
            ("nats.nkey_file", "/n"),
            ("nats.root_ca", "/r"),
        ])
        .unwrap();
        let options = jetstream(&config);
        assert_eq!(options.url, "tls://h:4222");
        assert_eq!((options.domain.as_str(), options.replicas, options.publish_window), ("blue", 3, 64));
        assert_eq!((options.max_age.as_secs(), options.dedupe_window.as_secs()), (172_800, 180));
        assert_eq!((options.max_bytes, options.max_event_bytes), (5 << 30, 128 << 10));
        let files = [options.credentials_file, options.nkey_file, options.root_ca];
        assert_eq!(files, ["/c", "/n", "/r"].map(|path| Some(PathBuf::from(path))));
        assert_eq!(jetstream(&Config::default()).credentials_file, None);
    }
}
