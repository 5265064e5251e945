//! The one task that writes: publishes, groups' places and upkeep, in commits as large as what is waiting.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sqlx::{Row, SqliteConnection};
use tidewire_core::BrokerError;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::dedupe::Window;
use super::error::from_sqlx;
use super::group::Group;
use super::lock::Lock;
use super::open::Opened;
use super::scheduler::Urgency;
use super::shared::{Control, Damage, Publish, Shared};
use super::statement::Statements;
use crate::wire::Mark;

/// The most events in one commit, above one publish: beyond it a commit gains no more per event.
const MAX_COMMIT_EVENTS: usize = 1_024;
/// The most bytes in one commit, above one publish.
const MAX_COMMIT_BYTES: usize = 8 << 20;
/// Writing and flushing a commit that takes longer than this is worth waiting for those who were just answered.
/// During a quicker one they had better prepare their next publish than wait for each other.
const SLOW_FLUSH: Duration = Duration::from_millis(1);
/// How long an acknowledgement may wait for others to share its commit with.
const ACK_WAIT: Duration = Duration::from_millis(20);
/// How often upkeep looks for something to do.
const UPKEEP: Duration = Duration::from_secs(1);
/// The longest wait before a failed write of the groups' places is tried again.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

pub(super) struct Writer {
    pub shared: Arc<Shared>,
    pub connection: SqliteConnection,
    pub statements: Statements,
    pub names: HashMap<String, i64>,
    pub stored: HashMap<i64, (String, usize)>,
    pub window: Option<Window>,
    pub head: u64,
    /// Grows with every durable change of a place, and with every group removed.
    pub settled: u64,
    /// What `settled` was when nothing could be removed from a full file.
    pub full_at: Option<u64>,
    /// Where the removal of old entries goes on.
    pub trim_from: u64,
    /// Commits since upkeep last looked.
    pub commits: u64,
    pub checkpointed: bool,
    /// How long the last commit took.
    pub flush: Duration,
    failures: u32,
    upkeep_at: Instant,
    /// A commit failed in a way that leaves open whether it is stored. Nothing more is written.
    pub broken: Option<BrokerError>,
    _lock: Lock,
}

