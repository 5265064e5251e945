//! Apache Kafka.
//!
//! ```text
//!  publish ─► producer ──► topic tidewire.<domain> ──► a thread per group ─► hand ─► seats
//!                          partition = bucket % N            │
//!                                 ▲                          │ places, once a second
//!                                 └──── consumer group ◄─────┘
//! ```
//!
//! One topic; the bucket of a key says which partition, and so a key's events are in one, in order. Kafka hands whole
//! partitions to processes, and within a process the hand keeps a key with one seat.
//!
//! **What Kafka does not do is done here**: retries are kept in hand, where they hold back their key and nothing else;
//! what was finished out of order is committed as text beside the offset; and so is what may have been handed out, so
//! that an event that kills its process is told apart from those that only waited behind it (see `track`).
//!
//! **What nobody does**: Kafka does not recognise an event that is published again with the same id; it is delivered
//! again, and the inbox drops it.

mod binding;
mod context;
mod desk;
mod error;
mod forget;
mod group;
mod lag;
mod options;
mod places;
mod publish;
mod reader;
mod scan;
#[cfg(test)]
mod tests;
mod topic;
mod track;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tidewire_core::broker::{Extent, Features, Lag, Published, Subscribe};
use tidewire_core::{Broker, BrokerError, Clock, Envelope, Subscription};
use tokio::time::Instant;

use self::desk::Desk;
use self::group::Group;
pub use self::options::KafkaOptions;
use self::publish::Publisher;
use self::scan::Scan;

/// How long closing waits for what is on its way, and for each group to hand over.
const CLOSING: Duration = Duration::from_secs(5);
/// How long a new seat waits for the group's last reader to be gone.
const LEAVING: Duration = Duration::from_secs(10);
/// How often the topic's name is written again. Clusters forget the place of an empty group after seven days.
const NAMING: Duration = Duration::from_secs(60 * 60);

/// Kafka behind the port. See [`Broker`] for what it promises; here it means:
///
/// - *Durability*: an answer says that every in-sync replica has the event, in memory of its machine. Kafka writes to
///   disk later, so that it survives machines one at a time, and a power loss of all only where `flush.messages=1`.
/// - *In flight*: [`Subscribe::max_in_flight`] bounds each process of a group; Kafka knows no bound over all.
/// - *Attempts* are counted by the process that has the event in hand. After it is gone, an event that it may have
///   handed out is delivered with `attempt` 2.
/// - *Retention* goes by age and size, whoever has read; a group that nobody was in for seven days
///   (`offsets.retention.minutes`) starts from the beginning again.
pub struct KafkaBroker {
    options: KafkaOptions,
    clock: Arc<dyn Clock>,
    publisher: Publisher,
    desk: Arc<Desk>,
    groups: Mutex<HashMap<String, Arc<Group>>>,
    scan: Arc<Mutex<Option<Scan>>>,
    named: Mutex<Option<Instant>>,
    closed: AtomicBool,
}

impl KafkaBroker {
    /// Connects, makes the topic if it is not there, and checks it.
    ///
    /// Fails with [`BrokerError::Misconfigured`] where the topic is not as the options say (every difference is named),
    /// [`BrokerError::Denied`] where the cluster refuses the credentials, [`BrokerError::Unavailable`] where it cannot
    /// be reached, [`BrokerError::Invalid`] for options that make no sense.
    pub async fn open(options: KafkaOptions, clock: Arc<dyn Clock>) -> Result<Arc<Self>, BrokerError> {
        options.check()?;
        topic::ensure(&options).await?;
        Self::on_topic(options, clock)
    }

    /// On a topic that is as it must be.
    fn on_topic(options: KafkaOptions, clock: Arc<dyn Clock>) -> Result<Arc<Self>, BrokerError> {
        Ok(Arc::new(Self {
            publisher: Publisher::new(&options),
            desk: Arc::new(Desk::new(&options)?),
            groups: Mutex::default(),
            scan: Arc::default(),
            named: Mutex::default(),
            closed: AtomicBool::new(false),
            options,
            clock,
        }))
    }

    fn check_open(&self) -> Result<(), BrokerError> {
        if self.closed.load(Ordering::Acquire) { Err(BrokerError::Closed) } else { Ok(()) }
    }

    /// The group of that name, at work; or the one that must be gone first.
    fn group(&self, request: &Subscribe) -> Result<Result<group::Seat, Arc<Group>>, BrokerError> {
        let mut groups = unpoisoned(&self.groups);
        self.check_open()?;
        if let Some(group) = groups.get(&request.group) {
            match group.join(request) {
                Some(seat) => return Ok(Ok(seat)),
                None if !group.has_ended() => return Ok(Err(group.clone())),
                None => {}
            }
        }
        let group = Arc::new(Group::new(request));
        let seat = group.join(request).ok_or(BrokerError::Closed)?;
        reader::start(&self.options, &group)?;
        groups.retain(|_, group| !group.has_ended());
        groups.insert(request.group.clone(), group);
        Ok(Ok(seat))
    }

