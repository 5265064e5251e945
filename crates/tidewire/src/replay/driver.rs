//! One process carrying out one replay, batch by batch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidewire_core::commit::ExpectDocument;
use tidewire_core::handler::Consumer;
use tidewire_core::{
    Broker, Commit, Committed, Envelope, Fence, HandlerError, Muted, Position, SchemaError, Store, StoreError, Unit,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::desk::Replays;
use super::job::{Counts, Job, Seat, State, Trouble};
use super::plan::Target;
use super::record;
use super::source::{Page, Pages, Source};
use super::view::View;
use super::{job, rebuild};
use crate::consume::{ConsumeLoop, Failure};
use crate::ports::Ports;

/// Events per batch to begin with, where nobody else works on the same documents: one read, one commit.
const LARGE_BATCH: usize = 4_096;
/// Events per batch that share documents with live traffic: as many as a live batch, so that nobody waits longer for one.
const SMALL_BATCH: usize = 512;
/// How often an event is tried that fails in a way that may pass.
const MAX_TRIES: u32 = 5;
/// Wait between these, and while the store or the broker is away.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Why a step did not take a replay further.
pub(super) enum Halt {
    /// The store.
    Store(StoreError),
    /// Something that passes: look again where it stands.
    Again,
    /// It cannot go on.
    Trouble(Trouble),
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A page that is read before it is asked for: after which position, how many events, and the reading of it.
type Ahead = (Position, usize, JoinHandle<Result<Page, StoreError>>);

/// One replay in the hands of this process.
pub(super) struct Driver {
    pub desk: Replays,
    pub id: String,
    pub fence: Fence,
    /// Who holds the lease behind it.
    owner: String,
    renewed: Instant,
    pub stop: CancellationToken,
    /// The handler, and what it sees. Made when it is first needed.
    pub hands: Option<(Arc<ConsumeLoop>, Arc<View>)>,
    pub broker: Option<Arc<dyn Broker>>,
    limit: usize,
    tries: u32,
    ahead: Option<Ahead>,
    pub rebuild: rebuild::Memory,
}

impl Driver {
    /// A process that is silent for so long loses its replay to another one.
    const LEASE_TTL: Duration = Duration::from_secs(15);
    /// How often the lease is renewed; a batch takes less than the rest of its life.
    const RENEW: Duration = Duration::from_secs(4);

    /// Takes the replay in hand. `None` while another process has it.
    pub async fn take(
        desk: &Replays,
        id: &str,
        owner: &str,
        stop: &CancellationToken,
    ) -> Result<Option<Self>, StoreError> {
        let lease = format!("replay/{id}");
        let Some(epoch) = desk.ports.store.lease(&lease, owner, Self::LEASE_TTL).await? else { return Ok(None) };
        Ok(Some(Self {
            desk: desk.clone(),
            id: id.to_owned(),
            fence: Fence { lease, epoch },
            owner: owner.to_owned(),
            renewed: Instant::now(),
            stop: stop.clone(),
            hands: None,
            broker: None,
            limit: LARGE_BATCH,
            tries: 0,
            ahead: None,
            rebuild: rebuild::Memory::default(),
        }))
    }

    /// Keeps it in hand. [`StoreError::Fenced`] when another process has taken it.
    pub async fn renew(&mut self) -> Result<(), StoreError> {
        if self.renewed.elapsed() < Self::RENEW {
            return Ok(());
        }
        let Fence { lease, epoch } = &self.fence;
        match self.store().lease(lease, &self.owner, Self::LEASE_TTL).await? {
            Some(now) if now == *epoch => {
                self.renewed = Instant::now();
                Ok(())
            }
            _ => Err(StoreError::Fenced { lease: lease.clone(), epoch: *epoch }),
        }
    }

    /// Lets go of it.
    pub async fn leave(mut self) {
        self.let_go().await;
        if let Some(broker) = self.broker.take() {
            broker.close().await;
        }
        let _ = self.store().release(&self.fence.lease, &self.owner, self.fence.epoch).await;
    }

    /// Lets live events be handled again, if they were held.
    pub async fn let_go(&mut self) {
        if let Some(hold) = self.rebuild.hold.take()
            && let Err(error) = hold.release(self.store().as_ref()).await
        {
            tracing::warn!(replay = self.id, %error, "live events are held until the lease has run out");
        }
    }

    pub fn ports(&self) -> &Ports {
        &self.desk.ports
    }

    pub fn store(&self) -> Arc<dyn Store> {
        self.desk.ports.store.clone()
    }

    /// Takes it one batch further. `false` when there is nothing left to do.
    pub async fn step(&mut self) -> Result<bool, Halt> {
        self.renew().await?;
        let Some((mut job, expect)) = Job::load(self.store().as_ref(), &self.id).await? else { return Ok(false) };
        match job.state {
            State::Waiting => job.state = State::Running,
            State::Running => {}
            State::Stopping => {
                job.state = State::Stopped;
                self.commit(Commit::default(), job, expect, Instant::now()).await?;
                return Ok(false);
            }
            _ => return Ok(false),
        }
        match job.terms.target {
            Target::Consumer { .. } | Target::New { .. } => self.handle_batch(job, expect).await,
            Target::Projection { .. } => self.rebuild_step(job, expect).await,
            Target::Domain { .. } => self.publish_batch(job, expect).await,
            // Nobody can apply such a plan here.
            Target::File => Ok(false),
        }
    }

    /// Tells why it cannot go on.
    pub async fn fail(&mut self, trouble: Trouble) -> Result<(), Halt> {
        let Some((mut job, expect)) = Job::load(self.store().as_ref(), &self.id).await? else { return Ok(()) };
        tracing::error!(
            replay = self.id,
            code = trouble.code,
            reason = trouble.reason,
            event = trouble.event,
            "a replay cannot go on"
        );
        job.state = State::Failed;
        job.trouble = Some(trouble);
        self.commit(Commit::default(), job, expect, Instant::now()).await
    }

    /// Tells why it cannot go on, if that can be told: otherwise whoever takes it next finds out again.
    async fn give_up(&mut self, trouble: Trouble) -> bool {
        if self.fail(trouble).await.is_err() {
            tracing::warn!(replay = self.id, "that it failed could not be written down");
        }
        false
    }

    /// Commits `commit` together with how far the replay has come.
    pub async fn commit(
        &mut self,
        mut commit: Commit,
        mut job: Job,
        expect: ExpectDocument,
        begun: Instant,
    ) -> Result<(), Halt> {
        job.updated = self.ports().clock.now();
        job.seconds += begun.elapsed().as_secs_f64();
        if job.state == State::Done {
            let target = job.terms.target.seat();
            let (mut seat, seat_expects) = Seat::load(self.store().as_ref(), &target).await?;
            seat.done += 1;
            seat.taken = None;
            commit.documents.push(record::write(job::SEATS, &target, &seat, seat_expects)?);
        }
        commit.documents.extend(job.writes(expect)?);
        commit.fence = Some(commit.fence.unwrap_or_else(|| self.fence.clone()));
        match self.store().commit(commit).await {
            Ok(Committed::Applied { .. }) => {
                self.tries = 0;
                Ok(())
            }
            Ok(Committed::Duplicate) => Err(Halt::Again),
            Err(error) => Err(Halt::Store(error)),
        }
    }

    /// What to do after a step that failed. `true`: go on.
    pub async fn recover(&mut self, halt: Halt) -> bool {
        // Whatever was remembered may not be what was committed.
        self.let_go().await;
        self.hands = None;
        self.ahead = None;
        self.rebuild = rebuild::Memory::default();
        match halt {
            Halt::Again | Halt::Store(StoreError::Conflict(_)) => true,
            Halt::Store(StoreError::Fenced { .. }) => false,
            Halt::Store(StoreError::Invalid(_)) if self.limit > 1 => {
                self.limit = (self.limit / 4).max(1);
                true
            }
            Halt::Store(error) if error.is_transient() => {
                tracing::warn!(replay = self.id, code = error.code(), %error, "a replay waits for the store");
                self.pause(RETRY_AFTER).await;
                true
            }
            Halt::Store(error) => {
                let trouble = Trouble { code: error.code().into(), reason: error.to_string(), event: None };
                self.give_up(trouble).await
            }
            Halt::Trouble(trouble) => self.give_up(trouble).await,
        }
    }

    /// The next page of what is wanted after `after`. The one behind it is read meanwhile.
    pub async fn page(&mut self, source: &Source, after: Position, small: bool) -> Result<Page, StoreError> {
        let limit = if small { self.limit.min(SMALL_BATCH) } else { self.limit };
        let page = match self.ahead.take() {
            Some((at, size, read)) if at == after && size == limit => {
                read.await.unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string())))?
            }
            _ => Pages::new(source, after, limit)?.next(self.store().as_ref()).await?,
        };
        if !page.last {
            let (mut pages, store) = (Pages::new(source, page.position, limit)?, self.store());
            let read = tokio::spawn(async move { pages.next(store.as_ref()).await });
            self.ahead = Some((page.position, limit, read));
        }
        Ok(page)
    }

    /// Decides about an event at the head of a batch whose handler failed: again, or not at all.
    pub async fn stumble(&mut self, envelope: &Envelope, failure: &Failure) -> Halt {
        self.tries += 1;
        if failure.error.is_transient() && (self.tries < MAX_TRIES || !failure.error.is_counted()) {
            self.pause(RETRY_AFTER).await;
            return Halt::Again;
        }
        self.tries = 0;
        Halt::Trouble(trouble_of(envelope, failure))
    }

    /// Waits so long that no more than `rate` events a second were handled since `begun`.
    pub async fn pace(&self, events: usize, rate: Option<u32>, begun: Instant) {
        let Some(rate) = rate.filter(|rate| *rate > 0) else { return tokio::task::yield_now().await };
        let due = Duration::from_secs_f64(events as f64 / f64::from(rate));
        self.pause(due.saturating_sub(begun.elapsed())).await;
    }

    pub async fn pause(&self, wait: Duration) {
        let _ = tokio::time::timeout(wait, self.stop.cancelled()).await;
    }
}

