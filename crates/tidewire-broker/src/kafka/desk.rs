//! Questions to the cluster: what it is, how far its partitions reach, where groups stand.
//!
//! Everything here blocks; callers put it where that is allowed.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tidewire_core::BrokerError;
use tidewire_core::broker::Extent;

use super::context::Quiet;
use super::error::{from_kafka, is_unknown_topic};
use super::options::KafkaOptions;
use super::track::{Mark, Track};
use super::unpoisoned;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many events of a client nobody else polls are dealt with at each use.
const EVENTS: usize = 64;
/// The most groups whose place is looked up.
const MAX_GROUPS: usize = 1_024;
/// What the text of the record's name begins with.
const NAME: &str = "tidewire:";

/// Asks, under the name of the installation.
pub(super) struct Desk {
    options: KafkaOptions,
    topic: String,
    client: BaseConsumer<Quiet>,
    /// A client per group: only under its name can a group's place be asked for.
    observers: Mutex<HashMap<String, BaseConsumer<Quiet>>>,
}

/// Where a group stands with Kafka.
pub(super) struct Standing {
    pub group: String,
    /// Members of the consumer group: processes.
    pub members: u32,
}

impl Desk {
    pub(super) fn new(options: &KafkaOptions) -> Result<Self, BrokerError> {
        let (options, topic) = (options.clone(), options.topic());
        let client = client(&options, &topic)?;
        Ok(Self { options, topic, client, observers: Mutex::default() })
    }

    fn partitions(&self) -> impl Iterator<Item = i32> + use<> {
        0..i32::try_from(self.options.partitions).unwrap_or(0)
    }

    /// What the topic can still give, and what it was given: the oldest offset of each partition, or the end.
    pub(super) fn watermarks(&self, which: Offset) -> Result<HashMap<i32, i64>, BrokerError> {
        serve(&self.client);
        let partitions: Vec<i32> = self.partitions().collect();
        watermarks(&self.client, &self.topic, &partitions, which)
    }

    /// Names the record. Kafka knows clusters by an id and topics by another, which librdkafka does not tell; so the
    /// topic is given a name by us, where it is lost with the topic: as the place of a group in it. `fresh` is the name
    /// it gets if it has none.
    pub(super) fn extent(&self, fresh: &str) -> Result<Extent, BrokerError> {
        let highs = self.watermarks(Offset::End)?;
        let last = highs.values().map(|high| u64::try_from(*high).unwrap_or(0)).sum();
        let cluster = self.client.client().fetch_cluster_id(PATIENCE);
        let cluster = cluster.ok_or_else(|| BrokerError::Unavailable("the cluster does not say which it is".into()))?;
        let name = match self.name()? {
            Some(name) => name,
            None => {
                self.put_name(fresh)?;
                self.name()?.unwrap_or_else(|| fresh.to_owned())
            }
        };
        Ok(Extent { incarnation: format!("{cluster}/{name}"), last })
    }

    /// Writes the topic's name again, before the cluster forgets the place of a group that nobody is in.
    pub(super) fn keep_name(&self, fresh: &str) -> Result<(), BrokerError> {
        let name = self.name()?;
        self.put_name(name.as_deref().unwrap_or(fresh))
    }

    fn name(&self) -> Result<Option<String>, BrokerError> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, 0);
        let committed = self.client.committed_offsets(list, PATIENCE);
        let committed = committed.map_err(|failure| from_kafka("asking for the record's name", &failure))?;
        Ok(committed.elements().first().and_then(|element| element.metadata().strip_prefix(NAME).map(str::to_owned)))
    }

    fn put_name(&self, name: &str) -> Result<(), BrokerError> {
        let mut list = TopicPartitionList::new();
        let mut element = list.add_partition(&self.topic, 0);
        element.set_metadata(format!("{NAME}{name}"));
        let zero = element.set_offset(Offset::Offset(0));
        let put = zero.and_then(|()| self.client.commit(&list, CommitMode::Sync));
        put.map_err(|failure| from_kafka("naming the record", &failure))
    }

    /// Every consumer group of this installation.
    pub(super) fn standings(&self) -> Result<Vec<Standing>, BrokerError> {
        serve(&self.client);
        let prefix = self.options.group_prefix();
        let list = self.client.fetch_group_list(None, PATIENCE);
        let list = list.map_err(|failure| from_kafka("asking for the groups", &failure))?;
        let ours = list.groups().iter().filter_map(|group| {
            let name = group.name().strip_prefix(&prefix)?;
            let members = u32::try_from(group.members().len()).unwrap_or(u32::MAX);
            Some(Standing { group: name.to_owned(), members })
        });
        Ok(ours.take(MAX_GROUPS).collect())
    }

    /// How many events a group has finished in each partition, counted from its first offset.
    pub(super) fn finished(&self, group: &str) -> Result<HashMap<i32, (i64, i64)>, BrokerError> {
        let mut observers = unpoisoned(&self.observers);
        if !observers.contains_key(group) {
            if observers.len() >= MAX_GROUPS {
                observers.clear();
            }
            observers.insert(group.to_owned(), client(&self.options, &self.options.group_id(group))?);
        }
        let Some(observer) = observers.get(group) else { return Ok(HashMap::new()) };
        serve(observer);
        let mut list = TopicPartitionList::new();
        for partition in self.partitions() {
            list.add_partition(&self.topic, partition);
        }
        let committed = observer.committed_offsets(list, PATIENCE);
        let committed = committed.map_err(|failure| from_kafka("asking for a group's place", &failure))?;
        let places = committed.elements().into_iter().filter_map(|element| {
            let Offset::Offset(next) = element.offset() else { return None };
            let beyond = Mark::parse(next, element.metadata()).map_or(0, |mark| Track::done_beyond(&mark));
            Some((element.partition(), (next, beyond)))
        });
        Ok(places.collect())
    }
}

/// A client that never joins its group.
pub(super) fn client(options: &KafkaOptions, group: &str) -> Result<BaseConsumer<Quiet>, BrokerError> {
    let mut config = options.reader();
    config.set("group.id", group);
    BaseConsumer::from_config_and_context(&config, Quiet).map_err(|failure| from_kafka("opening", &failure))
}

/// Lets a client that nobody polls say what it has to say.
fn serve(client: &BaseConsumer<Quiet>) {
    for _ in 0..EVENTS {
        let _ = client.poll(Duration::ZERO);
    }
}

/// The oldest offset of each partition ([`Offset::Beginning`]) or the end ([`Offset::End`]): one request to each broker.
pub(super) fn watermarks<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    topic: &str,
    partitions: &[i32],
    which: Offset,
) -> Result<HashMap<i32, i64>, BrokerError> {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        // The protocol takes these two in the place of a time.
        let asked = list.add_partition_offset(topic, *partition, which);
        asked.map_err(|failure| from_kafka("asking how far the topic reaches", &failure))?;
    }
    let failed = |failure: &KafkaError| match failure.rdkafka_error_code() {
        Some(code) if is_unknown_topic(code) => BrokerError::Misconfigured(format!("there is no topic `{topic}`")),
        _ => from_kafka("asking how far the topic reaches", failure),
    };
    let found = client.offsets_for_times(list, PATIENCE).map_err(|failure| failed(&failure))?;
    let mut all = HashMap::new();
    for element in found.elements() {
        element.error().map_err(|failure| failed(&failure))?;
        if let Offset::Offset(offset) = element.offset() {
            all.insert(element.partition(), offset);
        }
    }
    Ok(all)
}
