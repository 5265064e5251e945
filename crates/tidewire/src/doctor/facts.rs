//! What there is to know, collected once.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tidewire_core::broker::Lag;
use tidewire_core::effect::{EffectPhase, EffectQuery};
use tidewire_core::saga::Status;
use tidewire_core::store::{ParkedQuery, Selection, StoreHealth, StoreInfo};
use tidewire_core::{Backoff, BrokerError, Position};

use super::latency::p99;
use crate::operate::{ConsumerRow, OperateError, Operator, RelayRow};
use crate::saga::{SagaFilter, SagaQuery};
use crate::telemetry::metrics;

/// Effects given up that are counted; beyond it there are many.
const MAX_GIVEN_UP: usize = 500;
/// Sagas that are named.
const MAX_SAGAS: usize = 5;

/// Everything the rules look at.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Now, by this process.
    pub now: DateTime<Utc>,
    /// The store.
    pub store: StoreInfo,
    /// How it is doing.
    pub health: StoreHealth,
    /// The broker's name, and what a publish to it survives.
    pub broker: (&'static str, &'static str),
    /// What somebody changed about the broker, or why that cannot be known.
    pub broker_setup: Result<(), (bool, String)>,
    /// For how long the broker keeps events.
    pub retention: Duration,
    /// The relay, shard by shard.
    pub relays: Vec<RelayRow>,
    /// How long ago the oldest event was appended that the relay has yet to publish.
    pub unpublished_for: Option<Duration>,
    /// Every consumer.
    pub consumers: Vec<ConsumerFacts>,
    /// Groups the broker knows and nobody here.
    pub strangers: Vec<Lag>,
    /// How many events one consumer may park.
    pub parked_max: u64,
    /// When the broker takes a silent delivery for lost.
    pub ack_wait: Duration,
    /// Effects given up, at most 500 counted.
    pub given_up: usize,
    /// Sagas that go neither forward nor back.
    pub sagas: Vec<SagaFacts>,
}

/// A consumer as the rules see it.
#[derive(Clone, Debug)]
pub struct ConsumerFacts {
    /// In numbers.
    pub row: ConsumerRow,
    /// The longest its handler may take.
    pub timeout: Duration,
    /// How often an event is tried.
    pub max_attempts: u32,
    /// The waits between.
    pub backoff: Backoff,
    /// What 99 of 100 tries took at most, as far as this process saw.
    pub p99: Option<Duration>,
    /// Since when its oldest parked event is parked.
    pub parked_since: Option<DateTime<Utc>>,
}

impl ConsumerFacts {
    /// The longest time from the first delivery of an event to its last: every try at its limit, every wait at its longest.
    pub fn longest_redelivery(&self) -> Duration {
        // Jitter adds at most a fifth.
        let waits = (1..self.max_attempts).map(|attempt| self.backoff.after(attempt, 40));
        let tries = self.timeout.saturating_mul(self.max_attempts);
        waits.fold(tries, Duration::saturating_add)
    }
}

/// A saga that needs a person.
#[derive(Clone, Debug)]
pub struct SagaFacts {
    /// Stuck or stalled.
    pub status: Status,
    /// How many there are.
    pub count: u64,
    /// The first of them.
    pub ids: Vec<String>,
}

impl Operator {
    /// Collects what the [`doctor`](crate::doctor) looks at: some dozens of small questions.
    pub async fn facts(&self) -> Result<Facts, OperateError> {
        let ports = self.ports();
        let status = self.status().await?;
        let known: HashSet<&str> = status.consumers.iter().map(|consumer| consumer.name.as_str()).collect();
        let lags = ports.broker.lag().await?;
        let strangers = lags.into_iter().filter(|lag| !known.contains(lag.group.as_str())).collect();
        let features = ports.broker.features();
        let broker_setup = match ports.broker.examine().await {
            Ok(()) => Ok(()),
            Err(BrokerError::Misconfigured(what)) => Err((true, what)),
            Err(error) => Err((false, error.to_string())),
        };
        let given_up = EffectQuery { phase: Some(EffectPhase::Failed), limit: MAX_GIVEN_UP, ..Default::default() };
        Ok(Facts {
            now: ports.clock.now(),
            health: ports.store.health().await?,
            broker: (features.backend, features.durability),
            broker_setup,
            retention: self.retention(),
            unpublished_for: self.unpublished_for(&status.relays, status.store.head).await?,
            consumers: self.consumer_facts(&status.consumers).await?,
            strangers,
            parked_max: self.options().parked_max,
            ack_wait: self.options().ack_wait,
            given_up: ports.store.effects(&given_up).await?.len(),
            sagas: self.saga_facts().await?,
            store: status.store,
            relays: status.relays,
        })
    }

    async fn unpublished_for(&self, relays: &[RelayRow], head: Position) -> Result<Option<Duration>, OperateError> {
        let Some(position) = relays.iter().map(|relay| relay.position).min().filter(|position| *position < head) else {
            return Ok(None);
        };
        let selection = Selection { after: position, limit: 1, ..Default::default() };
        let oldest = self.ports().store.read(&selection).await?.pop();
        let recorded = oldest.and_then(|oldest| oldest.envelope.recordedtime);
        Ok(recorded.map(|recorded| (self.ports().clock.now() - recorded).to_std().unwrap_or_default()))
    }

    async fn consumer_facts(&self, rows: &[ConsumerRow]) -> Result<Vec<ConsumerFacts>, OperateError> {
        let options = self.options();
        let (text, readers) = (metrics::render(), self.readers().await?);
        let mut facts = Vec::with_capacity(rows.len());
        for row in rows {
            let consumer = readers.iter().find(|consumer| consumer.name == row.name);
            let oldest = ParkedQuery { consumer: Some(row.name.clone()), limit: 1, ..Default::default() };
            let oldest = if row.parked > 0 { self.ports().store.parked(&oldest).await?.pop() } else { None };
            facts.push(ConsumerFacts {
                timeout: consumer.and_then(|c| c.timeout).unwrap_or(options.handler_timeout),
                max_attempts: consumer.and_then(|c| c.max_attempts).unwrap_or(options.max_attempts),
                backoff: options.backoff,
                p99: p99(&text, &row.name),
                parked_since: oldest.map(|oldest| oldest.since),
                row: row.clone(),
            });
        }
        Ok(facts)
    }

    async fn saga_facts(&self) -> Result<Vec<SagaFacts>, OperateError> {
        let query = SagaQuery::new(self.ports().store.clone());
        let mut facts = Vec::new();
        for (status, count) in query.counts().await? {
            if matches!(status, Status::Stuck | Status::Stalled) && count > 0 {
                let filter = SagaFilter { status: Some(status), limit: MAX_SAGAS, ..Default::default() };
                let ids = query.list(&filter).await?.items.into_iter().map(|saga| saga.id).collect();
                facts.push(SagaFacts { status, count, ids });
            }
        }
        Ok(facts)
    }
}

impl Facts {
    /// What could not be found out.
    pub(super) fn unknown(&self) -> Vec<String> {
        let mut unknown = Vec::new();
        if self.health.disk_free.is_none() {
            unknown.push(format!("disk room of the {} store: ask its server", self.store.backend));
        }
        if self.consumers.iter().all(|consumer| consumer.p99.is_none()) {
            unknown.push("how long handlers take: none has run in the process that was asked".into());
        }
        if let Err((false, why)) = &self.broker_setup {
            unknown.push(format!("how the broker is set up: {why}"));
        }
        unknown
    }
}
