//! The embedded broker: one process, one SQLite file, nothing to install.
//!
//! ```text
//! publish ─► inbox ─► writer task ── one commit at a time, of all that waits ─► broker.db
//!                        │                                                        │
//!                        ├─► tail (the newest entries, in memory) ──┐             │ whoever is behind
//!                        ▲                                          ▼             ▼
//!     places of groups ──┴── acks, retries ◄── members ◄── scheduler (one per group)
//! ```
//!
//! Three rules: the log is only appended to, and only by the writer; an answer is given after the commit; the
//! log has no index, so what needs one (the dedupe window, groups' places) is kept beside it and bounded.

pub(crate) mod admin;
mod commit;
mod dedupe;
mod error;
mod group;
mod lock;
mod open;
mod place;
mod reader;
mod scheduler;
mod schema;
mod shared;
mod statement;
mod tail;
#[cfg(test)]
mod tests;
mod upkeep;
mod writer;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use tidewire_core::broker::{Extent, Features, Lag, Published, Subscribe};
use tidewire_core::{Broker, BrokerError, Clock, Envelope, Key, Subscription};
use tokio::sync::{Semaphore, oneshot};

use self::group::Seat;
use self::lock::Lock;
use self::scheduler::Filter;
use self::shared::{Answers, Control, Inbox, Item, Publish, Shared, unpoisoned};
use self::tail::Tail;
use self::writer::Writer;
use crate::wire;

/// Bytes of publishes that may wait for the writer; who comes then waits in line. About four full commits.
const MAX_WAITING_BYTES: usize = 32 << 20;
/// The most of one call that goes into one commit.
const MAX_CALL_EVENTS: usize = 1_024;
/// The most of one call that goes into one commit, in bytes, above one event.
const MAX_CALL_BYTES: usize = 8 << 20;
/// The most one scan returns.
const MAX_SCAN: usize = 1_000;

/// How to open an [`EmbeddedBroker`].
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// The directory of its files; created if it is not there. A local file system: never a network share.
    pub dir: PathBuf,
    /// The most bytes the log may take. Beyond them what every group acknowledged is removed, oldest first, and when
    /// nothing is, publishing is refused ([`BrokerError::Full`]) until groups catch up. Default 1 GiB.
    pub max_bytes: u64,
    /// How long what every group acknowledged is kept for scans and for new groups. Default 7 days.
    pub max_age: Duration,
    /// The largest event, as CloudEvents JSON, in bytes. Default 256 KiB; larger data belongs in an object store.
    pub max_event_bytes: usize,
    /// Publishing an event again within so many events is recognised, also after a restart, as long as it is still
    /// in the log. Takes about 64 bytes of memory each. Default 65,536.
    pub dedupe_window: usize,
    /// How many bytes of the newest events stay in memory for the groups that keep up. Default 8 MiB.
    pub tail_bytes: usize,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("broker"),
            max_bytes: 1 << 30,
            max_age: Duration::from_secs(7 * 24 * 60 * 60),
            max_event_bytes: 256 << 10,
            dedupe_window: 65_536,
            tail_bytes: 8 << 20,
        }
    }
}

/// The embedded broker. See [`Broker`] for what it promises; its durability is power loss.
///
/// One process has it open; another one is refused ([`BrokerError::Locked`]). Without [`Broker::close`] the file is
/// checked at the next start, and what may have been running counts as handed out: at most `max_in_flight` entries
/// per group, whose `attempt` is then more than 1.
pub struct EmbeddedBroker {
    shared: Arc<Shared>,
}

/// What the broker holds, for operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EmbeddedInfo {
    /// The number of the newest entry.
    pub head: u64,
    /// Bytes in use in the file.
    pub bytes: u64,
    /// Bytes it may use.
    pub max_bytes: u64,
    /// Commits since it was opened: how well publishes share them.
    pub commits: u64,
    /// Entries that groups had to pass over because they are damaged; the same entry counts once per group.
    pub damaged: u64,
}

