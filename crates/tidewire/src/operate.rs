//! What operators ask and do: status, consumers, parked events, redrive, audit. One implementation, behind
//! the HTTP surface and the command line alike.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tidewire_core::broker::{Features, Lag};
use tidewire_core::handler::{Consumer, Kind};
use tidewire_core::store::{Parked, ParkedQuery, Selection, StoreInfo};
use tidewire_core::{BrokerError, Commit, Committed, Handler, Key, Mark, Position, Seen, StoreError, Unit, Unpark};

use crate::consume::{ConsumeLoop, ConsumeOptions};
use crate::ports::Ports;

/// Events read at once while auditing.
const PAGE: usize = 2_000;
/// Ids named per finding of an audit; the count goes on beyond.
const MAX_NAMED: usize = 20;
/// How often a redrive is done again at once after losing a race.
const MAX_CONFLICTS: u32 = 20;

/// The operators' view of a set of handlers on their ports.
#[derive(Clone)]
pub struct Operator {
    ports: Ports,
    handlers: Arc<Vec<(Arc<dyn Handler>, String)>>,
    options: ConsumeOptions,
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
}

impl OperateError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Broker(error) => error.code(),
            Self::NoConsumer { .. } => "consumer.not_found",
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
    /// Every consumer.
    pub consumers: Vec<ConsumerRow>,
    /// Parked events in all.
    pub parked: u64,
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

/// Every appended event, looked for everywhere it must be.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Audit {
    /// The head of the log when the audit began.
    pub head: Position,
    /// Events in the log up to there.
    pub appended: u64,
    /// Of these, found on the broker.
    pub published: u64,
    /// Of these, no longer on the broker and waited for by nobody: brokers let go of what is old and acknowledged.
    pub released: u64,
    /// Positions that are missing from the log. Always empty, or the log is damaged.
    pub holes: u64,
    /// Events in the log that the broker ought to hold and does not.
    pub missing_on_broker: u64,
    /// The first of these, by id.
    pub missing: Vec<String>,
    /// Every consumer.
    pub consumers: Vec<AuditedConsumer>,
    /// Events that are neither handled nor parked by a consumer that reads them, holes, and events missing on
    /// the broker: counted once per place they are missing from.
    pub lost: u64,
}

/// One consumer's part of an audit.
#[derive(Clone, Debug, Serialize)]
pub struct AuditedConsumer {
    /// Its name.
    pub name: String,
    /// Events in its inbox.
    pub handled: u64,
    /// Events it has set aside.
    pub parked: u64,
    /// Events it should have handled by now and has not; at most 2,000 are counted.
    pub unhandled: u64,
}

impl Operator {
    /// An operator over `handlers`, each with the source its events are emitted as.
    pub fn new(ports: &Ports, handlers: Vec<(Arc<dyn Handler>, String)>, options: ConsumeOptions) -> Self {
        Self { ports: ports.clone(), handlers: Arc::new(handlers), options }
    }

    /// The ports operated on.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Everything at a glance.
    pub async fn status(&self) -> Result<Status, OperateError> {
        let consumers = self.consumers().await?;
        Ok(Status {
            version: env!("CARGO_PKG_VERSION"),
            time: self.ports.clock.now(),
            store: self.ports.store.info().await?,
            broker: self.ports.broker.features(),
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

    /// Looks every event of the log up: on the broker, and in the inbox of every consumer that reads its type.
    /// Ask it once everything has settled; what is still on its way counts as missing.
    ///
    /// Reads the whole log and the whole broker: long work, and about 30 bytes of memory per event on the broker.
    pub async fn audit(&self) -> Result<Audit, OperateError> {
        let head = self.ports.store.head().await?;
        let mut audit = Audit { head, ..Audit::default() };
        let waited_for = self.audit_consumers(&mut audit).await?;
        let on_broker = self.scan_broker().await?;
        let readers: Vec<Consumer> = self.handlers.iter().map(|(handler, _)| handler.consumer()).collect();
        let read: HashSet<&str> = readers.iter().flat_map(|consumer| &consumer.types).map(|ty| ty.name()).collect();
        let mut selection = Selection { until: Some(head), limit: PAGE, ..Selection::default() };
        loop {
            let page = self.ports.store.read(&selection).await?;
            if page.is_empty() {
                break;
            }
            for recorded in page {
                audit.holes += recorded.position.0 - selection.after.0 - 1;
                audit.appended += 1;
                selection.after = recorded.position;
                let event = fingerprint(&recorded.envelope.source, &recorded.envelope.id);
                let handled = read.contains(recorded.envelope.ty.name()) && !waited_for.contains(&event);
                if on_broker.contains(&event) {
                    audit.published += 1;
                } else if handled || (audit.published == 0 && !waited_for.contains(&event) && !on_broker.is_empty()) {
                    // Handled, so it was there; or read by nobody, and older than whatever is there.
                    audit.released += 1;
                } else {
                    audit.missing_on_broker += 1;
                    if audit.missing.len() < MAX_NAMED {
                        audit.missing.push(recorded.envelope.id);
                    }
                }
            }
        }
        audit.holes += head.0 - selection.after.0;
        let unhandled: u64 = audit.consumers.iter().map(|consumer| consumer.unhandled).sum();
        audit.lost = audit.holes + audit.missing_on_broker + unhandled;
        Ok(audit)
    }

    async fn scan_broker(&self) -> Result<HashSet<u128>, OperateError> {
        let mut found = HashSet::new();
        let mut cursor = None;
        loop {
            let (page, next) = self.ports.broker.scan(cursor, PAGE).await?;
            if page.is_empty() {
                return Ok(found);
            }
            found.extend(page.iter().map(|envelope| fingerprint(&envelope.source, &envelope.id)));
            cursor = next;
        }
    }

    /// Fills in the consumers, and answers which events any of them has yet to handle.
    async fn audit_consumers(&self, audit: &mut Audit) -> Result<HashSet<u128>, OperateError> {
        let parked: HashMap<String, u64> = self.ports.store.parked_counts().await?.into_iter().collect();
        let mut waited_for = HashSet::new();
        for (handler, _) in self.handlers.iter() {
            let consumer = handler.consumer();
            let unhandled = self.ports.store.unhandled(&consumer.name, &consumer.names(), audit.head, PAGE).await?;
            let events = unhandled.iter().map(|recorded| &recorded.envelope);
            waited_for.extend(events.map(|envelope| fingerprint(&envelope.source, &envelope.id)));
            audit.consumers.push(AuditedConsumer {
                handled: self.ports.store.handled(&consumer.name).await?,
                parked: parked.get(&consumer.name).copied().unwrap_or_default(),
                unhandled: unhandled.len() as u64,
                name: consumer.name,
            });
        }
        Ok(waited_for)
    }
}

/// 128 bits of a mark's digest: enough to tell the events of one installation apart, at 16 bytes each.
fn fingerprint(source: &str, id: &str) -> u128 {
    use sha2::{Digest, Sha256};
    let mut digest = Sha256::new();
    digest.update(source.len().to_be_bytes());
    digest.update(source);
    digest.update(id);
    let bytes: [u8; 32] = digest.finalize().into();
    let mut half = [0; 16];
    half.copy_from_slice(&bytes[..16]);
    u128::from_be_bytes(half)
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
