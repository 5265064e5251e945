//! The one task that writes. Group commit without a timer: one flush is in flight, and whoever arrives meanwhile
//! joins the next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, query};
use tidewire_core::failpoint::{Asked, reach};
use tidewire_core::store::Retired;
use tidewire_core::{Clock, Position, StoreError};
use tokio::sync::{mpsc, oneshot, watch};

use super::codec::{Any, moment};
use super::error::{again, classify, is_constraint, is_fsync};
use super::lock::Lock;
use super::lookup::Known;
use super::op::{Answer, Op, Pending};
use super::parking::Tally;
use super::plan::{Plan, Writes};
use super::retire::retire;
use super::state;
use crate::group::{Lease, State, Stream};

/// How often the writer lets other tasks run before it takes a group: those it just answered come back with
/// their next commit, and would otherwise miss this group by a moment.
const GATHERING_ROUNDS: usize = 4;

/// What a probe writes: room for a usual group, so that it does not find room where a group finds none.
const PROBE_BYTES: i64 = 64 << 10;

/// Writing and flushing a group that takes longer than this is worth waiting for those who were just answered.
/// During a quicker one they had better prepare their next commit than wait for each other.
const SLOW_FLUSH: Duration = Duration::from_millis(1);

/// What reaches the writer.
pub(super) enum Request {
    /// Something to write.
    Write(Pending),
    /// Whether writing works.
    Ping(oneshot::Sender<Result<(), StoreError>>),
    /// Remove the oldest events.
    Retire { until: Position, limit: usize, reply: oneshot::Sender<Result<Retired, StoreError>> },
    /// The last request: write what came before, and end.
    Close(oneshot::Sender<()>),
}

/// The writer's belongings.
pub(super) struct Writer {
    pub connection: SqliteConnection,
    pub state: Option<State>,
    pub clock: Arc<dyn Clock>,
    pub head: watch::Sender<Position>,
    pub lock: Lock,
    pub group_commits: usize,
    pub group_bytes: usize,
    pub on_flush: Option<fn(usize, Duration)>,
    /// Moves whenever something was taken out of parking.
    pub parking: Arc<Tally>,
    /// How long the last commit took.
    pub flush: Duration,
    /// Why nothing can be written any more.
    pub stopped: Option<StoreError>,
    /// Whether the last attempt to write failed.
    pub failing: bool,
}

/// Why a group was not written.
enum Failure {
    /// An index refused it: one of its commits is to blame.
    Constraint(sqlx::Error),
    /// All of it failed.
    All(StoreError),
}

