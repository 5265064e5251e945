//! How to open the broker, and what librdkafka is told.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;
use tidewire_core::BrokerError;
use tidewire_core::key::BUCKETS;

/// What a record takes on top of its key, headers and value: its own framing and that of the batch it travels in.
const RECORD_OVERHEAD: usize = 4_096;
/// The least a topic must take at once: Kafka's own default.
const MIN_BATCH_BYTES: usize = 1_048_588;
/// The longest domain: topic names have at most 249 characters.
const MAX_DOMAIN: usize = 64;
/// The most settings that can be passed through.
const MAX_EXTRA: usize = 256;

/// How to open a [`super::KafkaBroker`].
#[derive(Clone)]
pub struct KafkaOptions {
    /// Where the cluster is: `host:port`, several separated by commas.
    pub brokers: String,
    /// Names this installation: its topic is `tidewire.<domain>`, its consumer groups begin with it. 1 to 64
    /// lower-case letters, digits, `-` and `_`. Default `main`.
    pub domain: String,
    /// Partitions of the topic, 1 to 64. Fixed for ever: a key that changed its partition would lose its order.
    /// Default 64, one per bucket of keys, so that up to 64 processes can share a group.
    pub partitions: u32,
    /// Copies of every partition. `None` takes the cluster's default; three is right where events matter.
    pub replicas: Option<u16>,
    /// Copies that must have an event before a publish is answered (`min.insync.replicas`). `None` takes the
    /// cluster's default; two of three survives the loss of one machine.
    pub min_insync: Option<u16>,
    /// The largest event in bytes: its key, its attributes and its data. Default 256 KiB.
    pub max_event_bytes: usize,
    /// How long events are kept, whoever has read them. Default 7 days.
    pub retention_age: Duration,
    /// How many bytes each partition keeps; the oldest go first, **read or not**. `None`, the default, keeps all for
    /// `retention_age`.
    pub retention_bytes: Option<u64>,
    /// How many events may be on their way to the cluster at once; who comes then waits. Default 10,000.
    pub publish_window: usize,
    /// How many bytes of events may be on their way at once. Default 32 MiB.
    pub publish_window_bytes: usize,
    /// How long a publish waits for the cluster before it answers [`BrokerError::Unavailable`]. Default 30 s.
    pub publish_timeout: Duration,
    /// `security.protocol`: `plaintext`, `sasl_plaintext`, or with the cargo feature `kafka-tls` `ssl` and
    /// `sasl_ssl`. Default `plaintext`, or `sasl_plaintext` where there is a user name.
    pub security: Option<String>,
    /// `sasl.mechanism`. Default `PLAIN`.
    pub mechanism: Option<String>,
    /// The user name, for SASL.
    pub username: Option<String>,
    /// The password, for SASL. Never printed.
    pub password: Option<String>,
    /// Settings for librdkafka, over everything this crate sets. They can break promises: know what you do. Never
    /// printed, since they may hold secrets.
    pub extra: BTreeMap<String, String>,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".into(),
            domain: "main".into(),
            partitions: u32::from(BUCKETS),
            replicas: None,
            min_insync: None,
            max_event_bytes: 256 << 10,
            retention_age: Duration::from_secs(7 * 24 * 60 * 60),
            retention_bytes: None,
            publish_window: 10_000,
            publish_window_bytes: 32 << 20,
            publish_timeout: Duration::from_secs(30),
            security: None,
            mechanism: None,
            username: None,
            password: None,
            extra: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaOptions")
            .field("brokers", &self.brokers)
            .field("domain", &self.domain)
            .field("partitions", &self.partitions)
            .field("replicas", &self.replicas)
            .field("min_insync", &self.min_insync)
            .field("max_event_bytes", &self.max_event_bytes)
            .field("retention_age", &self.retention_age)
            .field("retention_bytes", &self.retention_bytes)
            .field("publish_window", &self.publish_window)
            .field("publish_window_bytes", &self.publish_window_bytes)
            .field("publish_timeout", &self.publish_timeout)
            .field("security", &self.security)
            .field("mechanism", &self.mechanism)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("extra", &self.extra.keys().collect::<Vec<_>>())
            .finish()
    }
}

impl KafkaOptions {
    /// Refuses what makes no sense.
    pub(super) fn check(&self) -> Result<(), BrokerError> {
        let invalid = |reason: &str| Err(BrokerError::Invalid(reason.into()));
        let in_domain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if self.domain.is_empty() || self.domain.len() > MAX_DOMAIN || !self.domain.chars().all(in_domain) {
            return invalid("a domain is 1 to 64 lower-case letters, digits, `-` and `_`");
        }
        if !(1..=u32::from(BUCKETS)).contains(&self.partitions) {
            return invalid("partitions is 1 to 64");
        }
        if self.replicas == Some(0) || self.min_insync == Some(0) || self.max_event_bytes == 0 {
            return invalid("replicas, min_insync and max_event_bytes are at least 1");
        }
        if self.publish_window == 0 || self.publish_window_bytes == 0 || self.publish_timeout.is_zero() {
            return invalid("the publish window and timeout are more than nothing");
        }
        if self.extra.len() > MAX_EXTRA {
            return invalid("there are too many extra settings");
        }
        Ok(())
    }

