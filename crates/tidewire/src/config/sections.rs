//! The typed configuration: one struct per section, one field per key. What each key means, its unit,
//! bounds and default are in the key table and in `infra/tidewire.toml`; the fields only name it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::secret::SecretString;
use super::url::ServiceUrl;
use super::value::Value;

/// The checked values, each taken once by the field it belongs to.
pub(super) struct Values(pub BTreeMap<&'static str, Value>);

/// A field's type, and which kind of key it reads.
trait Field: Sized {
    fn from_value(value: Value) -> Option<Self>;
}

impl Values {
    /// The key table and the structs below agree, which `the_defaults_load` proves for every field;
    /// no input can make them disagree.
    fn take<T: Field>(&mut self, path: &'static str) -> T {
        let value = self.0.remove(path).and_then(T::from_value);
        value.unwrap_or_else(|| unreachable!("no key of this type in the table: {path}"))
    }
}

macro_rules! field {
    ($type:ty, $pattern:pat => $value:expr) => {
        impl Field for $type {
            fn from_value(value: Value) -> Option<Self> {
                match value {
                    $pattern => $value,
                    _ => None,
                }
            }
        }
    };
}
field!(String, Value::Text(text) => Some(text));
field!(PathBuf, Value::Path(path) => Some(path));
field!(bool, Value::Bool(value) => Some(value));
field!(usize, Value::Count(count) => usize::try_from(count).ok());
field!(u32, Value::Count(count) => u32::try_from(count).ok());
field!(u64, Value::Size(bytes) => Some(bytes));
field!(Duration, Value::Span(span) => Some(span));
field!(SocketAddr, Value::Socket(address) => Some(address));
field!(ServiceUrl, Value::Url(url) => Some(url));
field!(SecretString, Value::Secret(secret) => Some(secret));
field!(HttpAuth, Value::Text(word) => HttpAuth::from_word(&word));
field!(LogFormat, Value::Text(word) => LogFormat::from_word(&word));
field!(ColorChoice, Value::Text(word) => ColorChoice::from_word(&word));

macro_rules! section {
    ($(#[$meta:meta])* $name:ident = $section:literal { $($(#[$doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $name {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl $name {
            pub(super) fn take(values: &mut Values) -> Self {
                Self { $($field: values.take(concat!($section, ".", stringify!($field))),)* }
            }
        }
    };
}

section! {
    /// The log.
    StoreConfig = "store" {
        /// `sqlite:`, `sqlite:DIR` or `postgres://…`.
        url: ServiceUrl,
        /// Read connections.
        readers: usize,
        /// PostgreSQL: connections for what does not travel in groups.
        writers: usize,
        /// PostgreSQL: connections that wait for locked streams.
        lanes: usize,
        /// Commits per disk flush.
        group_commits_max: usize,
        /// Events between two snapshots of a stream.
        snapshot_every: u32,
        /// Commits that may wait for the writer.
        queue: usize,
    }
}
section! {
    /// What carries events to the handlers.
    BrokerConfig = "broker" {
        /// `embedded:`, `nats://…` or `kafka://…`.
        url: ServiceUrl,
        /// Name of this installation on a shared broker.
        domain: String,
        /// Servers that keep each event; 0 for the default.
        replicas: usize,
        /// Events under way at once.
        publish_window: usize,
        /// Bytes kept once acknowledged.
        retention_bytes: u64,
        /// Age kept once acknowledged.
        retention_age: Duration,
        /// Unacknowledged events per consumer group.
        max_in_flight: usize,
        /// Wait before a delivery goes to another worker.
        ack_wait: Duration,
        /// Bytes of one event.
        max_event_bytes: u64,
        /// Ids remembered against a second publish.
        dedupe_window: usize,
    }
}
section! {
    /// NATS JetStream.
    NatsConfig = "nats" {
        /// Bytes of the stream.
        max_bytes: u64,
        /// Time in which a second publish is recognised.
        dedupe_window: Duration,
        /// A `.creds` file, or empty.
        credentials_file: String,
        /// An nkey seed file, or empty.
        nkey_file: String,
        /// A file of root certificates, or empty.
        root_ca: String,
    }
}
section! {
    /// Apache Kafka.
    KafkaConfig = "kafka" {
        /// Partitions of the topic when it is made.
        partitions: u32,
        /// Copies before an event counts as published; 0 for the cluster's default.
        min_insync: u32,
        /// `auto`, `plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`.
        security: String,
        /// How the password is presented.
        mechanism: String,
        /// The user, or empty.
        username: String,
        /// The password, or empty.
        password: SecretString,
        /// Settings of librdkafka as `name=value; name=value`; see [`kafka_settings`](super::kafka_settings).
        settings: SecretString,
    }
}
section! {
    /// Publishing the log.
    RelayConfig = "relay" {
        /// Relays that share the keys, 1 to 64.
        shards: usize,
        /// Events per publish.
        batch: usize,
        /// Life of a lease without renewal.
        lease_ttl: Duration,
        /// Time between renewals.
        lease_renew: Duration,
    }
}
section! {
    /// The loop around every handler.
    ConsumeConfig = "consume" {
        /// Events taken at a time.
        batch: usize,
        /// Bytes taken at a time.
        batch_bytes: u64,
        /// Keys at once.
        concurrency: usize,
        /// Tries before a key is parked.
        max_attempts: u32,
        /// Wait after the first failed try.
        backoff_initial: Duration,
        /// Longest wait between tries.
        backoff_max: Duration,
        /// Time for one try.
        handler_timeout: Duration,
        /// Events that may be parked before those that fail stay with the broker.
        parked_max: usize,
    }
}
section! {
    /// Long workflows.
    SagaConfig = "saga" {
        /// Wait for a step's answer.
        step_deadline: Duration,
        /// Tries of a step.
        step_attempts: u32,
        /// Tries of an undo.
        undo_attempts: u32,
    }
}
section! {
    /// What happens outside the database.
    EffectsConfig = "effects" {
        /// Effects at once.
        concurrency: usize,
        /// Tries before an effect is parked.
        max_attempts: u32,
        /// Wait for a webhook's answer.
        http_timeout: Duration,
        /// Whether webhooks may reach private addresses.
        allow_private_targets: bool,
    }
}
section! {
    /// Where the bytes of documents are kept.
    ObjectsConfig = "objects" {
        /// A folder, `file:DIR`, `s3://…`, or empty for the folder under the data directory.
        url: ServiceUrl,
        /// Where the bucket is, or empty for Amazon's own.
        endpoint: ServiceUrl,
        /// Region of the bucket.
        region: String,
        /// Who asks, or empty for the machine's own identity.
        access_key: SecretString,
        /// What proves it.
        secret_key: SecretString,
    }
}
section! {
    /// Outgoing mail.
    SmtpConfig = "smtp" {
        /// `smtp://…`, `smtps://…`, or empty for no mail.
        url: ServiceUrl,
        /// Sender of every mail.
        from: String,
    }
}
section! {
    /// Push subscriptions.
    PushConfig = "push" {
        /// Wait for an endpoint's answer.
        timeout: Duration,
        /// Requests to one endpoint at once.
        concurrency: usize,
        /// Failures in a row that open an endpoint's circuit.
        breaker_failures: usize,
        /// The first wait of an open circuit.
        breaker_wait: Duration,
        /// The longest wait of an open circuit.
        breaker_wait_max: Duration,
        /// Bytes of an answer with an event.
        reply_bytes: u64,
        /// Subscriptions at once.
        max_subscriptions: usize,
        /// How soon changes made elsewhere are seen.
        refresh: Duration,
        /// Whether endpoints must agree to be called.
        handshake: bool,
        /// Who calls.
        origin: String,
        /// Whether endpoints may be at private addresses.
        allow_private_targets: bool,
        /// Whether endpoints may be without TLS.
        allow_http: bool,
    }
}
section! {
    /// The gateway's edge.
    HttpConfig = "http" {
        /// Bytes of a request body, documents aside.
        body_limit: u64,
        /// Bytes of a document.
        document_limit: u64,
        /// Time for one request.
        request_timeout: Duration,
        /// Time for a client to send its headers.
        header_timeout: Duration,
        /// Open connections.
        max_connections: usize,
        /// Requests at once.
        max_in_flight: usize,
        /// Requests per second of each caller; 0 is no limit.
        rate_limit: u32,
        /// Requests of a caller at once.
        rate_burst: u32,
        /// Who needs credentials.
        auth: HttpAuth,
        /// Where the keys of an issuer of tokens are; empty for none.
        jwks_url: ServiceUrl,
        /// What `iss` must be.
        jwt_issuer: String,
        /// What `aud` must hold.
        jwt_audience: String,
        /// Whether unauthenticated callers beyond loopback are accepted.
        allow_remote: bool,
    }
}
section! {
    /// Contracts of services in other languages.
    SchemasConfig = "schemas" {
        /// Folder of `<type>/v<N>.json`, or empty.
        dir: String,
    }
}
section! {
    /// Text extraction.
    DocumentsConfig = "documents" {
        /// Time for one document.
        extract_timeout: Duration,
        /// Bytes of memory for one document.
        extract_memory: u64,
        /// Documents at once.
        extract_concurrency: usize,
    }
}
section! {
    /// The way down.
    ShutdownConfig = "shutdown" {
        /// Time to finish what has begun.
        deadline: Duration,
    }
}
section! {
    /// Log lines.
    LogConfig = "log" {
        /// For people or for machines.
        format: LogFormat,
        /// Which lines are written, in the syntax of `tracing_subscriber::EnvFilter`.
        level: String,
        /// Whether text lines are coloured.
        color: ColorChoice,
    }
}

/// Who needs credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HttpAuth {
    /// Nobody: on loopback, everybody is the machine's own.
    #[default]
    Local,
    /// Everybody.
    Required,
}

impl HttpAuth {
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "local" => Some(Self::Local),
            "required" => Some(Self::Required),
            _ => None,
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One line for people.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "auto" => Self::Auto,
            "text" => Self::Text,
            "json" => Self::Json,
            _ => return None,
        })
    }
}

/// Whether text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ColorChoice {
    /// On a terminal.
    #[default]
    Auto,
    /// Also into files and pipes.
    Always,
    /// Never.
    Never,
}

impl ColorChoice {
    fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "auto" => Self::Auto,
            "always" => Self::Always,
            "never" => Self::Never,
            _ => return None,
        })
    }

    /// Whether to colour, on a stream that is or is not a terminal.
    pub fn on(self, terminal: bool) -> bool {
        self == Self::Always || (self == Self::Auto && terminal)
    }
}

/// The fields at the top of the file, then the sections.
pub(super) fn top(values: &mut Values) -> (PathBuf, SocketAddr) {
    (values.take("data_dir"), values.take("listen"))
}
