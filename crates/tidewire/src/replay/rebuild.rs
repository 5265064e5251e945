//! Rebuilding a projection into a new generation, and putting it in the live one's place.
//!
//! The new generation is folded from the log, in its order, up to the head; then its rows are compared with the live ones.
//! To swap, the lease that fences the projection is taken from the loops that handle live events, in all processes.
//! While it is held, the live generation is brought to the head as those loops would have done, and so is the new one: both
//! then hold exactly the same events. Rows that differed are looked at again, and one commit makes the new generation the
//! live one. What was live is kept, with its position, so that a rollback is the same thing the other way round.

use std::time::{Duration, Instant};

use tidewire_core::commit::ExpectDocument;
use tidewire_core::failpoint::{self, Asked};
use tidewire_core::store::{DocumentQuery, ParkedQuery};
use tidewire_core::{Commit, Committed, DocumentWrite, Mark, Position, Recorded, Seen, StoreError, Unit};

use super::apply::prepare;
use super::compare::{self, Walk};
use super::driver::{Driver, Halt, handle};
use super::job::{Compared, Difference, Job, Phase, State, Trouble};
use super::plan::Target;
use super::record::{Kept, Record, physical};
use super::source::{Page, Source};
use super::tenure::Hold;
use super::view::View;

/// How many live events may be unhandled when the swap begins: they are handled while it stands still, in well under a
/// second.
const MAX_STRAGGLERS: usize = 1_000;
/// Wait for the live consumer to come closer to the head.
const LIVE_WAIT: Duration = Duration::from_millis(500);
/// Differing rows remembered, to be looked at again.
const MAX_DIFFERENCES: usize = 10_000;
/// Differing rows named in the report.
const NAMED: usize = 20;
/// Rows removed at once.
const CLEARED: usize = 1_000;

/// What is remembered between steps. All of it is found out again after a crash.
#[derive(Default)]
pub(super) struct Memory {
    /// What keeps live events from being handled.
    pub hold: Option<Hold>,
    /// Rows looked at, and those that differed.
    compared: Option<(u64, Vec<Difference>, u64)>,
}

fn trouble(code: &str, reason: impl Into<String>) -> Halt {
    Halt::Trouble(Trouble { code: code.into(), reason: reason.into(), event: None })
}

impl Driver {
    /// The next bit of a rebuild.
    pub(super) async fn rebuild_step(&mut self, job: Job, expect: ExpectDocument) -> Result<bool, Halt> {
        if let Some(one) = job.terms.target.handler().and_then(|name| self.desk.elsewhere(name)) {
            return self.rebuild_elsewhere(one, job, expect).await;
        }
        match job.phase {
            None => self.begin_generation(job, expect).await,
            Some(Phase::Building) => self.build(job, expect).await,
            Some(Phase::Comparing | Phase::Swapping) if self.rebuild.compared.is_none() => {
                self.rebuild.compared = Some(self.compare(&job).await?);
                Ok(true)
            }
            Some(Phase::Comparing | Phase::Swapping) => self.swap(job, expect).await,
            Some(Phase::Clearing) => self.clear(job, expect).await,
        }
    }

    async fn record(&self, job: &Job) -> Result<(Record, ExpectDocument, Vec<String>), Halt> {
        let name = job.terms.target.handler().unwrap_or_default();
        let keeps = self.desk.consumer(name).map_err(|error| trouble(error.code(), error.to_string()))?.keeps;
        let (record, expect) = Record::load(self.store().as_ref(), name, &keeps).await?;
        Ok((record, expect, keeps))
    }

    /// Gives the rebuild a generation of its own, or the one to go back to.
    async fn begin_generation(&mut self, mut job: Job, expect: ExpectDocument) -> Result<bool, Halt> {
        let begun = Instant::now();
        let (mut record, record_expects, _) = self.record(&job).await?;
        let rollback = matches!(job.terms.target, Target::Projection { rollback: true, .. });
        let generation = match rollback {
            true => {
                let Some(kept) = record.previous.take() else {
                    return Err(trouble("replay.no_previous", "no generation is kept that could be gone back to"));
                };
                job.position = kept.position;
                kept.generation
            }
            false => {
                record.next += 1;
                record.next - 1
            }
        };
        // What somebody gave up building is of no use to anybody else.
        record.discarded.extend(record.building.take());
        record.building = Some(generation);
        job.generation = Some(generation);
        job.phase = Some(Phase::Building);
        let name = job.terms.target.handler().unwrap_or_default().to_owned();
        let documents = vec![record.write(&name, record_expects)?];
        self.commit(Commit { documents, ..Commit::default() }, job, expect, begun).await?;
        Ok(true)
    }

    /// Nobody else has begun to build since.
    async fn still_ours(&self, job: &Job) -> Result<(Record, ExpectDocument, Vec<String>), Halt> {
        let found = self.record(job).await?;
        match found.0.building == job.generation {
            true => Ok(found),
            false => {
                Err(trouble("replay.superseded", "another rebuild of the projection has begun since; plan it anew"))
            }
        }
    }

