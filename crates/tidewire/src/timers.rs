//! The timer loop: wakes handlers when a timer they set is due.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures::StreamExt;
use tidewire_core::failpoint::{self, Asked};
use tidewire_core::handler::Kind;
use tidewire_core::{Commit, Committed, StoreError, Timer, TimerWrite, Unit};
use tokio_util::sync::CancellationToken;

use crate::consume::ConsumeLoop;
use crate::ports::Ports;
use crate::roster::Roster;

/// Timers fetched at once, which also bounds what comes due together after an outage.
const BATCH: usize = 256;
/// Timers fired at once.
const CONCURRENCY: usize = 16;
/// The longest sleep: a timer set by another process is seen this late at the worst.
const MAX_SLEEP: Duration = Duration::from_millis(500);
/// How often a firing is done again at once after losing a race.
const MAX_CONFLICTS: u32 = 20;

/// Fires the timers of the handlers on a roster. Several loops may run: a timer fires once, whoever is first.
pub struct TimerLoop {
    ports: Ports,
    roster: Roster,
}

impl TimerLoop {
    /// A loop for whoever is on the roster at the time.
    pub(crate) fn new(roster: Roster) -> Self {
        Self { ports: roster.ports().clone(), roster }
    }

    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let runners = self.roster.runners();
            let owners: Vec<String> = runners.keys().cloned().collect();
            if owners.is_empty() {
                let _ = tokio::time::timeout(MAX_SLEEP, stop.cancelled()).await;
                continue;
            }
            let now = self.ports.clock.now();
            match self.ports.store.due_timers(&owners, now, BATCH).await {
                Ok(due) if !due.is_empty() => {
                    let fire = |timer: Timer| self.fire(runners.get(&timer.owner), timer);
                    futures::stream::iter(due).for_each_concurrent(CONCURRENCY, fire).await;
                    continue;
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(code = error.code(), %error, "cannot look for due timers"),
            }
            let _ = tokio::time::timeout(self.sleep(&owners).await, stop.cancelled()).await;
        }
    }

    async fn sleep(&self, owners: &[String]) -> Duration {
        let next = self.ports.store.next_due(owners).await.ok().and_then(|(timer, _)| timer);
        let until = next.map(|due| (due - self.ports.clock.now()).to_std().unwrap_or_default());
        until.unwrap_or(MAX_SLEEP).clamp(Duration::from_millis(1), MAX_SLEEP)
    }

    async fn fire(&self, runner: Option<&Arc<ConsumeLoop>>, timer: Timer) {
        let Some(runner) = runner else { return };
        for _ in 0..=MAX_CONFLICTS {
            match self.attempt(runner, &timer).await {
                Ok(_) => return,
                Err(Unfired::Lost) => {}
                Err(Unfired::Later(reason)) => {
                    tracing::warn!(consumer = timer.owner, timer = timer.id, key = %timer.key, reason, "a timer could not be fired; trying again");
                    break;
                }
            }
        }
        self.postpone(runner, timer).await;
    }

    async fn attempt(&self, runner: &ConsumeLoop, timer: &Timer) -> Result<Committed, Unfired> {
        let mut unit = Unit::new(self.ports.store.clone(), self.ports.clock.clone(), &timer.owner, &runner.source);
        let mut cx = unit.context(None, 1);
        let woken = runner.guard(runner.handler.wake(timer, &mut cx)).await;
        woken.map_err(|failure| Unfired::Later(failure.error.to_string()))?;
        cx.keep();
        let mut commit = unit.into_commit();
        commit.timers.insert(0, TimerWrite::Fire { owner: timer.owner.clone(), id: timer.id.clone() });
        let fails = |place| runner.consumer.kind == Kind::Saga && failpoint::reach(place) == Asked::Fail;
        if fails("saga.before_commit") {
            return Err(Unfired::Later("failpoint".into()));
        }
        let committed = self.ports.store.commit(commit).await.map_err(|error| match error {
            StoreError::Conflict(_) => Unfired::Lost,
            error => Unfired::Later(error.to_string()),
        })?;
        // As if the answer had been lost: the timer is gone, so whatever follows is a duplicate.
        if fails("saga.after_commit") {
            return Err(Unfired::Later("failpoint".into()));
        }
        Ok(committed)
    }

    /// Moves a timer that could not be fired, so that it does not stand in the way of others.
    async fn postpone(&self, runner: &ConsumeLoop, mut timer: Timer) {
        let wait = runner.options.backoff.after(2, self.ports.clock.random());
        timer.due = self.ports.clock.now() + TimeDelta::from_std(wait).unwrap_or(TimeDelta::seconds(1));
        let fire = TimerWrite::Fire { owner: timer.owner.clone(), id: timer.id.clone() };
        let commit = Commit { timers: vec![fire, TimerWrite::Set(timer)], ..Commit::default() };
        if let Err(error) = self.ports.store.commit(commit).await {
            tracing::debug!(%error, "the timer stays due");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Why a timer did not fire.
enum Unfired {
    /// Somebody changed what it touches.
    Lost,
    /// Something that takes time to pass.
    Later(String),
}
