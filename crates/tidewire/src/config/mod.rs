//! Configuration: one typed struct, built from flags over environment over file over defaults.
//!
//! [`KEYS`] is the single source: reading, checking, `config show` and `infra/tidewire.toml` all
//! come from that table. Every problem is reported at once, unknown names with the nearest known
//! one. Nothing but [`Env::from_process`] looks at the real environment.
//!
//! ```
//! use tidewire::config::{Config, Env, FileSource, Flag, Sources};
//!
//! let env: Env = [("TIDEWIRE_STORE__READERS", "8")].into_iter().collect();
//! let file = FileSource::Text { name: "tidewire.toml".into(), text: "[store]\nreaders = 2\nqueue = 64".into() };
//! let flags = vec![Flag::new("listen", "--listen", "127.0.0.1:0")];
//! let config = Config::load(Sources { file, env, flags })?;
//! assert_eq!((config.store.readers, config.store.queue), (8, 64));
//!
//! let error = Config::with([("store.reader", "8"), ("relay.lease_ttl", "15")]).unwrap_err();
//! assert_eq!(error.problems.len(), 2);
//! assert_eq!(error.problems[0].hint, "did you mean `store.readers`?");
//! # Ok::<(), tidewire::config::ConfigError>(())
//! ```

mod checks;
mod file;
mod kafka;
mod keys;
mod layers;
mod problem;
mod reference;
mod secret;
mod sections;
mod sources;
mod table;
#[cfg(test)]
mod tests;
mod url;
mod value;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use file::FILE_BYTES_MAX;
pub use kafka::kafka_settings;
pub use keys::{ENV_PREFIX, EnvName, Key, find, nearest_key};
pub use problem::{ConfigError, Origin, Problem};
pub use reference::reference;
pub use secret::{MASK, SECRET_FILE_BYTES_MAX, SecretString};
pub use sections::{
    BrokerConfig, ColorChoice, ConsumeConfig, DocumentsConfig, EffectsConfig, HttpAuth, HttpConfig, KafkaConfig,
    LogConfig, LogFormat, NatsConfig, ObjectsConfig, PushConfig, RelayConfig, SagaConfig, SchemasConfig,
    ShutdownConfig, SmtpConfig, StoreConfig,
};
pub use sources::{Env, FILE_NAME, FileSource, Flag, Sources};
pub use table::KEYS;
pub use url::{ServiceUrl, UrlRule, redact_url};
pub use value::{Kind, parse_size, parse_span, show_size, show_span};

pub(crate) use value::nearest;

/// Everything that can be configured, checked. `Debug` shows no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Folder for everything the embedded parts keep.
    pub data_dir: PathBuf,
    /// Address of the HTTP surface.
    pub listen: SocketAddr,
    /// The log.
    pub store: StoreConfig,
    /// What carries events to the handlers.
    pub broker: BrokerConfig,
    /// NATS JetStream.
    pub nats: NatsConfig,
    /// Apache Kafka.
    pub kafka: KafkaConfig,
    /// Publishing the log.
    pub relay: RelayConfig,
    /// The loop around every handler.
    pub consume: ConsumeConfig,
    /// Long workflows.
    pub saga: SagaConfig,
    /// What happens outside the database.
    pub effects: EffectsConfig,
    /// Where the bytes of documents are kept.
    pub objects: ObjectsConfig,
    /// Outgoing mail.
    pub smtp: SmtpConfig,
    /// Push subscriptions.
    pub push: PushConfig,
    /// The gateway's edge.
    pub http: HttpConfig,
    /// Contracts of services in other languages.
    pub schemas: SchemasConfig,
    /// Text extraction.
    pub documents: DocumentsConfig,
    /// The way down.
    pub shutdown: ShutdownConfig,
    /// Log lines.
    pub log: LogConfig,
    rows: Rows,
}

/// Kept beside the values for `config show`. Two configurations with the same values are equal
/// wherever the values came from.
#[derive(Debug, Clone)]
struct Rows(Vec<Row>);