    /// One batch of the log into the generation; to comparing at its end.
    async fn build(&mut self, mut job: Job, expect: ExpectDocument) -> Result<bool, Halt> {
        let begun = Instant::now();
        let head = self.store().head().await?;
        let caught_up = self.fold(&mut job, expect, head, begun).await?;
        if caught_up {
            self.still_ours(&job).await?;
            let Some((mut job, expect)) = Job::load(self.store().as_ref(), &self.id).await? else { return Ok(false) };
            job.phase = Some(Phase::Comparing);
            self.commit(Commit::default(), job, expect, Instant::now()).await?;
        }
        Ok(true)
    }

    /// One batch up to `until`, committed. Answers whether that was the last of it.
    async fn fold(
        &mut self,
        job: &mut Job,
        expect: ExpectDocument,
        until: Position,
        begun: Instant,
    ) -> Result<bool, Halt> {
        let (runner, view) = self.hands(job, job.generation.unwrap_or_default())?;
        let source = Source { after: job.position, until, names: runner.consumer.names(), ..Source::default() };
        let Page { mut position, events, mut last } = self.page(&source, job.position, false).await?;
        let mut unit =
            Unit::new(view.clone(), self.ports().clock.clone(), &runner.consumer.name, &runner.source).muted();
        prepare(&runner, &mut unit, events.iter().map(|recorded| &recorded.envelope)).await;
        let mut handled = 0;
        for recorded in &events {
            if let Err(failure) = handle(&runner, &mut unit, &recorded.envelope).await {
                if handled == 0 {
                    return Err(self.stumble(&recorded.envelope, &failure).await);
                }
                (position, last) = (Position(recorded.position.0.saturating_sub(1)), false);
                break;
            }
            handled += 1;
        }
        job.counts.mute(&unit.take_muted());
        job.counts.read += handled;
        job.counts.handled += handled;
        job.counts.batches += 1;
        job.position = position.max(job.position);
        let asked = unit.into_commit();
        let commit = view.onto(asked.clone())?;
        if failpoint::reach("replay.before_commit") == Asked::Fail {
            return Err(StoreError::Unavailable("failpoint".into()).into());
        }
        self.commit(commit, job.clone(), expect, begun).await?;
        view.keep(&asked);
        if failpoint::reach("replay.after_commit") == Asked::Fail {
            return Err(StoreError::Unknown("failpoint".into()).into());
        }
        self.pace(handled as usize, job.terms.rate, begun).await;
        Ok(last)
    }

    /// Every row of both generations.
    async fn compare(&mut self, job: &Job) -> Result<(u64, Vec<Difference>, u64), Halt> {
        let (record, _, keeps) = self.still_ours(job).await?;
        let new = job.generation.unwrap_or_default();
        let store = self.store();
        let (mut rows, mut suspected, mut more) = (0, Vec::new(), 0);
        for collection in &keeps {
            let mut walk =
                Walk::new(store.as_ref(), collection, &physical(collection, record.live), &physical(collection, new));
            while let Some((looked_at, found)) = walk.next().await? {
                rows += looked_at;
                let room = MAX_DIFFERENCES.saturating_sub(suspected.len());
                more += found.len().saturating_sub(room) as u64;
                suspected.extend(found.into_iter().take(room));
                self.renew().await?;
                if self.stop.is_cancelled() {
                    return Err(Halt::Again);
                }
            }
        }
        Ok((rows, suspected, more))
    }

    /// Puts the new generation in the live one's place.
    async fn swap(&mut self, job: Job, expect: ExpectDocument) -> Result<bool, Halt> {
        let name = job.terms.target.handler().unwrap_or_default().to_owned();
        let runner = self.desk.runner(&name).map_err(|error| trouble(error.code(), error.to_string()))?;
        let (store, names) = (self.store(), runner.consumer.names());
        self.nothing_is_parked(&name).await?;
        let head = store.head().await?;
        if store.unhandled(&name, &names, head, MAX_STRAGGLERS + 1).await?.len() > MAX_STRAGGLERS {
            // The live consumer is far behind: it goes first.
            self.pause(LIVE_WAIT).await;
            return Ok(true);
        }
        let Some(hold) = Hold::take(store.as_ref(), &name, &self.id).await? else { return Err(Halt::Again) };
        self.rebuild.hold = Some(hold);
        let held = Instant::now();
        let swapped = self.swap_held(job, expect, &name, held).await;
        self.let_go().await;
        swapped
    }

