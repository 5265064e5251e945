//! The topic: made when it is not there, and checked against what must hold.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;
use tidewire_core::BrokerError;
use tokio::time::Instant;

use super::context::Quiet;
use super::error::{from_code, from_kafka, is_unknown_topic};
use super::options::KafkaOptions;

/// How long one request of this module may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a new topic may take until it can be used.
const READY: Duration = Duration::from_secs(30);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// Makes sure that the topic is there and is as it must be. Every difference is listed.
pub(super) async fn ensure(options: &KafkaOptions) -> Result<(), BrokerError> {
    let admin =
        AdminClient::from_config_and_context(&options.reader(), Quiet).map_err(|e| from_kafka("opening", &e))?;
    let admin = std::sync::Arc::new(admin);
    if look(&admin, options).await?.is_none() {
        create(&admin, options).await?;
    }
    let started = Instant::now();
    let shape = loop {
        match look(&admin, options).await? {
            Some(shape) if shape.leaders => break shape,
            _ if started.elapsed() > READY => {
                return Err(BrokerError::Unavailable(format!("the topic `{}` has no leaders yet", options.topic())));
            }
            _ => tokio::time::sleep(LOOK).await,
        }
    };
    let topic = options.topic();
    let asked = AdminOptions::new().request_timeout(Some(PATIENCE));
    let described = admin.describe_configs(&[ResourceSpecifier::Topic(&topic)], &asked).await;
    let described = described.map_err(|e| from_kafka("describing the topic", &e))?.into_iter().next();
    let config = match described {
        Some(Ok(config)) => config,
        Some(Err(code)) => return Err(from_code("describing the topic", code)),
        None => return Err(BrokerError::Unavailable("the cluster does not describe the topic".into())),
    };
    let differences = differences(options, &shape, |name| config_value(&config, name));
    if differences.is_empty() {
        return Ok(());
    }
    Err(BrokerError::Misconfigured(format!("topic `{topic}`: {}", differences.join("; "))))
}

/// What the metadata says of the topic.
pub(super) struct Shape {
    pub partitions: usize,
    pub replicas: usize,
    /// Every partition has one.
    pub leaders: bool,
}

/// The topic in what was fetched; `None` when it is not there.
pub(super) fn shape(metadata: &Metadata, topic: &str) -> Result<Option<Shape>, BrokerError> {
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
    if let Some(code) = found.error().map(RDKafkaErrorCode::from) {
        return match code {
            code if is_unknown_topic(code) => Ok(None),
            RDKafkaErrorCode::LeaderNotAvailable => Ok(Some(Shape { partitions: 0, replicas: 0, leaders: false })),
            code => Err(from_code("looking for the topic", code)),
        };
    }
    let partitions = found.partitions();
    Ok(Some(Shape {
        partitions: partitions.len(),
        replicas: partitions.iter().map(|partition| partition.replicas().len()).min().unwrap_or(0),
        leaders: !partitions.is_empty() && partitions.iter().all(|partition| partition.leader() >= 0),
    }))
}

async fn look(
    admin: &std::sync::Arc<AdminClient<Quiet>>,
    options: &KafkaOptions,
) -> Result<Option<Shape>, BrokerError> {
    let (admin, topic) = (admin.clone(), options.topic());
    // All topics, because asking for one by name makes it on clusters that create topics by themselves.
    let look = move || {
        let metadata =
            admin.inner().fetch_metadata(None, PATIENCE).map_err(|e| from_kafka("reaching the cluster", &e))?;
        shape(&metadata, &topic)
    };
    tokio::task::spawn_blocking(look).await.unwrap_or(Err(BrokerError::Closed))
}

async fn create(admin: &AdminClient<Quiet>, options: &KafkaOptions) -> Result<(), BrokerError> {
    let topic = options.topic();
    let replicas = options.replicas.map_or(-1, i32::from);
    let settings = settings(options);
    let partitions = i32::try_from(options.partitions).unwrap_or(i32::MAX);
    let mut new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(replicas));
    for (name, value) in &settings {
        new = new.set(name, value);
    }
    let asked = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
    let created = admin.create_topics([&new], &asked).await.map_err(|e| from_kafka("creating the topic", &e))?;
    match created.into_iter().next() {
        // Another process was faster.
        Some(Ok(_)) | None | Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
        Some(Err((_, code @ (RDKafkaErrorCode::InvalidReplicationFactor | RDKafkaErrorCode::InvalidConfig)))) => {
            Err(BrokerError::Misconfigured(format!("the topic `{topic}` cannot be created: {code}")))
        }
        Some(Err((_, code))) => Err(from_code("creating the topic", code)),
    }
}

