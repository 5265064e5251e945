//! The timer loop: wakes handlers when a timer they set is due.

mod tenures;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use futures::StreamExt;
use tidewire_core::failpoint::{self, Asked};
use tidewire_core::handler::Kind;
use tidewire_core::{Commit, Committed, Fence, StoreError, Timer, TimerWrite, Unit};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use tenures::Tenures;

use crate::consume::ConsumeLoop;
use crate::ports::Ports;
use crate::roster::Roster;

/// Timers fetched at once, which also bounds what comes due together after an outage.
const BATCH: usize = 256;
/// Timers fired at once.
const CONCURRENCY: usize = 16;
/// Timers fired per second at the most. After an outage thousands are due together, and each may send requests to
/// services that are only just back.
const MAX_PER_SECOND: u32 = 1_000;
/// The longest sleep: a timer set by another process is seen this late at the worst.
const MAX_SLEEP: Duration = Duration::from_millis(500);
/// How often a firing is done again at once after losing a race.
const MAX_CONFLICTS: u32 = 20;

/// Fires the timers of the handlers on a roster. Several processes may: those of one consumer are fired by one of them at
/// a time, which holds its lease, and a timer fires once. A process that stood still for longer than its lease is refused
/// by the fence in each commit; another one went on.
pub struct TimerLoop {
    ports: Ports,
    roster: Roster,
}

type Runners = std::collections::BTreeMap<String, Arc<ConsumeLoop>>;