pub(super) fn trouble_of(envelope: &Envelope, failure: &Failure) -> Trouble {
    Trouble { code: failure.code.clone(), reason: failure.error.to_string(), event: Some(envelope.id.clone()) }
}

impl Counts {
    pub(super) fn mute(&mut self, muted: &Muted) {
        self.muted_effects += muted.effects.len() as u64;
        self.muted_events += muted.events.len() as u64;
        self.muted_timers += muted.timers.len() as u64;
    }
}

/// What a handler sees while events are replayed to it: a store that nobody can write through.
pub(super) fn hands_of(ports: &Ports, consumer: &Consumer, target: &Target, generation: u32) -> View {
    let store = ports.store.clone();
    match target {
        Target::New { name, .. } => View::beside(store, &consumer.keeps, name),
        Target::Projection { .. } => View::of(store, &consumer.keeps, generation),
        _ => View::of(store, &[], 1),
    }
}

/// Runs the handler for one event on top of `unit`. What it asks for counts only if it succeeds. An event that has
/// expired is handled all the same: it had not when it was live.
pub(super) async fn handle(runner: &ConsumeLoop, unit: &mut Unit, envelope: &Envelope) -> Result<(), Failure> {
    if runner.consumer.is_newer(&envelope.ty) {
        let known =
            runner.consumer.types.iter().find(|ty| ty.name() == envelope.ty.name()).map_or(0, |ty| ty.version());
        return Err(HandlerError::Schema(SchemaError::Newer { found: envelope.ty.clone(), known }).into());
    }
    let mut cx = unit.context(Some(envelope), 1);
    runner.guard(runner.handler.handle(envelope, &mut cx)).await?;
    cx.keep();
    Ok(())
}