impl EmbeddedBroker {
    /// Opens the broker in `options.dir`, or creates it.
    ///
    /// Fails with [`BrokerError::Locked`] while another process has it, [`BrokerError::Newer`] for a later build's
    /// file, [`BrokerError::Corrupt`] for a damaged or foreign one (it is left as it is).
    pub async fn open(options: EmbeddedOptions, clock: Arc<dyn Clock>) -> Result<Arc<Self>, BrokerError> {
        let dir = &options.dir;
        std::fs::create_dir_all(dir).map_err(|error| error::from_io(&dir.display().to_string(), &error))?;
        let lock = Lock::take(&dir.join("broker.lock"))?;
        let opened = open::open(&dir.join("broker.db"), clock.as_ref()).await?;
        let (for_writer, for_all) = opened.split();
        let shared = Arc::new(Shared {
            tail: Mutex::new(Tail::new(for_all.head, options.tail_bytes)),
            options,
            clock,
            inbox: Inbox::default(),
            groups: Mutex::new(for_all.groups),
            readers: for_all.readers,
            admission: Semaphore::new(MAX_WAITING_BYTES),
            closed: AtomicBool::new(false),
            used: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            damaged: AtomicU64::new(for_all.damaged),
            incarnation: for_all.incarnation,
        });
        let mut writer = Writer::new(shared.clone(), for_writer, lock);
        writer.measure().await?;
        tokio::spawn(writer.run());
        Ok(Arc::new(Self { shared }))
    }

    /// What it holds now.
    pub fn info(&self) -> EmbeddedInfo {
        EmbeddedInfo {
            head: unpoisoned(&self.shared.tail).head(),
            bytes: self.shared.used.load(Ordering::Relaxed),
            max_bytes: self.shared.options.max_bytes,
            commits: self.shared.commits.load(Ordering::Relaxed),
            damaged: self.shared.damaged.load(Ordering::Relaxed),
        }
    }

    /// Forgets a group, and with it what only it had yet to acknowledge. Whether there was one.
    /// [`BrokerError::Invalid`] while it has members.
    pub async fn remove_group(&self, name: &str) -> Result<bool, BrokerError> {
        let (answer, removed) = oneshot::channel();
        self.shared.inbox.control(Control::Remove(name.to_owned(), answer));
        removed.await.unwrap_or(Err(BrokerError::Closed))
    }

    /// Removes at once what upkeep would remove by and by.
    pub async fn trim(&self) {
        let (answer, done) = oneshot::channel();
        self.shared.inbox.control(Control::Trim(answer));
        let _ = done.await;
    }

    async fn end(&self, clean: bool) {
        self.shared.closed.store(true, Ordering::Release);
        let (answer, ended) = oneshot::channel();
        self.shared.inbox.control(Control::Close { clean, answer });
        for group in unpoisoned(&self.shared.groups).values() {
            group.changed.notify_waiters();
        }
        let _ = ended.await;
    }

    /// Ends as a killed process would: nothing more is written. For tests of what comes after.
    #[doc(hidden)]
    pub async fn abandon(&self) {
        self.end(false).await;
    }

    /// One commit's worth of a call.
    async fn publish_some(&self, items: Vec<Item>, bytes: usize) -> Answers {
        let count = items.len();
        let closed = || (0..count).map(|_| Err(BrokerError::Closed)).collect();
        let bytes = bytes.min(MAX_WAITING_BYTES);
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let Ok(permit) = self.shared.admission.acquire_many(permits).await else { return closed() };
        let (answer, answers) = oneshot::channel();
        if self.shared.closed.load(Ordering::Acquire) {
            return closed();
        }
        // The writer gives the permits back.
        permit.forget();
        self.shared.inbox.publish(Publish { items, bytes, answer });
        answers.await.unwrap_or_else(|_| closed())
    }

    /// Takes as much from `batch` as goes into one commit. Answers what cannot go in; a place is left for the others.
    fn encode_some(
        &self,
        batch: &mut std::vec::IntoIter<Envelope>,
        failed: &mut HashSet<Key>,
    ) -> (Vec<Option<BrokerError>>, Vec<Item>, usize) {
        let (mut errors, mut items, mut bytes) = (Vec::new(), Vec::new(), 0);
        while items.len() < MAX_CALL_EVENTS && bytes < MAX_CALL_BYTES {
            let Some(envelope) = batch.next() else { break };
            let encoded = match failed.contains(&envelope.key) {
                true => Err(BrokerError::Behind),
                false => wire::encode(&envelope, self.shared.options.max_event_bytes),
            };
            match encoded {
                Ok(wire::Encoded { json, mark }) => {
                    bytes += json.len();
                    let crc = wire::checksum(&json, &mark);
                    items.push(Item { envelope: Arc::new(envelope), json, mark, crc });
                    errors.push(None);
                }
                Err(error) => {
                    failed.insert(envelope.key);
                    errors.push(Some(error));
                }
            }
        }
        (errors, items, bytes)
    }
}