impl Writer {
    /// Serves requests until the store is closed or dropped.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut closed = None;
        let mut next = None;
        while closed.is_none() {
            let Some(first) = (match next.take() {
                Some(request) => Some(request),
                None => requests.recv().await,
            }) else {
                break;
            };
            let mut group = Vec::new();
            let mut bytes = 0;
            let mut request = Some(first);
            self.gather(&requests).await;
            while let Some(taken) = request.take() {
                match taken {
                    Request::Write(pending) => {
                        let size = pending.op.bytes();
                        if !group.is_empty() && (group.len() >= self.group_commits || bytes + size > self.group_bytes) {
                            next = Some(Request::Write(pending));
                            break;
                        }
                        bytes += size;
                        group.push(pending);
                        request = requests.try_recv().ok();
                    }
                    other => {
                        if group.is_empty() {
                            closed = self.serve(other).await;
                        } else {
                            next = Some(other);
                        }
                        break;
                    }
                }
            }
            if !group.is_empty() {
                self.process(group).await;
            }
        }
        requests.close();
        self.end(closed).await;
    }

    /// Lets those who are about to ask get in line.
    async fn gather(&self, requests: &mpsc::Receiver<Request>) {
        if self.flush < SLOW_FLUSH {
            return;
        }
        let mut waiting = requests.len();
        for _ in 0..GATHERING_ROUNDS {
            if waiting >= self.group_commits {
                return;
            }
            tokio::task::yield_now().await;
            let now = requests.len();
            if now == waiting {
                return;
            }
            waiting = now;
        }
    }

    async fn serve(&mut self, request: Request) -> Option<oneshot::Sender<()>> {
        match request {
            Request::Write(_) => None,
            Request::Ping(reply) => {
                let answer = self.ping().await;
                let _ = reply.send(answer);
                None
            }
            Request::Retire { until, limit, reply } => {
                let answer = self.retire(until, limit).await;
                let _ = reply.send(answer);
                None
            }
            Request::Close(reply) => Some(reply),
        }
    }

    async fn end(mut self, closed: Option<oneshot::Sender<()>>) {
        if closed.is_some() && self.stopped.is_none() {
            // Best effort: what is in the write-ahead log is as durable as what is in the file.
            let _ = query("pragma wal_checkpoint(truncate)").execute(&mut self.connection).await;
        }
        let is_clean = closed.is_some() && self.stopped.is_none();
        let _ = self.connection.close().await;
        if is_clean && let Err(error) = self.lock.mark_clean() {
            tracing::warn!(%error, "the store was closed but could not be marked so; the next start checks it");
        }
        drop(self.lock);
        if let Some(reply) = closed {
            let _ = reply.send(());
        }
    }

    /// After a failure: whether there is room again, by writing.
    async fn ping(&mut self) -> Result<(), StoreError> {
        if let Some(stopped) = &self.stopped {
            return Err(again(stopped));
        }
        if self.failing {
            query(
                "insert into meta (name, value) values ('probe', zeroblob(?)) \
                 on conflict (name) do update set value = excluded.value",
            )
            .bind(PROBE_BYTES)
            .execute(&mut self.connection)
            .await
            .map_err(classify)?;
            self.failing = false;
        }
        Ok(())
    }

    async fn retire(&mut self, until: Position, limit: usize) -> Result<Retired, StoreError> {
        if let Some(stopped) = &self.stopped {
            return Err(again(stopped));
        }
        let head = *self.head.borrow();
        retire(&mut self.connection, until, limit, head)
            .await
            .map_err(|error| if is_fsync(&error) { self.stop(&error) } else { classify(error) })
    }

    /// After a failed fsync: nothing more is written, and what was being written is there or not.
    fn stop(&mut self, error: &sqlx::Error) -> StoreError {
        tracing::error!(%error, "the disk did not keep what was written to it; writing stops");
        self.stopped = Some(StoreError::Corrupt(format!(
            "the disk did not keep what was written to it ({error}); nothing more is written. Check the disk, then \
             start again"
        )));
        StoreError::Unknown(error.to_string())
    }

    async fn process(&mut self, group: Vec<Pending>) {
        if let Some(stopped) = &self.stopped {
            return refuse(group, stopped);
        }
        match self.attempt(&group, false).await {
            Ok(answers) => self.answer(group, answers),
            Err(Failure::All(error)) => refuse(group, &error),
            // A duplicate event id, or a mark that is in the inbox: found by looking, and only its commit fails.
            Err(Failure::Constraint(_)) => match self.attempt(&group, true).await {
                Ok(answers) => self.answer(group, answers),
                Err(Failure::All(error)) => refuse(group, &error),
                Err(Failure::Constraint(_)) => self.one_by_one(group).await,
            },
        }
    }

    /// The last resort, when an index refuses a group and no reason is found: only what it refuses alone fails.
    async fn one_by_one(&mut self, group: Vec<Pending>) {
        for pending in group {
            let single = vec![pending];
            match self.attempt(&single, true).await {
                Ok(answers) => self.answer(single, answers),
                Err(Failure::All(error)) => refuse(single, &error),
                Err(Failure::Constraint(error)) => {
                    let what = format!("the indexes contradict each other: {error}");
                    refuse(single, &StoreError::Corrupt(what));
                }
            }
        }
    }

    fn answer(&self, group: Vec<Pending>, answers: Vec<Result<Answer, StoreError>>) {
        for (pending, answer) in group.into_iter().zip(answers) {
            // Whoever gave up waiting has lost the answer, not the commit.
            let _ = pending.reply.send(answer);
        }
    }

    /// Plans and writes a group. After a failure everything known is read back before the next attempt.
    async fn attempt(&mut self, group: &[Pending], events: bool) -> Result<Vec<Result<Answer, StoreError>>, Failure> {
        let result = self.try_attempt(group, events).await;
        self.failing = matches!(result, Err(Failure::All(_)));
        if result.is_err() {
            self.state = None;
            // Without an open transaction this is refused, which is as well.
            let _ = query("rollback").execute(&mut self.connection).await;
        }
        result
    }

    async fn try_attempt(
        &mut self,
        group: &[Pending],
        events: bool,
    ) -> Result<Vec<Result<Answer, StoreError>>, Failure> {
        let mut state = match self.state.take() {
            Some(state) => state,
            None => {
                let state = state::load(&mut self.connection).await.map_err(Failure::All)?;
                self.parking.recount(state.parked);
                state
            }
        };
        let ops: Vec<&Op> = group.iter().map(|pending| &pending.op).collect();
        let (plan, answers) = self.decide(&state, &ops, events).await?;
        if !plan.writes.is_empty() {
            self.parking.add(plan.writes.parks.len());
            let begun = Instant::now();
            let attempts_gone = self.write(&plan.writes, &moment(&plan.now), state.attempts > 0).await?;
            if let Some(on_flush) = self.on_flush {
                on_flush(group.len(), begun.elapsed());
            }
            self.parking.remove(plan.writes.unparks.len());
            let learned = Learned::of(plan, attempts_gone);
            learned.teach(&mut state);
            let head = Position(state.head);
            self.head.send_if_modified(|known| std::mem::replace(known, head) != head);
            self.state = Some(state);
            if reach("store.after_sync") == Asked::Fail {
                return Err(Failure::All(StoreError::Unknown("the answer was lost".into())));
            }
        } else {
            self.state = Some(state);
        }
        Ok(answers)
    }

    /// Decides a group, as if nothing in it were there already unless `events` says to look. A conflict makes it
    /// look: what is there already comes before what moved on.
    async fn decide<'a>(
        &mut self,
        state: &'a State,
        ops: &[&'a Op],
        mut events: bool,
    ) -> Result<(Plan<'a>, Vec<Result<Answer, StoreError>>), Failure> {
        let now = self.clock.now();
        loop {
            let known = Known::find(&mut self.connection, state, ops, events).await;
            let mut plan = Plan::new(state, known.map_err(|error| Failure::All(classify(error)))?, now, events);
            let answers: Vec<_> = ops.iter().map(|op| plan.decide(op)).collect();
            if events || !answers.iter().any(|answer| matches!(answer, Err(StoreError::Conflict(_)))) {
                return Ok((plan, answers));
            }
            events = true;
        }
    }

    async fn write(&mut self, writes: &Writes<'_>, recorded: &Any, attempts: bool) -> Result<u64, Failure> {
        let failed = |error: sqlx::Error| {
            if is_constraint(&error) { Failure::Constraint(error) } else { Failure::All(classify(error)) }
        };
        if reach("store.before_write") == Asked::Fail {
            return Err(Failure::All(StoreError::Unavailable("an input/output error".into())));
        }
        let (log, rest) = writes.scripts(recorded);
        let mut attempts_gone = 0;
        // The last script takes the commit along: a round trip less.
        let mut last = if rest.is_empty() && !attempts {
            log
        } else {
            log.run(&mut self.connection).await.map_err(failed)?;
            if attempts {
                attempts_gone = writes.end_attempts(&mut self.connection).await.map_err(failed)?;
            }
            rest
        };
        last.then("commit;");
        if reach("store.before_sync") == Asked::Fail {
            return Err(Failure::All(StoreError::Unavailable("an input/output error".into())));
        }
        let began = Instant::now();
        let committed = last.run(&mut self.connection).await;
        self.flush = began.elapsed();
        match committed {
            Ok(()) => Ok(attempts_gone),
            Err(error) if is_fsync(&error) => Err(Failure::All(self.stop(&error))),
            Err(error) => Err(failed(error)),
        }
    }
}

