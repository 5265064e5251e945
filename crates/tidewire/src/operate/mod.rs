//! What operators ask and do: status, consumers, parked events, redrive, audit, reconcile, retire. One implementation, behind
//! the HTTP surface and the command line alike.

mod acted;
mod amend;
mod audit;
#[cfg(test)]
mod desk_tests;
mod effects;
mod parked;
mod pause;
mod reconcile;
mod redrive;
mod retire;
#[cfg(test)]
mod tests;
mod turn;
mod why;

pub use acted::{Acted, Actor, OPERATOR_ACTED, TIDEWIRE_ACTOR};
pub use amend::{Dropped, EDITED_FROM, Edited};
pub use audit::{Audit, AuditedConsumer};
pub use effects::{EffectRow, MAX_RETRIED};
pub use parked::{ParkedGroup, ParkedGroups, ParkedSelection, Tried};
pub(crate) use redrive::redrive_one;
pub use redrive::{Redrive, RedriveReport, Redriven};
pub use retire::{Folded, Hold, Retirement};
pub use why::{Node, Outcome, SagaPart, Why, Word};

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tidewire_core::broker::{Extent, Features, Lag};
use tidewire_core::handler::{Consumer, Kind};
use tidewire_core::store::{Parked, ParkedQuery, StoreInfo};
use tidewire_core::{BrokerError, Position, StoreError};

use crate::consume::{ConsumeLoop, ConsumeOptions, Paused, pauses};
use crate::ports::Ports;
use crate::reconcile::CompareError;
use crate::relay::{Relay, RelayOptions};
use crate::replay::{Domains, Elsewhere, Replays};
use crate::roster::{Directory, Enrolled};

/// The operators' view of a set of handlers on their ports.
#[derive(Clone)]
pub struct Operator {
    ports: Ports,
    handlers: Arc<Vec<Enrolled>>,
    directory: Option<Arc<dyn Directory>>,
    domains: Option<Arc<dyn Domains>>,
    elsewhere: Arc<Vec<Arc<dyn Elsewhere>>>,
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
    /// Somebody else is at work on the parked events of this consumer. Try again when he is done.
    #[error("somebody else is at work on the parked events of `{consumer}`; try again when he is done")]
    Busy {
        /// The consumer.
        consumer: String,
    },
    /// Nothing is parked under this number.
    #[error("nothing is parked under {ordinal}")]
    NotParked {
        /// The number.
        ordinal: u64,
    },
    /// The parked event was redriven, edited or dropped meanwhile.
    #[error("what was parked under {ordinal} was redriven, edited or dropped meanwhile")]
    Changed {
        /// The number.
        ordinal: u64,
    },
    /// What was asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
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
            Self::Busy { .. } => "parked.busy",
            Self::NotParked { .. } => "http.not_found",
            Self::Changed { .. } => "parked.changed",
            Self::Invalid(_) => "http.invalid",
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
    /// The types it reads, each with the newest version it knows.
    pub types: Vec<String>,
    /// Where in the data it looks, by the name of a type; of a type that is not here it reads everything.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub places: BTreeMap<String, Vec<String>>,
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
    /// Since when and why it is paused, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
}

impl Operator {
    /// An operator over `handlers`, each with the source its events are emitted as.
    pub fn new(ports: &Ports, handlers: Vec<Enrolled>, options: ConsumeOptions) -> Self {
        let readers = handlers.iter().map(|(handler, _)| handler.consumer()).collect();
        let relays = vec![RelayOptions { readers, ..RelayOptions::default() }];
        let folded = Arc::default();
        let handlers = Arc::new(handlers);
        Self {
            ports: ports.clone(),
            handlers,
            directory: None,
            domains: None,
            elsewhere: Arc::default(),
            options,
            relays: Arc::new(relays),
            folded,
        }
    }

    /// With consumers that come and go beside those of the build.
    pub fn with_directory(mut self, directory: Arc<dyn Directory>) -> Self {
        self.directory = Some(directory);
        self
    }

    /// With the relays that run on these ports, one for each shard. Otherwise it is one, as by default.
    pub fn with_relays(mut self, relays: Vec<RelayOptions>) -> Self {
        self.relays = Arc::new(relays);
        self
    }