    /// The one topic.
    pub(super) fn topic(&self) -> String {
        format!("tidewire.{}", self.domain)
    }

    /// What the consumer group of a group is called.
    pub(super) fn group_id(&self, group: &str) -> String {
        format!("{}{group}", self.group_prefix())
    }

    /// What every consumer group of this installation begins with. A domain holds no dot, so no other's does.
    pub(super) fn group_prefix(&self) -> String {
        format!("tidewire.{}.", self.domain)
    }

    /// The largest batch of records, for the topic and for the producer.
    pub(super) fn max_batch_bytes(&self) -> usize {
        (self.max_event_bytes + RECORD_OVERHEAD).max(MIN_BATCH_BYTES)
    }

    /// What every client is told.
    pub(super) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "tidewire")
            .set("socket.keepalive.enable", "true")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "2000")
            .set("allow.auto.create.topics", "false");
        let implied = self.username.as_ref().map(|_| "sasl_plaintext".to_owned());
        if let Some(security) = self.security.clone().or(implied) {
            config.set("security.protocol", security);
        }
        if let Some(username) = &self.username {
            config.set("sasl.username", username);
            config.set("sasl.mechanism", self.mechanism.as_deref().unwrap_or("PLAIN"));
        }
        if let Some(password) = &self.password {
            config.set("sasl.password", password);
        }
        config
    }

    /// What a producer is told: nothing is answered before every in-sync copy has it, and nothing is skipped.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .remove("allow.auto.create.topics")
            .set("enable.idempotence", "true")
            // A batch that can never be stored ends this producer, rather than being passed over by its followers.
            .set("enable.gapless.guarantee", "true")
            .set("acks", "all")
            .set("max.in.flight", "5")
            // Nothing expires on its own: an idempotent producer would skip it and store what follows.
            .set("message.timeout.ms", "0")
            // Partitions are named explicitly; whoever copies these settings should at least agree with Java.
            .set("partitioner", "murmur2_random")
            .set("message.max.bytes", self.max_batch_bytes().to_string())
            // The window in front of it is smaller, so that its queue is never full.
            .set("queue.buffering.max.messages", (2 * self.publish_window).max(1_000).to_string())
            .set("queue.buffering.max.kbytes", (4 * self.publish_window_bytes / 1_024).max(65_536).to_string())
            .set("linger.ms", "2")
            .set("compression.codec", "zstd");
        self.pass_through(config)
    }

    /// What a member of a consumer group is told: where it stands is decided here, never by librdkafka.
    pub(super) fn consumer(&self, group: &str) -> ClientConfig {
        let mut config = self.reader();
        config
            .set("group.id", self.group_id(group))
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", "45000")
            .set("heartbeat.interval.ms", "3000")
            .set("max.poll.interval.ms", "300000");
        self.pass_through(config)
    }

    /// What a client is told that reads without a group, or only asks.
    pub(super) fn reader(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("check.crcs", "true")
            .set("queued.min.messages", "10000")
            .set("queued.max.messages.kbytes", "16384")
            // Looks again soon after the queue was full; the default of a second would stall a fast reader.
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.message.max.bytes", self.max_batch_bytes().to_string())
            .set("fetch.max.bytes", (4 * self.max_batch_bytes()).max(8 << 20).to_string());
        self.pass_through(config)
    }

    fn pass_through(&self, mut config: ClientConfig) -> ClientConfig {
        for (name, value) in &self.extra {
            config.set(name, value);
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let options = KafkaOptions {
            password: Some("hunter2".into()),
            extra: [("ssl.key.password".into(), "hunter2".into())].into(),
            ..KafkaOptions::default()
        };
        let text = format!("{options:?}");
        assert!(!text.contains("hunter2") && text.contains("ssl.key.password"), "{text}");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let bad = |change: &dyn Fn(&mut KafkaOptions)| {
            let mut options = KafkaOptions::default();
            change(&mut options);
            assert!(matches!(options.check(), Err(BrokerError::Invalid(_))), "{options:?}");
        };
        assert_eq!(KafkaOptions::default().check(), Ok(()));
        bad(&|options| options.domain = "a.b".into());
        bad(&|options| options.domain = String::new());
        bad(&|options| options.partitions = 65);
        bad(&|options| options.replicas = Some(0));
        bad(&|options| options.publish_window = 0);
    }
}
