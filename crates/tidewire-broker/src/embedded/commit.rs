//! One commit: new entries, the groups' places, damage on record.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sqlx::AssertSqlSafe;
use tidewire_core::broker::Published;
use tidewire_core::failpoint::{self, Asked};
use tidewire_core::{BrokerError, Envelope};
use tokio::time::Instant;

use super::error::from_sqlx;
use super::group::Group;
use super::scheduler::{Snapshot, Urgency};
use super::shared::{Answers, Damage, Publish, unpoisoned};
use super::statement::{MAX_PLACES, MAX_ROWS, PLACE_WIDTH, ROW_WIDTH, Shape};
use super::tail::TailEntry;
use super::writer::Writer;
use crate::wire::Mark;

/// What an entry takes in the file besides its bytes: its other columns, and its share of the pages.
const ROW_OVERHEAD: u64 = 64;

/// An entry to be inserted.
struct Row {
    name: i64,
    envelope: Arc<Envelope>,
    json: Vec<u8>,
    bytes: usize,
    mark: Mark,
    crc: u32,
}

/// The publishes of one commit, sorted out.
#[derive(Default)]
struct Intake {
    rows: Vec<Row>,
    names: Vec<(i64, String)>,
    waiting: Vec<(tokio::sync::oneshot::Sender<Answers>, Answers)>,
    admitted: usize,
}

/// The last moment at which nothing is durable yet.
fn before_sync() -> Result<Instant, BrokerError> {
    match failpoint::reach("broker.before_sync") {
        Asked::Fail => Err(BrokerError::Unavailable("failpoint".into())),
        Asked::Nothing => Ok(Instant::now()),
    }
}

pub(super) type Places = Vec<(Arc<Group>, Snapshot)>;

impl Writer {
    /// Commits, then answers. An error was answered to every publisher, too.
    pub(super) async fn commit(&mut self, publishes: Vec<Publish>, damaged: Vec<Damage>) -> Result<(), BrokerError> {
        let mut intake = match self.ready(&publishes).await {
            Ok(()) => self.intake(publishes).await,
            Err(error) => {
                self.refuse(publishes, &error);
                self.shared.inbox.work().damaged.extend(damaged);
                return Err(error);
            }
        };
        let places = self.snapshot(Urgency::Soon, false, &mut Vec::new());
        let result = if intake.rows.is_empty() && places.is_empty() && damaged.is_empty() {
            Ok(())
        } else {
            self.transact(&mut intake, &places, &damaged).await
        };
        match &result {
            Ok(()) => self.committed(&mut intake, &places, damaged),
            Err(error) => self.undo(&mut intake, &places, damaged, error),
        }
        self.shared.admission.add_permits(intake.admitted);
        for (answer, answers) in intake.waiting {
            let _ = answer.send(answers);
        }
        result
    }