enum Wake {
    Work,
    Upkeep,
    Abandoned,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, opened: OpenedWriter, lock: Lock) -> Self {
        Self {
            shared,
            connection: opened.connection,
            statements: Statements::default(),
            names: opened.names,
            stored: opened.stored,
            window: None,
            head: opened.head,
            settled: 0,
            full_at: None,
            trim_from: 0,
            commits: 0,
            checkpointed: true,
            flush: Duration::ZERO,
            failures: 0,
            upkeep_at: Instant::now() + UPKEEP,
            broken: None,
            _lock: lock,
        }
    }

    pub(super) async fn run(mut self) {
        let answer = loop {
            match self.wait().await {
                Wake::Abandoned => break None,
                Wake::Upkeep => {
                    if let Err(error) = self.upkeep().await {
                        tracing::error!(%error, "upkeep of the broker failed");
                    }
                    self.upkeep_at = Instant::now() + UPKEEP;
                }
                Wake::Work => {
                    self.gather().await;
                    self.write_waiting().await;
                    if let Some(closing) = self.controls().await {
                        break Some(closing);
                    }
                }
            }
        };
        self.end(answer).await;
    }

    async fn wait(&mut self) -> Wake {
        // Also when there is always something to publish.
        if Instant::now() >= self.upkeep_at {
            return Wake::Upkeep;
        }
        let mut patience = None;
        loop {
            {
                let work = self.shared.inbox.work();
                let at_once = !work.damaged.is_empty() || work.urgency == Some(Urgency::Now);
                if !work.publishes.is_empty() || !work.controls.is_empty() || at_once && self.failures == 0 {
                    return Wake::Work;
                }
                if work.abandoned {
                    return Wake::Abandoned;
                }
                if (at_once || work.urgency.is_some()) && patience.is_none() {
                    patience = Some(Instant::now() + (ACK_WAIT * 2u32.pow(self.failures.min(8))).min(MAX_BACKOFF));
                }
            }
            let until = patience.map_or(self.upkeep_at, |at| at.min(self.upkeep_at));
            if tokio::time::timeout_at(until, self.shared.inbox.arrived.notified()).await.is_err() {
                return if patience == Some(until) { Wake::Work } else { Wake::Upkeep };
            }
        }
    }

    /// Lets those who are about to publish do so: they were answered together and come back together. No timer:
    /// who is alone waits for nobody.
    async fn gather(&self) {
        if self.flush < SLOW_FLUSH {
            return;
        }
        let mut waiting = 0;
        for _ in 0..4 {
            let now = self.shared.inbox.work().publishes.len();
            if now <= waiting {
                break;
            }
            waiting = now;
            tokio::task::yield_now().await;
        }
    }

    /// One commit of what waits; places come along.
    async fn write_waiting(&mut self) {
        let (publishes, damaged, urgency) = self.take();
        if publishes.is_empty() && damaged.is_empty() && urgency.is_none() {
            return;
        }
        match self.commit(publishes, damaged).await {
            Ok(()) => self.failures = 0,
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                tracing::error!(%error, failures = self.failures, "a commit of the broker failed");
                self.shared.inbox.dirty(Urgency::Soon);
            }
        }
    }

    fn take(&self) -> (Vec<Publish>, Vec<Damage>, Option<Urgency>) {
        let mut work = self.shared.inbox.work();
        let (mut events, mut bytes, mut publishes) = (0, 0, Vec::new());
        while let Some(next) = work.publishes.front() {
            events += next.items.len();
            bytes += next.bytes;
            if !publishes.is_empty() && (events > MAX_COMMIT_EVENTS || bytes > MAX_COMMIT_BYTES) {
                break;
            }
            publishes.extend(work.publishes.pop_front());
        }
        (publishes, std::mem::take(&mut work.damaged), work.urgency.take())
    }

    async fn controls(&mut self) -> Option<(bool, oneshot::Sender<()>)> {
        loop {
            let control = self.shared.inbox.work().controls.pop_front()?;
            match control {
                Control::Put(request, answer) => {
                    let put = self.put_group(request).await;
                    let _ = answer.send(put);
                }
                Control::Remove(name, answer) => {
                    let removed = self.remove_group(&name).await;
                    let _ = answer.send(removed);
                }
                Control::Trim(answer) => {
                    if let Err(error) = self.trim_all().await {
                        tracing::error!(%error, "removing old entries from the broker failed");
                    }
                    let _ = answer.send(());
                }
                #[cfg(test)]
                Control::Execute(sql, answer) => {
                    let _ = answer.send(self.execute(sql).await);
                }
                Control::Close { clean, answer } => return Some((clean, answer)),
            }
        }
    }

    async fn end(mut self, closing: Option<(bool, oneshot::Sender<()>)>) {
        let clean = closing.as_ref().is_some_and(|(clean, _)| *clean);
        while clean && self.broken.is_none() && !self.shared.inbox.work().publishes.is_empty() {
            self.write_waiting().await;
        }
        // Whoever still waits learns that nobody will answer.
        *self.shared.inbox.work() = super::shared::Work { ended: true, ..Default::default() };
        self.shared.admission.close();
        if clean && let Err(error) = self.close_file().await {
            tracing::error!(%error, "the broker could not be closed in order");
        }
        self.shared.readers.close().await;
        let Self { connection, _lock, .. } = self;
        if let Err(error) = sqlx::Connection::close(connection).await {
            tracing::warn!(%error, "the broker's file could not be closed");
        }
        drop(_lock);
        if let Some((_, answer)) = closing {
            let _ = answer.send(());
        }
    }

    async fn close_file(&mut self) -> Result<(), BrokerError> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let places = self.snapshot(Urgency::None, true, &mut Vec::new());
        let written = async {
            self.execute("begin immediate; update meta set clean = 1;").await?;
            self.write_places(&places).await?;
            self.execute("commit").await
        };
        written.await?;
        self.execute("pragma wal_checkpoint(truncate)").await
    }

    pub(super) async fn execute(&mut self, sql: &'static str) -> Result<(), BrokerError> {
        sqlx::query(sql).execute(&mut self.connection).await.map_err(from_sqlx)?;
        Ok(())
    }

    /// The dedupe window, read from the newest entries when it is first needed.
    pub(super) async fn load_window(&mut self) -> Result<(), BrokerError> {
        if self.window.is_some() {
            return Ok(());
        }
        let limit = self.shared.options.dedupe_window;
        let rows = sqlx::query(
            "select mark from entry
             where not exists (select 1 from damaged where damaged.seq = entry.seq) order by entry.seq desc limit +?",
        )
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut self.connection)
        .await
        .map_err(from_sqlx)?;
        let mark = |row: &sqlx::sqlite::SqliteRow| Mark::try_from(row.try_get::<&[u8], _>(0).ok()?).ok();
        self.window = Some(Window::new(limit, rows.iter().rev().filter_map(mark)));
        Ok(())
    }

    pub(super) fn groups(&self) -> Vec<Arc<Group>> {
        super::shared::unpoisoned(&self.shared.groups).values().cloned().collect()
    }

    pub(super) fn used(&self) -> u64 {
        self.shared.used.load(Ordering::Relaxed)
    }
}

/// The part of [`Opened`] that the writer goes on with.
pub(super) struct OpenedWriter {
    pub connection: SqliteConnection,
    pub names: HashMap<String, i64>,
    pub stored: HashMap<i64, (String, usize)>,
    pub head: u64,
}

impl Opened {
    /// Splits what the writer keeps from what everybody shares.
    pub(super) fn split(self) -> (OpenedWriter, OpenedShared) {
        let writer =
            OpenedWriter { connection: self.connection, names: self.names, stored: self.stored, head: self.head };
        let shared = OpenedShared {
            readers: self.readers,
            groups: self.groups,
            head: self.head,
            damaged: self.damaged,
            incarnation: self.incarnation,
        };
        (writer, shared)
    }
}

/// The part of [`Opened`] that everybody shares.
pub(super) struct OpenedShared {
    pub readers: sqlx::SqlitePool,
    pub groups: std::collections::BTreeMap<String, Arc<Group>>,
    pub head: u64,
    pub damaged: u64,
    pub incarnation: String,
}