fn refuse(group: Vec<Pending>, error: &StoreError) {
    for pending in group {
        let _ = pending.reply.send(Err(again(error)));
    }
}

/// What a written group means for the writer's state.
struct Learned {
    head: u64,
    last_stream: i64,
    streams: Vec<(tidewire_core::Key, Stream)>,
    consumers: Vec<(String, i64)>,
    leases: Vec<(String, Lease)>,
    parked: i64,
    attempts: i64,
}

impl Learned {
    fn of(plan: Plan<'_>, attempts_gone: u64) -> Self {
        let attempts = signed(plan.new_attempts()) - signed(attempts_gone);
        let Plan { head, last_stream, streams, writes, .. } = plan;
        Self {
            head,
            last_stream,
            streams: streams.into_iter().map(|(key, stream)| (key.clone(), stream)).collect(),
            consumers: writes.consumers.iter().map(|(id, name)| ((*name).to_owned(), *id)).collect(),
            parked: writes.parks.len() as i64 - writes.unparks.len() as i64,
            leases: writes.leases.into_iter().map(|(name, lease)| (name.to_owned(), lease)).collect(),
            attempts,
        }
    }

    fn teach(self, state: &mut State) {
        state.head = self.head;
        state.last_stream = self.last_stream;
        for (key, stream) in self.streams {
            state.streams.put(key, stream);
        }
        state.consumers.extend(self.consumers);
        state.leases.extend(self.leases);
        state.parked = state.parked.saturating_add_signed(self.parked);
        state.attempts = state.attempts.saturating_add_signed(self.attempts);
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