impl PartialEq for Rows {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Rows {}

/// One key as `config show` prints it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Row {
    /// The key.
    pub path: &'static str,
    /// Its value, secrets masked.
    pub value: String,
    /// Where the value came from.
    pub origin: Origin,
    /// What the key means.
    pub doc: &'static str,
}

impl Config {
    /// Builds a configuration from its layers: flag over environment over file over default.
    ///
    /// # Errors
    /// Every problem at once: unknown names, values that do not fit, secrets that are missing or
    /// exposed, values that contradict each other. A person has to change something; retrying is no use.
    pub fn load(sources: Sources) -> Result<Self, ConfigError> {
        let mut resolved = layers::resolve(&sources);
        resolved.problems.extend(checks::contradictions(&resolved));
        if !resolved.problems.is_empty() {
            return Err(ConfigError { problems: resolved.problems });
        }
        let rows = KEYS.iter().filter_map(|key| {
            Some(Row {
                path: key.path,
                value: resolved.values.get(key.path)?.to_string(),
                origin: resolved.origins.get(key.path)?.clone(),
                doc: key.doc,
            })
        });
        let rows = Rows(rows.collect());
        let mut values = sections::Values(resolved.values);
        let (data_dir, listen) = sections::top(&mut values);
        let config = Self {
            data_dir,
            listen,
            store: StoreConfig::take(&mut values),
            broker: BrokerConfig::take(&mut values),
            nats: NatsConfig::take(&mut values),
            kafka: KafkaConfig::take(&mut values),
            relay: RelayConfig::take(&mut values),
            consume: ConsumeConfig::take(&mut values),
            saga: SagaConfig::take(&mut values),
            effects: EffectsConfig::take(&mut values),
            objects: ObjectsConfig::take(&mut values),
            smtp: SmtpConfig::take(&mut values),
            push: PushConfig::take(&mut values),
            http: HttpConfig::take(&mut values),
            schemas: SchemasConfig::take(&mut values),
            documents: DocumentsConfig::take(&mut values),
            shutdown: ShutdownConfig::take(&mut values),
            log: LogConfig::take(&mut values),
            rows,
        };
        debug_assert!(values.0.is_empty(), "keys without a field: {:?}", values.0.keys());
        Ok(config)
    }

    /// The defaults with some keys set as text: for tests and embedding.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn with<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, ConfigError> {
        let flags = pairs.into_iter().map(|(path, value)| Flag::new(path, path, value)).collect();
        Self::load(Sources { flags, ..Sources::default() })
    }

    /// Each key with its value as it was loaded and where it came from, in the order of the
    /// reference file. Secrets are masked. A field changed in code afterwards is not seen here.
    pub fn rows(&self) -> &[Row] {
        &self.rows.0
    }

    /// Folder of the log, unless it is on a server.
    pub fn sqlite_dir(&self) -> Option<PathBuf> {
        (self.store.url.scheme() == "sqlite").then(|| self.local_dir(&self.store.url, "log"))
    }

    /// Folder of the embedded broker, unless a networked one is configured.
    pub fn embedded_broker_dir(&self) -> Option<PathBuf> {
        (self.broker.url.scheme() == "embedded").then(|| self.local_dir(&self.broker.url, "broker"))
    }

    /// Folder of the object store, unless it is a networked one.
    pub fn objects_dir(&self) -> Option<PathBuf> {
        matches!(self.objects.url.scheme(), "" | "file").then(|| self.local_dir(&self.objects.url, "objects"))
    }

    fn local_dir(&self, url: &ServiceUrl, default: &str) -> PathBuf {
        if url.rest().is_empty() { self.data_dir.join(default) } else { url.rest().into() }
    }
}

impl Default for Config {
    /// What runs with nothing configured.
    fn default() -> Self {
        // No input reaches this; `the_defaults_load` proves that the table's own defaults agree.
        Self::load(Sources::default())
            .unwrap_or_else(|error| unreachable!("the defaults contradict each other: {error}"))
    }
}