impl TimerLoop {
    /// A loop for whoever is on the roster at the time.
    pub(crate) fn new(roster: Roster) -> Self {
        Self { ports: roster.ports().clone(), roster }
    }

    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut tenures = Tenures::new(self.ports.clock.id().to_string());
        while !stop.is_cancelled() {
            let runners = self.roster.runners();
            let owners = tenures.ours(runners.keys().cloned());
            if owners.is_empty() {
                let _ = tokio::time::timeout(MAX_SLEEP, stop.cancelled()).await;
                continue;
            }
            match self.round(&runners, &owners, &mut tenures).await {
                Ok(fired) => {
                    let wait = if fired.count == 0 { self.sleep(&owners).await } else { fired.pause() };
                    let _ = tokio::time::timeout(wait, stop.cancelled()).await;
                }
                Err(error) => {
                    tracing::warn!(code = error.code(), %error, "cannot look for due timers");
                    let _ = tokio::time::timeout(MAX_SLEEP, stop.cancelled()).await;
                }
            }
        }
        tenures.release(self.ports.store.as_ref()).await;
    }

    /// Fires what is due; answers how many timers that were.
    async fn round(&self, runners: &Runners, owners: &[String], tenures: &mut Tenures) -> Result<Fired, StoreError> {
        let begun = Instant::now();
        let due = self.ports.store.due_timers(owners, self.ports.clock.now(), BATCH).await?;
        if due.is_empty() {
            return Ok(Fired::default());
        }
        let wanted: HashSet<&str> = due.iter().map(|timer| timer.owner.as_str()).collect();
        let fences: HashMap<String, Fence> = tenures.fences(self.ports.store.as_ref(), wanted).await?;
        let lost = Mutex::new(HashSet::new());
        let ours = due.into_iter().filter_map(|timer| Some((fences.get(&timer.owner)?, timer)));
        let ours: Vec<_> = ours.collect();
        let count = ours.len();
        futures::stream::iter(ours)
            .for_each_concurrent(CONCURRENCY, async |(fence, timer)| {
                let owner = timer.owner.clone();
                if self.fire(runners.get(&owner), timer, fence).await {
                    lost.lock().unwrap_or_else(PoisonError::into_inner).insert(owner);
                }
            })
            .await;
        for owner in lost.into_inner().unwrap_or_else(PoisonError::into_inner) {
            tracing::warn!(consumer = owner, code = "commit.fenced", "another process fires these timers now");
            tenures.lost(&owner);
        }
        Ok(Fired { count, took: begun.elapsed() })
    }

    async fn sleep(&self, owners: &[String]) -> Duration {
        let next = self.ports.store.next_due(owners).await.ok().and_then(|(timer, _)| timer);
        let until = next.map(|due| (due - self.ports.clock.now()).to_std().unwrap_or_default());
        until.unwrap_or(MAX_SLEEP).clamp(Duration::from_millis(1), MAX_SLEEP)
    }

    /// Whether it was refused, because the lease is somebody else's now.
    async fn fire(&self, runner: Option<&Arc<ConsumeLoop>>, timer: Timer, fence: &Fence) -> bool {
        let Some(runner) = runner else { return false };
        for _ in 0..=MAX_CONFLICTS {
            match self.attempt(runner, &timer, fence).await {
                Ok(_) => return false,
                Err(Unfired::Lost) => {}
                Err(Unfired::Fenced) => return true,
                Err(Unfired::Later(reason)) => {
                    tracing::warn!(consumer = timer.owner, timer = timer.id, key = %timer.key, reason, "a timer could not be fired; trying again");
                    break;
                }
            }
        }
        self.postpone(runner, timer, fence).await;
        false
    }

    async fn attempt(&self, runner: &ConsumeLoop, timer: &Timer, fence: &Fence) -> Result<Committed, Unfired> {
        let mut unit = Unit::new(self.ports.store.clone(), self.ports.clock.clone(), &timer.owner, &runner.source);
        let mut cx = unit.context(None, 1);
        let woken = runner.guard(runner.handler.wake(timer, &mut cx)).await;
        woken.map_err(|failure| Unfired::Later(failure.error.to_string()))?;
        cx.keep();
        let mut commit = unit.into_commit();
        commit.fence = Some(fence.clone());
        commit.timers.insert(0, TimerWrite::Fire { owner: timer.owner.clone(), id: timer.id.clone() });
        let fails = |place| runner.consumer.kind == Kind::Saga && failpoint::reach(place) == Asked::Fail;
        if fails("saga.before_commit") {
            return Err(Unfired::Later("failpoint".into()));
        }
        let committed = self.ports.store.commit(commit).await.map_err(|error| match error {
            StoreError::Conflict(_) => Unfired::Lost,
            StoreError::Fenced { .. } => Unfired::Fenced,
            error => Unfired::Later(error.to_string()),
        })?;
        // As if the answer had been lost: the timer is gone, so whatever follows is a duplicate.
        if fails("saga.after_commit") {
            return Err(Unfired::Later("failpoint".into()));
        }
        Ok(committed)
    }

    /// Moves a timer that could not be fired, so that it does not stand in the way of others.
    async fn postpone(&self, runner: &ConsumeLoop, mut timer: Timer, fence: &Fence) {
        let wait = runner.options.backoff.after(2, self.ports.clock.random());
        timer.due = self.ports.clock.now() + TimeDelta::from_std(wait).unwrap_or(TimeDelta::seconds(1));
        let fire = TimerWrite::Fire { owner: timer.owner.clone(), id: timer.id.clone() };
        let timers = vec![fire, TimerWrite::Set(timer)];
        let commit = Commit { timers, fence: Some(fence.clone()), ..Commit::default() };
        if let Err(error) = self.ports.store.commit(commit).await {
            tracing::debug!(%error, "the timer stays due");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Timers fired in one round.
#[derive(Clone, Copy, Debug, Default)]
struct Fired {
    count: usize,
    took: Duration,
}

impl Fired {
    /// How long to rest, so that the rate stays within [`MAX_PER_SECOND`].
    fn pause(self) -> Duration {
        let least = Duration::from_secs(1) / MAX_PER_SECOND * u32::try_from(self.count).unwrap_or(u32::MAX);
        least.saturating_sub(self.took)
    }
}

/// Why a timer did not fire.
enum Unfired {
    /// Somebody changed what it touches.
    Lost,
    /// Another process holds the lease.
    Fenced,
    /// Something that takes time to pass.
    Later(String),
}
