//! What operators ask and do: status, consumers, parked events, redrive, audit, reconcile, retire. One implementation, behind
//! the HTTP surface and the command line alike.

mod acted;
mod audit;
mod reconcile;
mod retire;
#[cfg(test)]
mod tests;

pub use acted::{Acted, Actor, OPERATOR_ACTED, TIDEWIRE_ACTOR};
pub use audit::{Audit, AuditedConsumer};
pub use retire::{Folded, Hold, Retirement};

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tidewire_core::broker::{Extent, Features, Lag};
use tidewire_core::handler::{Consumer, Kind};
use tidewire_core::store::{Parked, ParkedQuery, StoreInfo};
use tidewire_core::{BrokerError, Commit, Committed, Handler, Key, Mark, Position, Seen, StoreError, Unit, Unpark};

use crate::consume::{ConsumeLoop, ConsumeOptions};
use crate::ports::Ports;
use crate::reconcile::CompareError;
use crate::relay::{Relay, RelayOptions};

/// How often a redrive is done again at once after losing a race.
const MAX_CONFLICTS: u32 = 20;

/// The operators' view of a set of handlers on their ports.
#[derive(Clone)]
pub struct Operator {
    ports: Ports,
    handlers: Arc<Vec<(Arc<dyn Handler>, String)>>,
    options: ConsumeOptions,
    relays: Arc<Vec<RelayOptions>>,
    folded: Arc<Vec<Folded>>,
}

/// Why an operator's request failed.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// No such consumer.
    #[error("there is no consumer `{name}`; there are: {known}")]
    NoConsumer {
        /// What was asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The relay could not do what it was asked, or another request came in between.
    #[error("{reason}")]
    Relay {
        /// The stable code.
        code: String,
        /// Why.
        reason: String,
    },
}

impl From<CompareError> for OperateError {
    fn from(error: CompareError) -> Self {
        match error {
            CompareError::Store(error) => Self::Store(error),
            CompareError::Broker(error) => Self::Broker(error),
        }
    }
}

impl OperateError {
    /// The stable code.
    pub fn code(&self) -> &str {
        match self {
            Self::Store(error) => error.code(),
            Self::Broker(error) => error.code(),
            Self::NoConsumer { .. } => "consumer.not_found",
            Self::Relay { code, .. } => code,
        }
    }
}

/// A process and what it stands on, at a glance.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The build's version.
    pub version: &'static str,
    /// Now, by the process' clock.
    pub time: DateTime<Utc>,
    /// The store.
    pub store: StoreInfo,
    /// The broker's abilities.
    pub broker: Features,
    /// Which record the broker keeps, and how far it reaches.
    pub extent: Extent,
    /// The relay, shard by shard.
    pub relays: Vec<RelayRow>,
    /// Every consumer.
    pub consumers: Vec<ConsumerRow>,
    /// Parked events in all.
    pub parked: u64,
}

/// One shard of the relay.
#[derive(Clone, Debug, Serialize)]
pub struct RelayRow {
    /// The shard, such as `0of1`.
    pub shard: String,
    /// Everything of this shard up to here is on the broker. Saved behind the relay's back, so it may be further.
    pub position: Position,
    /// Positions between that and the head of the log.
    pub behind: u64,
}

/// A consumer in numbers.
#[derive(Clone, Debug, Serialize)]
pub struct ConsumerRow {
    /// Its name.
    pub name: String,
    /// What sort of handler it is.
    pub kind: Kind,
    /// The types it reads.
    pub types: Vec<String>,
    /// Events handled so far.
    pub handled: u64,
    /// Events the broker has yet to see acknowledged.
    pub pending: u64,
    /// Of these, handed out.
    pub in_flight: u64,
    /// Of these, waiting for their retry.
    pub retrying: u64,
    /// Events parked.
    pub parked: u64,
    /// Processes that consume now.
    pub members: u32,
}

/// What became of one parked event.
#[derive(Clone, Debug, Serialize)]
pub struct Redriven {
    /// The event.
    pub id: String,
    /// Its key.
    pub key: Key,
    /// Its number among the parked.
    pub ordinal: u64,
    /// Handled now, or already.
    pub handled: bool,
    /// Why not, if not. The event stays parked, and what follows on its key with it.
    pub error: Option<String>,
}

impl Operator {
    /// An operator over `handlers`, each with the source its events are emitted as.
    pub fn new(ports: &Ports, handlers: Vec<(Arc<dyn Handler>, String)>, options: ConsumeOptions) -> Self {
        let readers = handlers.iter().map(|(handler, _)| handler.consumer()).collect();
        let relays = vec![RelayOptions { readers, ..RelayOptions::default() }];
        let folded = Arc::default();
        Self { ports: ports.clone(), handlers: Arc::new(handlers), options, relays: Arc::new(relays), folded }
    }

    /// With the relays that run on these ports, one for each shard. Otherwise it is one, as by default.
    pub fn with_relays(mut self, relays: Vec<RelayOptions>) -> Self {
        self.relays = Arc::new(relays);
        self
    }