    /// With what opens the broker under other domains, for replays.
    pub fn with_domains(mut self, domains: Arc<dyn Domains>) -> Self {
        self.domains = Some(domains);
        self
    }

    /// With projections that are not documents, for replays.
    pub fn with_elsewhere(mut self, elsewhere: Vec<Arc<dyn Elsewhere>>) -> Self {
        self.elsewhere = Arc::new(elsewhere);
        self
    }

    /// The desk of replays, over the same handlers.
    pub fn replays(&self) -> Replays {
        let replays = Replays::new(&self.ports, self.handlers.to_vec(), self.options.clone())
            .with_elsewhere(self.elsewhere.to_vec());
        match &self.domains {
            Some(domains) => replays.with_domains(domains.clone()),
            None => replays,
        }
    }

    fn relays(&self) -> impl Iterator<Item = Relay> + '_ {
        self.relays.iter().map(|options| Relay::new(&self.ports, options.clone()))
    }

    /// Every consumer there is now.
    async fn enrolled(&self) -> Result<Vec<Enrolled>, StoreError> {
        let mut all = self.handlers.to_vec();
        if let Some(directory) = &self.directory {
            all.extend(directory.enrolled().await?);
        }
        Ok(all)
    }

    pub(crate) async fn readers(&self) -> Result<Vec<Consumer>, StoreError> {
        Ok(self.enrolled().await?.iter().map(|(handler, _)| handler.consumer()).collect())
    }

    /// How consumers are run.
    pub(crate) fn options(&self) -> &ConsumeOptions {
        &self.options
    }

    /// How long the broker keeps events.
    pub(crate) fn retention(&self) -> std::time::Duration {
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
        let relays = self.relays_at().await?;
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

    /// Every shard of the relay.
    pub async fn relays_at(&self) -> Result<Vec<RelayRow>, OperateError> {
        let head = self.ports.store.head().await?;
        let mut relays = Vec::new();
        for relay in self.relays() {
            let position = relay.position().await?;
            let behind = head.0.saturating_sub(position.0);
            relays.push(RelayRow { shard: relay.shard(), position, behind });
        }
        Ok(relays)
    }

    /// Every consumer, in the order of names: those of this build, and those that come and go.
    pub async fn consumers(&self) -> Result<Vec<ConsumerRow>, OperateError> {
        let lag: HashMap<String, Lag> =
            self.ports.broker.lag().await?.into_iter().map(|lag| (lag.group.clone(), lag)).collect();
        let parked: HashMap<String, u64> = self.ports.store.parked_counts().await?.into_iter().collect();
        let mut paused = pauses::paused(self.ports.store.as_ref()).await?;
        let readers = self.readers().await?;
        let mut rows = Vec::with_capacity(readers.len());
        for consumer in readers {
            let lag = lag.get(&consumer.name);
            rows.push(ConsumerRow {
                kind: consumer.kind,
                types: consumer.types.iter().map(ToString::to_string).collect(),
                places: consumer.places.clone(),
                handled: self.ports.store.handled(&consumer.name).await?,
                pending: lag.map_or(0, |lag| lag.pending),
                in_flight: lag.map_or(0, |lag| lag.in_flight),
                retrying: lag.map_or(0, |lag| lag.retrying),
                parked: parked.get(&consumer.name).copied().unwrap_or_default(),
                members: lag.map_or(0, |lag| lag.members),
                paused: paused.remove(&consumer.name),
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

    async fn runner(&self, consumer: &str) -> Result<ConsumeLoop, OperateError> {
        let all = self.enrolled().await?;
        let found = all.iter().find(|(handler, _)| handler.consumer().name == consumer);
        let Some((handler, source)) = found else {
            let known: Vec<String> = all.iter().map(|(handler, _)| handler.consumer().name).collect();
            return Err(OperateError::NoConsumer { name: consumer.to_owned(), known: known.join(", ") });
        };
        Ok(ConsumeLoop::new(&self.ports, handler.clone(), source, self.options.clone()))
    }
}