    /// Asks the cluster something, where waiting is allowed.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Desk) -> Result<T, BrokerError> + Send + 'static,
    ) -> Result<T, BrokerError> {
        self.check_open()?;
        let desk = self.desk.clone();
        let asked = tokio::task::spawn_blocking(move || question(&desk)).await;
        asked.unwrap_or_else(|error| Err(BrokerError::Unavailable(error.to_string())))
    }

    /// Whether the topic's name must be written again.
    fn is_naming_due(&self) -> bool {
        let mut named = unpoisoned(&self.named);
        let due = named.is_none_or(|named| named.elapsed() >= NAMING);
        if due {
            *named = Some(Instant::now());
        }
        due
    }
}

#[async_trait]
impl Broker for KafkaBroker {
    async fn publish(&self, batch: Vec<Envelope>) -> Vec<Result<Published, BrokerError>> {
        if self.publisher.lost_its_topic()
            && let Err(error) = topic::ensure(&self.options).await
        {
            return batch.iter().map(|_| Err(error.clone())).collect();
        }
        self.publisher.publish(batch).await
    }

    async fn subscribe(&self, request: Subscribe) -> Result<Box<dyn Subscription>, BrokerError> {
        crate::embedded::admin::check(&request)?;
        let deadline = Instant::now() + LEAVING;
        loop {
            match self.group(&request)? {
                Ok(seat) => return Ok(Box::new(seat)),
                Err(leaving) => {
                    let gone = tokio::time::timeout_at(deadline, leaving.until_ended()).await;
                    let busy = |_| BrokerError::Unavailable("the group's last reader is still leaving".into());
                    gone.map_err(busy)?;
                }
            }
        }
    }

    async fn forget(&self, group: &str) -> Result<(), BrokerError> {
        if unpoisoned(&self.groups).get(group).is_some_and(|group| !group.has_ended()) {
            return Err(BrokerError::Unavailable(format!("the group `{group}` has members")));
        }
        forget::forget(&self.options, group).await
    }

    async fn lag(&self) -> Result<Vec<Lag>, BrokerError> {
        let groups: Vec<_> = unpoisoned(&self.groups).values().filter(|group| !group.has_ended()).cloned().collect();
        self.ask(move |desk| lag::lag(desk, &groups)).await
    }

    /// Oldest first in every partition, and so for every key. Records that are no events are left out, and logged.
    async fn scan(&self, cursor: Option<String>, limit: usize) -> Result<(Vec<Envelope>, Option<String>), BrokerError> {
        let (options, kept) = (self.options.clone(), self.scan.clone());
        self.ask(move |desk| scan::page(&options, desk, &mut unpoisoned(&kept), cursor, limit)).await
    }

    async fn extent(&self) -> Result<Extent, BrokerError> {
        let (fresh, keep) = (self.clock.id().to_string(), self.is_naming_due());
        let look = move |desk: &Desk| {
            let extent = desk.extent(&fresh)?;
            if keep {
                desk.keep_name(&fresh)?;
            }
            Ok(extent)
        };
        match self.ask(look.clone()).await {
            // The topic is gone: another one is another record.
            Err(BrokerError::Misconfigured(_)) => {
                topic::ensure(&self.options).await?;
                self.ask(look).await
            }
            found => found,
        }
    }

    fn features(&self) -> Features {
        Features {
            backend: "kafka",
            durability: "os",
            multi_process: true,
            delayed_retry: true,
            durable_attempts: false,
            max_event_bytes: self.options.max_event_bytes,
            dedupe_window_events: 0,
        }
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let groups: Vec<Arc<Group>> = unpoisoned(&self.groups).drain().map(|(_, group)| group).collect();
        groups.iter().for_each(|group| group.end(true));
        self.publisher.close(CLOSING).await;
        let ended = futures::future::join_all(groups.iter().map(|group| group.until_ended()));
        if tokio::time::timeout(CLOSING, ended).await.is_err() {
            tracing::warn!("a group's reader is still leaving; the cluster will notice that it is gone");
        }
        let scan = self.scan.clone();
        let _ = tokio::task::spawn_blocking(move || drop(unpoisoned(&scan).take())).await;
    }
}

impl Drop for KafkaBroker {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
        unpoisoned(&self.groups).drain().for_each(|(_, group)| group.end(true));
    }
}

/// Nothing panics while it holds one of these locks.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