    /// Everything that has to happen while no live event is handled.
    async fn swap_held(&mut self, job: Job, expect: ExpectDocument, name: &str, held: Instant) -> Result<bool, Halt> {
        let store = self.store();
        let head = store.head().await?;
        self.handle_stragglers(name, head).await?;
        self.nothing_is_parked(name).await?;
        let (mut job, mut expect) = (job, expect);
        while job.position < head {
            self.fold(&mut job, expect, head, Instant::now()).await?;
            if let Some(hold) = &self.rebuild.hold {
                hold.renew(store.as_ref()).await?;
            }
            let Some(found) = Job::load(store.as_ref(), &self.id).await? else { return Ok(false) };
            (job, expect) = found;
            if job.state != State::Running {
                return Ok(true);
            }
        }
        let (mut record, record_expects, keeps) = self.still_ours(&job).await?;
        let generation = job.generation.unwrap_or_default();
        let (rows, suspected, more) = self.rebuild.compared.take().unwrap_or_default();
        let live = record.live;
        let differing =
            compare::again(store.as_ref(), &suspected, |c| physical(c, live), |c| physical(c, generation)).await?;
        let count = differing.len() as u64 + more;
        let first = differing.into_iter().take(NAMED).collect();
        job.compared = Some(Compared { rows, differing: count, first, held: held.elapsed().as_secs_f64() });
        if count > 0 && matches!(job.terms.target, Target::Projection { only_if_equal: true, .. }) {
            job.state = State::Different;
            self.commit(Commit::default(), job, expect, Instant::now()).await?;
            return Ok(false);
        }
        record.discarded.extend(record.previous.take().map(|kept| kept.generation));
        record.previous = Some(Kept { generation: live, position: head });
        record.live = generation;
        record.building = None;
        record.collections = keeps;
        job.phase = Some(Phase::Clearing);
        let documents = vec![record.write(name, record_expects)?];
        let fence = self.rebuild.hold.as_ref().map(Hold::fence);
        if failpoint::reach("replay.before_swap") == Asked::Fail {
            return Err(StoreError::Unavailable("failpoint".into()).into());
        }
        self.commit(Commit { documents, fence, ..Commit::default() }, job, expect, Instant::now()).await?;
        tracing::info!(consumer = name, generation, before = live, rows, differing = count, "a projection was swapped");
        Ok(true)
    }

    /// Parked events would be in the new generation and not in the old one, and once more when they are redriven.
    async fn nothing_is_parked(&self, name: &str) -> Result<(), Halt> {
        let query = ParkedQuery { consumer: Some(name.to_owned()), limit: 1, ..ParkedQuery::default() };
        match self.store().parked(&query).await?.is_empty() {
            true => Ok(()),
            false => Err(trouble(
                "replay.parked",
                format!("events are parked for `{name}`: redrive or drop them, then apply the plan again"),
            )),
        }
    }

    /// What the live consumer has yet to handle up to `head`, handled in its place.
    async fn handle_stragglers(&mut self, name: &str, head: Position) -> Result<(), Halt> {
        let runner = self.desk.runner(name).map_err(|error| trouble(error.code(), error.to_string()))?;
        let (store, names) = (self.store(), runner.consumer.names());
        loop {
            let events: Vec<Recorded> = store.unhandled(name, &names, head, MAX_STRAGGLERS).await?;
            if events.is_empty() {
                return Ok(());
            }
            let Some(hold) = &self.rebuild.hold else { return Err(Halt::Again) };
            hold.renew(store.as_ref()).await?;
            let view = std::sync::Arc::new(View::of(store.clone(), &[], 1));
            let mut unit = Unit::new(view, self.ports().clock.clone(), name, &runner.source);
            prepare(&runner, &mut unit, events.iter().map(|recorded| &recorded.envelope)).await;
            for recorded in &events {
                if let Err(failure) = handle(&runner, &mut unit, &recorded.envelope).await {
                    // Its own loop decides about it: again, or parked.
                    tracing::debug!(consumer = name, event = recorded.envelope.id, error = %failure.error, "not now");
                    self.let_go().await;
                    self.pause(LIVE_WAIT).await;
                    return Err(Halt::Again);
                }
            }
            let mut commit = unit.into_commit();
            let seen = |recorded: Recorded| Seen { consumer: name.to_owned(), mark: Mark::of(&recorded.envelope) };
            commit.seen = events.into_iter().map(seen).collect();
            commit.fence = Some(hold.fence());
            if store.commit(commit).await? == Committed::Duplicate {
                return Err(Halt::Again);
            }
        }
    }

    /// Removes what nobody needs any more; done when nothing is left.
    async fn clear(&mut self, mut job: Job, expect: ExpectDocument) -> Result<bool, Halt> {
        let begun = Instant::now();
        let (mut record, record_expects, _) = self.record(&job).await?;
        let name = job.terms.target.handler().unwrap_or_default().to_owned();
        let Some(generation) = record.discarded.first().copied() else {
            job.state = State::Done;
            self.commit(Commit::default(), job, expect, begun).await?;
            return Ok(false);
        };
        for collection in &record.collections {
            let collection = physical(collection, generation);
            let query = DocumentQuery { collection: collection.clone(), limit: CLEARED, ..DocumentQuery::default() };
            let rows = self.store().list(&query).await?;
            if !rows.is_empty() {
                let gone = |row: tidewire_core::Document| DocumentWrite {
                    collection: collection.clone(),
                    id: row.id,
                    expect: ExpectDocument::Any,
                    value: None,
                };
                let documents = rows.into_iter().map(gone).collect();
                self.commit(Commit { documents, ..Commit::default() }, job, expect, begun).await?;
                return Ok(true);
            }
        }
        record.discarded.remove(0);
        let documents = vec![record.write(&name, record_expects)?];
        self.commit(Commit { documents, ..Commit::default() }, job, expect, begun).await?;
        Ok(true)
    }
}