/// What a new topic is told.
fn settings(options: &KafkaOptions) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("cleanup.policy", "delete".to_owned()),
        ("retention.ms", options.retention_age.as_millis().to_string()),
        ("retention.bytes", options.retention_bytes.map_or("-1".to_owned(), |bytes| bytes.to_string())),
        ("max.message.bytes", options.max_batch_bytes().to_string()),
        ("unclean.leader.election.enable", "false".to_owned()),
    ];
    if let Some(min_insync) = options.min_insync {
        settings.push(("min.insync.replicas", min_insync.to_string()));
    }
    settings
}

fn config_value(config: &ConfigResource, name: &str) -> Option<String> {
    config.get(name).and_then(|entry| entry.value.clone())
}

/// What differs from what must hold. More room, more copies and a longer memory than asked for are no harm.
fn differences(options: &KafkaOptions, shape: &Shape, value: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut all = Vec::new();
    if shape.partitions != options.partitions as usize {
        all.push(format!("it has {} partitions, expected {}", shape.partitions, options.partitions));
    }
    if let Some(replicas) = options.replicas
        && shape.replicas < usize::from(replicas)
    {
        all.push(format!("it has {} replicas, expected {replicas}", shape.replicas));
    }
    let mut exactly = |name: &str, wanted: &str| {
        let found = value(name);
        if found.as_deref() != Some(wanted) {
            all.push(format!("{name} is {}, expected {wanted}", found.as_deref().unwrap_or("unknown")));
        }
    };
    exactly("cleanup.policy", "delete");
    exactly("unclean.leader.election.enable", "false");
    let mut at_least = |name: &str, wanted: Option<u128>| {
        let found = value(name);
        let number = found.as_deref().and_then(|text| text.parse::<i128>().ok());
        // Without bounds: -1.
        let enough = match (number, wanted) {
            (Some(-1), _) => true,
            (Some(number), Some(wanted)) => u128::try_from(number).is_ok_and(|number| number >= wanted),
            (_, None) | (None, _) => false,
        };
        if !enough {
            let wanted = wanted.map_or("no bound (-1)".to_owned(), |wanted| format!("at least {wanted}"));
            all.push(format!("{name} is {}, expected {wanted}", found.as_deref().unwrap_or("unknown")));
        }
    };
    at_least("retention.ms", Some(options.retention_age.as_millis()));
    at_least("retention.bytes", options.retention_bytes.map(u128::from));
    at_least("max.message.bytes", Some(options.max_batch_bytes() as u128));
    if let Some(min_insync) = options.min_insync {
        at_least("min.insync.replicas", Some(u128::from(min_insync)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_listed() {
        let options = KafkaOptions { replicas: Some(3), min_insync: Some(2), ..KafkaOptions::default() };
        let good = settings(&options);
        let found = |changed: &[(&str, &str)], shape: Shape| {
            differences(&options, &shape, |name| {
                let changed = changed.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
                changed.or_else(|| good.iter().find(|(other, _)| *other == name).map(|(_, value)| value.clone()))
            })
        };
        let shape = |partitions, replicas| Shape { partitions, replicas, leaders: true };
        assert_eq!(found(&[], shape(64, 3)), [""; 0]);
        assert_eq!(found(&[("retention.ms", "-1"), ("max.message.bytes", "99999999")], shape(64, 5)), [""; 0]);
        for (name, value) in [
            ("cleanup.policy", "compact,delete"),
            ("unclean.leader.election.enable", "true"),
            ("retention.ms", "1000"),
            ("retention.bytes", "1000"),
            ("max.message.bytes", "1000"),
            ("min.insync.replicas", "1"),
        ] {
            let differences = found(&[(name, value)], shape(64, 3));
            assert!(
                differences.len() == 1 && differences[0].starts_with(&format!("{name} is {value}")),
                "{differences:?}"
            );
        }
        assert_eq!(found(&[("retention.ms", "1")], shape(12, 1)).len(), 3);
    }
}