    async fn ready(&mut self, publishes: &[Publish]) -> Result<(), BrokerError> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        if publishes.is_empty() { Ok(()) } else { self.load_window().await }
    }

    fn refuse(&self, publishes: Vec<Publish>, error: &BrokerError) {
        for publish in publishes {
            self.shared.admission.add_permits(publish.bytes);
            let _ = publish.answer.send(publish.items.iter().map(|_| Err(error.clone())).collect());
        }
    }

    /// Sorts out what is new, what is there already, and what there is no room for.
    async fn intake(&mut self, publishes: Vec<Publish>) -> Intake {
        let mut intake = Intake::default();
        let mut used = self.used();
        for publish in publishes {
            intake.admitted += publish.bytes;
            let mut answers = Vec::with_capacity(publish.items.len());
            let mut full = None;
            for item in publish.items {
                let size = item.json.len() as u64 + ROW_OVERHEAD;
                let held = self.window.as_ref().is_some_and(|window| window.holds(&item.mark));
                if full.is_none() && !held && used + size > self.shared.options.max_bytes {
                    full = self.make_room(used + size).await.err();
                    used = used.min(self.used() + intake.rows.iter().map(|row| row.bytes as u64).sum::<u64>());
                }
                answers.push(match &full {
                    Some(error) if !held => Err(error.clone()),
                    _ => Ok(self.admit(item, &mut intake)),
                });
                if matches!(answers.last(), Some(Ok(Published { duplicate: false }))) {
                    used += size;
                }
            }
            intake.waiting.push((publish.answer, answers));
        }
        intake
    }

    fn admit(&mut self, item: super::shared::Item, intake: &mut Intake) -> Published {
        let new = self.window.as_mut().is_none_or(|window| window.insert(item.mark));
        if new {
            let name = self.name(item.envelope.ty.name(), &mut intake.names);
            let super::shared::Item { envelope, json, mark, crc } = item;
            intake.rows.push(Row { name, envelope, bytes: json.len(), json, mark, crc });
        }
        Published { duplicate: !new }
    }

    /// The number of a name, a new one if need be.
    pub(super) fn name(&mut self, name: &str, new: &mut Vec<(i64, String)>) -> i64 {
        if let Some(id) = self.names.get(name) {
            return *id;
        }
        let id = self.names.len() as i64 + 1;
        self.names.insert(name.to_owned(), id);
        new.push((id, name.to_owned()));
        id
    }

    async fn transact(&mut self, intake: &mut Intake, places: &Places, damaged: &[Damage]) -> Result<(), BrokerError> {
        let mut sealing = None;
        let written = self.write(intake, places, damaged, &mut sealing).await;
        if let Err(error) = written {
            self.rollback().await;
            if sealing.is_some() {
                self.check_commit(!intake.rows.is_empty(), &error).await;
            }
            return Err(error);
        }
        self.flush = sealing.map(|began| began.elapsed()).unwrap_or_default();
        // The commit stands: failing here would be a lie that the caller's next try uncovers.
        let _ = failpoint::reach("broker.after_sync");
        self.commits += 1;
        self.shared.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Writes and commits, in one round trip where it can. `sealing` is set once the commit is on its way.
    async fn write(
        &mut self,
        intake: &mut Intake,
        places: &Places,
        damaged: &[Damage],
        sealing: &mut Option<Instant>,
    ) -> Result<(), BrokerError> {
        let at = self.shared.clock.now();
        let is_alone = intake.names.is_empty() && damaged.is_empty() && places.len() <= MAX_PLACES;
        let (mut begin, mut after) = (true, self.head);
        let (first_places, more_places) = places.split_at(places.len().min(MAX_PLACES));
        let chunks = intake.rows.len().div_ceil(MAX_ROWS);
        for (index, rows) in intake.rows.chunks_mut(MAX_ROWS).enumerate() {
            let is_last = index + 1 == chunks;
            let places = if is_last { first_places } else { &[] };
            if is_last && is_alone {
                *sealing = Some(before_sync()?);
            }
            self.write_chunk((begin, sealing.is_some()), (after, at.timestamp_millis()), rows, places).await?;
            begin = false;
            after += rows.len() as u64;
        }
        if begin {
            if is_alone {
                *sealing = Some(before_sync()?);
            }
            self.write_chunk((true, sealing.is_some()), (after, 0), &mut [], first_places).await?;
        }
        if sealing.is_some() {
            return Ok(());
        }
        self.write_places(more_places).await?;
        for (id, text) in &intake.names {
            let query = sqlx::query("insert into name (id, text) values (?, ?)").bind(id).bind(text);
            query.execute(&mut self.connection).await.map_err(from_sqlx)?;
        }
        for damage in damaged {
            let query = sqlx::query("insert or ignore into damaged (seq, grp, reason, at) values (?, ?, ?, ?)");
            query
                .bind(damage.seq as i64)
                .bind(damage.group.id)
                .bind(&damage.reason)
                .bind(at.timestamp_millis())
                .execute(&mut self.connection)
                .await
                .map_err(from_sqlx)?;
        }
        *sealing = Some(before_sync()?);
        self.execute("commit").await
    }

    /// One round trip: entries after (`after`, at this time), and places; with `begin` and `commit` or without.
    async fn write_chunk(
        &mut self,
        (begin, commit): (bool, bool),
        (after, at): (u64, i64),
        rows: &mut [Row],
        places: &[(Arc<Group>, Snapshot)],
    ) -> Result<(), BrokerError> {
        let shape = Shape::of(begin, rows.len(), places.len(), commit);
        let mut query = sqlx::query(AssertSqlSafe(self.statements.text(shape)));
        for _ in rows.len()..shape.rows {
            for _ in 0..ROW_WIDTH {
                query = query.bind(None::<i64>);
            }
        }
        for (row, seq) in rows.iter_mut().zip(after + 1..) {
            query = query
                .bind(seq as i64)
                .bind(row.name)
                .bind(row.mark.to_vec())
                .bind(at)
                .bind(i64::from(row.crc))
                .bind(std::mem::take(&mut row.json));
        }
        for _ in places.len()..shape.places {
            for _ in 0..PLACE_WIDTH {
                query = query.bind(None::<i64>);
            }
        }
        for (group, place) in places {
            query = query
                .bind(group.id)
                .bind(place.cursor as i64)
                .bind(place.beyond as i64)
                .bind(self.head as i64)
                .bind(place.open.as_slice());
        }
        query.execute(&mut self.connection).await.map_err(from_sqlx)?;
        Ok(())
    }

    /// The places of all groups with something to write. From `unneeded` goes what some group still needs.
    pub(super) fn snapshot(&self, at_least: Urgency, last: bool, unneeded: &mut Vec<u64>) -> Places {
        let now = (Instant::now(), self.shared.clock.now());
        let mut places = Vec::new();
        for group in self.groups() {
            let mut scheduler = group.scheduler();
            unneeded.retain(|seq| !scheduler.needs(*seq));
            let urgency = scheduler.urgency();
            if last || urgency >= at_least && urgency > Urgency::None {
                let snapshot = scheduler.snapshot(last, now);
                drop(scheduler);
                places.push((group, snapshot));
            }
        }
        places
    }

    pub(super) async fn write_places(&mut self, places: &[(Arc<Group>, Snapshot)]) -> Result<(), BrokerError> {
        for chunk in places.chunks(MAX_PLACES) {
            self.write_chunk((false, false), (self.head, 0), &mut [], chunk).await?;
        }
        Ok(())
    }

    pub(super) async fn rollback(&mut self) {
        // SQLite may have rolled back by itself already; then this fails, rightly.
        let _ = self.execute("rollback").await;
    }

    /// A commit that failed may still be in the file, if the disk failed half-way. Then nothing the memory says
    /// about the log is certain, and only opening it again helps.
    async fn check_commit(&mut self, appended: bool, error: &BrokerError) {
        if matches!(error, BrokerError::Full(_)) || !appended {
            return;
        }
        let found = sqlx::query("select 1 from entry where seq > ?")
            .bind(self.head as i64)
            .fetch_optional(&mut self.connection)
            .await;
        if !matches!(found, Ok(None)) {
            tracing::error!(%error, "the outcome of a commit is unknown: the broker takes nothing more");
            self.broken = Some(BrokerError::Unavailable(format!(
                "the outcome of a commit is unknown ({error}); open the broker again"
            )));
        }
    }

    fn committed(&mut self, intake: &mut Intake, places: &Places, damaged: Vec<Damage>) {
        let mut counts: HashMap<i64, u64> = HashMap::new();
        let mut bytes = 0;
        for row in &intake.rows {
            *counts.entry(row.name).or_default() += 1;
            bytes += row.bytes as u64 + ROW_OVERHEAD;
        }
        self.head += intake.rows.len() as u64;
        self.shared.used.fetch_add(bytes, Ordering::Relaxed);
        let mut woken = Vec::new();
        if !counts.is_empty() {
            for group in self.groups() {
                let mut scheduler = group.scheduler();
                let wants =
                    counts.iter().fold(false, |wants, (name, count)| scheduler.appended(*name, *count) || wants);
                drop(scheduler);
                if wants {
                    woken.push(group);
                }
            }
            let mut tail = unpoisoned(&self.shared.tail);
            for Row { name, envelope, bytes, .. } in intake.rows.drain(..) {
                tail.push(TailEntry { name, envelope, bytes });
            }
        }
        for damage in damaged {
            self.record(damage, &mut woken);
        }
        self.places_written(places, true);
        for group in woken {
            group.changed.notify_waiters();
        }
    }

    fn record(&mut self, Damage { group, seq, reason }: Damage, woken: &mut Vec<Arc<Group>>) {
        self.shared.damaged.fetch_add(1, Ordering::Relaxed);
        let mut scheduler = group.scheduler();
        scheduler.damage_recorded(seq);
        scheduler.fail(BrokerError::Corrupt(format!("entry {seq} of the log: {reason}")));
        drop(scheduler);
        woken.push(group);
        // What is in the log under this identity is unreadable: the event may be published again.
        self.window = None;
    }

    /// Tells the groups what became of their snapshots.
    pub(super) fn places_written(&mut self, places: &Places, durable: bool) {
        for (group, _) in places {
            let mut scheduler = group.scheduler();
            scheduler.persisted(durable);
            let urgency = scheduler.urgency();
            drop(scheduler);
            self.shared.inbox.dirty(urgency);
            if durable {
                group.changed.notify_waiters();
            }
        }
        self.settled += u64::from(durable && !places.is_empty());
    }

    fn undo(&mut self, intake: &mut Intake, places: &Places, damaged: Vec<Damage>, error: &BrokerError) {
        if let Some(window) = &mut self.window {
            window.undo(intake.rows.len());
        }
        for (_, name) in &intake.names {
            self.names.remove(name);
        }
        for (_, answers) in &mut intake.waiting {
            for answer in answers.iter_mut().filter(|answer| answer.is_ok()) {
                *answer = Err(error.clone());
            }
        }
        self.places_written(places, false);
        self.shared.inbox.work().damaged.extend(damaged);
    }
}