    fn relays(&self) -> impl Iterator<Item = Relay> + '_ {
        self.relays.iter().map(|options| Relay::new(&self.ports, options.clone()))
    }

    fn readers(&self) -> Vec<Consumer> {
        self.handlers.iter().map(|(handler, _)| handler.consumer()).collect()
    }

    /// How long the broker keeps events.
    fn retention(&self) -> std::time::Duration {
        self.relays.first().map_or(RelayOptions::default().retention, |relay| relay.retention)
    }

    /// The ports operated on.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Everything at a glance.
    pub async fn status(&self) -> Result<Status, OperateError> {
        let consumers = self.consumers().await?;
        let store = self.ports.store.info().await?;
        let mut relays = Vec::new();
        for relay in self.relays() {
            let position = relay.position().await?;
            let behind = store.head.0.saturating_sub(position.0);
            relays.push(RelayRow { shard: relay.shard(), position, behind });
        }
        Ok(Status {
            version: env!("CARGO_PKG_VERSION"),
            time: self.ports.clock.now(),
            store,
            broker: self.ports.broker.features(),
            extent: self.ports.broker.extent().await?,
            relays,
            parked: consumers.iter().map(|consumer| consumer.parked).sum(),
            consumers,
        })
    }

    /// Every consumer of this build, in the order of names.
    pub async fn consumers(&self) -> Result<Vec<ConsumerRow>, OperateError> {
        let lag: HashMap<String, Lag> =
            self.ports.broker.lag().await?.into_iter().map(|lag| (lag.group.clone(), lag)).collect();
        let parked: HashMap<String, u64> = self.ports.store.parked_counts().await?.into_iter().collect();
        let mut rows = Vec::with_capacity(self.handlers.len());
        for (handler, _) in self.handlers.iter() {
            let consumer = handler.consumer();
            let lag = lag.get(&consumer.name);
            rows.push(ConsumerRow {
                kind: consumer.kind,
                types: consumer.types.iter().map(ToString::to_string).collect(),
                handled: self.ports.store.handled(&consumer.name).await?,
                pending: lag.map_or(0, |lag| lag.pending),
                in_flight: lag.map_or(0, |lag| lag.in_flight),
                retrying: lag.map_or(0, |lag| lag.retrying),
                parked: parked.get(&consumer.name).copied().unwrap_or_default(),
                members: lag.map_or(0, |lag| lag.members),
                name: consumer.name,
            });
        }
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(rows)
    }

    /// Parked events, in order.
    pub async fn parked(&self, query: &ParkedQuery) -> Result<Vec<Parked>, OperateError> {
        Ok(self.ports.store.parked(query).await?)
    }

    /// Runs the handler of `consumer` again for parked events (of one key, or of all), at most `limit`, each
    /// key in order. A key whose event fails again stays parked from that event on. Other consumers see nothing.
    pub async fn redrive(
        &self,
        consumer: &str,
        key: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Redriven>, OperateError> {
        let runner = self.runner(consumer)?;
        let mut outcomes = Vec::new();
        let mut failed: HashSet<Key> = HashSet::new();
        let mut query = ParkedQuery { consumer: Some(consumer.into()), key: key.cloned(), after: 0, limit: 100 };
        loop {
            let page = self.ports.store.parked(&query).await?;
            let Some(last) = page.last() else { return Ok(outcomes) };
            query.after = last.ordinal;
            for parked in page {
                if outcomes.len() >= limit {
                    return Ok(outcomes);
                }
                if failed.contains(&parked.envelope.key) {
                    continue;
                }
                let error = redrive_one(&self.ports, &runner, &parked).await?;
                if error.is_some() {
                    failed.insert(parked.envelope.key.clone());
                }
                outcomes.push(Redriven {
                    id: parked.envelope.id,
                    key: parked.envelope.key,
                    ordinal: parked.ordinal,
                    handled: error.is_none(),
                    error,
                });
            }
        }
    }

    fn runner(&self, consumer: &str) -> Result<ConsumeLoop, OperateError> {
        let found = self.handlers.iter().find(|(handler, _)| handler.consumer().name == consumer);
        let Some((handler, source)) = found else {
            let known: Vec<String> = self.handlers.iter().map(|(handler, _)| handler.consumer().name).collect();
            return Err(OperateError::NoConsumer { name: consumer.to_owned(), known: known.join(", ") });
        };
        Ok(ConsumeLoop::new(&self.ports, handler.clone(), source, self.options.clone()))
    }
}

/// Handles one parked event and takes it out in the same commit. Answers why it failed, if it did.
pub(crate) async fn redrive_one(
    ports: &Ports,
    runner: &ConsumeLoop,
    parked: &Parked,
) -> Result<Option<String>, StoreError> {
    let consumer = &runner.consumer.name;
    let unpark = Unpark { consumer: consumer.clone(), ordinal: parked.ordinal };
    let mark = Mark::of(&parked.envelope);
    for _ in 0..=MAX_CONFLICTS {
        let mut unit = Unit::new(ports.store.clone(), ports.clock.clone(), consumer, &runner.source);
        if let Err(failure) = runner.handle_one(&mut unit, &parked.envelope, parked.attempts + 1).await {
            return Ok(Some(failure.error.to_string()));
        }
        let mut commit = unit.into_commit();
        commit.seen.push(Seen { consumer: consumer.clone(), mark: mark.clone() });
        commit.unpark.push(unpark.clone());
        match ports.store.commit(commit).await {
            Ok(Committed::Applied { .. }) => return Ok(None),
            // Redriven by somebody else, or handled before it was parked: then only the parked row is left.
            Ok(Committed::Duplicate) => {
                let leave = Commit { unpark: vec![unpark], ..Commit::default() };
                return ports.store.commit(leave).await.map(|_| None);
            }
            Err(StoreError::Conflict(_)) => {}
            Err(error @ StoreError::Invalid(_)) => return Ok(Some(error.to_string())),
            Err(error) => return Err(error),
        }
    }
    Ok(Some("the documents it needs keep changing; try again".into()))
}