#[async_trait]
impl Broker for EmbeddedBroker {
    async fn publish(&self, batch: Vec<Envelope>) -> Vec<Result<Published, BrokerError>> {
        let mut all = Vec::with_capacity(batch.len());
        let mut batch = batch.into_iter();
        let mut failed = HashSet::new();
        while batch.len() > 0 {
            let (errors, items, bytes) = self.encode_some(&mut batch, &mut failed);
            let more = batch.len() > 0;
            let keys: Vec<Key> = match more {
                true => items.iter().map(|item| item.envelope.key.clone()).collect(),
                false => Vec::new(),
            };
            let answers = if items.is_empty() { Vec::new() } else { self.publish_some(items, bytes).await };
            // What comes after a failure on the same key must fail as well, also in the next commit.
            failed.extend(keys.into_iter().zip(&answers).filter(|(_, answer)| answer.is_err()).map(|(key, _)| key));
            let mut answers = answers.into_iter();
            let answer = |error: Option<BrokerError>| match error {
                Some(error) => Err(error),
                None => answers.next().unwrap_or(Err(BrokerError::Closed)),
            };
            all.extend(errors.into_iter().map(answer));
        }
        all
    }

    async fn subscribe(&self, request: Subscribe) -> Result<Box<dyn Subscription>, BrokerError> {
        admin::check(&request)?;
        let (window, ack_wait) = (request.max_in_flight, request.ack_wait);
        let (answer, put) = oneshot::channel();
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(BrokerError::Closed);
        }
        self.shared.inbox.control(Control::Put(request, answer));
        let group = put.await.unwrap_or(Err(BrokerError::Closed))?;
        Ok(Box::new(Seat::take(self.shared.clone(), group, window, ack_wait)))
    }

    async fn forget(&self, group: &str) -> Result<(), BrokerError> {
        match self.remove_group(group).await {
            Ok(_) => Ok(()),
            Err(BrokerError::Invalid(reason)) => Err(BrokerError::Unavailable(reason)),
            Err(error) => Err(error),
        }
    }

    async fn lag(&self) -> Result<Vec<Lag>, BrokerError> {
        let groups: Vec<_> = unpoisoned(&self.shared.groups).values().cloned().collect();
        let lag = |group: &Arc<group::Group>| {
            let scheduler = group.scheduler();
            let (pending, in_flight, retrying) = scheduler.lag();
            let members = u32::try_from(scheduler.members()).unwrap_or(u32::MAX);
            Lag { group: group.name.clone(), pending, in_flight, retrying, members }
        };
        Ok(groups.iter().map(lag).collect())
    }

    /// Entries that are damaged are left out, and logged.
    async fn scan(&self, cursor: Option<String>, limit: usize) -> Result<(Vec<Envelope>, Option<String>), BrokerError> {
        let invalid = || BrokerError::Invalid("the cursor is not one that a scan returned".into());
        let mut position = match &cursor {
            None => 0,
            Some(text) => text.parse::<u64>().ok().filter(|seq| *seq <= i64::MAX as u64).ok_or_else(invalid)?,
        };
        let head = unpoisoned(&self.shared.tail).head();
        let limit = limit.clamp(1, MAX_SCAN);
        while position < head {
            let (upto, stored) = reader::after(&self.shared.readers, position, head, limit, &Filter::All).await?;
            position = upto;
            let readable = |stored: reader::Stored| match stored.envelope {
                Ok(envelope) => Some(Arc::unwrap_or_clone(envelope)),
                Err(reason) => {
                    tracing::error!(seq = stored.seq, reason, "an entry of the broker's log is damaged");
                    None
                }
            };
            let page: Vec<Envelope> = stored.into_iter().filter_map(readable).collect();
            if !page.is_empty() {
                return Ok((page, Some(position.to_string())));
            }
        }
        Ok((Vec::new(), Some(position.to_string())))
    }

    async fn extent(&self) -> Result<Extent, BrokerError> {
        let last = unpoisoned(&self.shared.tail).head();
        Ok(Extent { incarnation: self.shared.incarnation.clone(), last })
    }

    fn features(&self) -> Features {
        Features {
            backend: "embedded",
            durability: "disk",
            multi_process: false,
            delayed_retry: true,
            durable_attempts: true,
            max_event_bytes: self.shared.options.max_event_bytes,
            dedupe_window_events: self.shared.options.dedupe_window,
        }
    }

    async fn close(&self) {
        self.end(true).await;
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.inbox.abandon();
        for group in unpoisoned(&self.shared.groups).values() {
            group.changed.notify_waiters();
        }
    }
}
