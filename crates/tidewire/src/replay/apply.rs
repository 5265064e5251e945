//! Replaying to a consumer, or to its handler under another name.

use std::sync::Arc;
use std::time::Instant;

use sha2::{Digest, Sha256};
use tidewire_core::commit::ExpectDocument;
use tidewire_core::failpoint::{self, Asked};
use tidewire_core::{Commit, Envelope, Key, Mark, Position, Recorded, Seen, StoreError, Unit};

use super::driver::{Driver, Halt, handle, hands_of};
use super::error::ReplayError;
use super::job::{Job, State, Trouble};
use super::plan::Target;
use super::source::Page;
use super::view::View;
use crate::consume::ConsumeLoop;

impl Driver {
    /// The handler of this replay, and what it sees.
    pub(super) fn hands(&mut self, job: &Job, generation: u32) -> Result<(Arc<ConsumeLoop>, Arc<View>), Halt> {
        if let Some(hands) = &self.hands {
            return Ok(hands.clone());
        }
        let name = job.terms.target.handler().unwrap_or_default();
        let gone = |error: ReplayError| {
            Halt::Trouble(Trouble { code: error.code().into(), reason: error.to_string(), event: None })
        };
        let runner = self.desk.runner(name).map_err(gone)?;
        let mut view = hands_of(self.ports(), &runner.consumer, &job.terms.target, generation);
        let begins = !matches!(job.terms.target, Target::Projection { rollback: true, .. }) && job.counts.batches == 0;
        if begins && matches!(job.terms.target, Target::Projection { .. }) {
            view = view.empty();
        }
        let hands = (Arc::new(runner), Arc::new(view));
        self.hands = Some(hands.clone());
        Ok(hands)
    }

    /// One batch to a consumer.
    pub(super) async fn handle_batch(&mut self, mut job: Job, expect: ExpectDocument) -> Result<bool, Halt> {
        let begun = Instant::now();
        let (runner, view) = self.hands(&job, 1)?;
        let is_live = matches!(job.terms.target, Target::Consumer { .. });
        let Page { mut position, events, mut last } = self.page(&job.terms.source, job.position, is_live).await?;
        job.counts.read += events.len() as u64;
        let events = self.wanted(&mut job, &runner, events).await?;
        let mut unit = Unit::new(view.clone(), self.ports().clock.clone(), &runner.consumer.name, &runner.source);
        if !job.terms.with_effects {
            unit = unit.muted();
        }
        prepare(&runner, &mut unit, events.iter().map(|recorded| &recorded.envelope)).await;
        let mut done = Vec::with_capacity(events.len());
        for recorded in &events {
            if let Err(failure) = handle(&runner, &mut unit, &recorded.envelope).await {
                if done.is_empty() {
                    return Err(self.stumble(&recorded.envelope, &failure).await);
                }
                // What came before it is committed first; then it is at the head of a batch.
                job.counts.read -= (events.len() - done.len()) as u64;
                (position, last) = (Position(recorded.position.0.saturating_sub(1)), false);
                break;
            }
            done.push(Mark::of(&recorded.envelope));
        }
        job.counts.mute(&unit.take_muted());
        job.counts.handled += done.len() as u64;
        job.counts.batches += 1;
        job.position = position;
        let handled = done.len();
        let commit = self.asked_for(&job, unit, done, &view)?;
        if last {
            job.state = State::Done;
        }
        if failpoint::reach("replay.before_commit") == Asked::Fail {
            return Err(StoreError::Unavailable("failpoint".into()).into());
        }
        let rate = job.terms.rate;
        self.commit(commit, job, expect, begun).await?;
        if failpoint::reach("replay.after_commit") == Asked::Fail {
            return Err(StoreError::Unknown("failpoint".into()).into());
        }
        self.pace(handled, rate, begun).await;
        Ok(!last)
    }

    /// Without what a live consumer has handled, or must not get before what is parked.
    async fn wanted(
        &self,
        job: &mut Job,
        runner: &ConsumeLoop,
        events: Vec<Recorded>,
    ) -> Result<Vec<Recorded>, StoreError> {
        let Target::Consumer { again, .. } = job.terms.target else { return Ok(events) };
        let (store, name) = (self.store(), &runner.consumer.name);
        let mut events = events;
        if !again {
            let marks: Vec<Mark> = events.iter().map(|recorded| Mark::of(&recorded.envelope)).collect();
            let seen = store.seen(name, &marks).await?;
            let before = events.len();
            let mut seen = seen.into_iter();
            events.retain(|_| !seen.next().unwrap_or_default());
            job.counts.already += (before - events.len()) as u64;
        }
        let mut keys: Vec<Key> = events.iter().map(|recorded| recorded.envelope.key.clone()).collect();
        keys.sort_unstable();
        keys.dedup();
        let parked = store.parked_keys(name, &keys).await?;
        let before = events.len();
        events.retain(|recorded| !parked.contains(&recorded.envelope.key));
        job.counts.parked += (before - events.len()) as u64;
        Ok(events)
    }

    /// The commit of a batch, with what the target adds to it.
    fn asked_for(&self, job: &Job, unit: Unit, done: Vec<Mark>, view: &View) -> Result<Commit, StoreError> {
        let mut commit = unit.into_commit();
        match &job.terms.target {
            Target::Consumer { name, again: false } => {
                commit.seen = done.into_iter().map(|mark| Seen { consumer: name.clone(), mark }).collect();
                Ok(commit)
            }
            Target::Consumer { .. } => {
                // Under its old id an effect that was carried out would count as done.
                for effect in &mut commit.effects {
                    effect.id = renewed(&effect.id, &job.id);
                }
                Ok(commit)
            }
            _ => {
                view.keep(&commit);
                view.onto(commit)
            }
        }
    }
}

/// Lets a handler read with one look-up what a batch needs.
pub(super) async fn prepare<'a>(runner: &ConsumeLoop, unit: &mut Unit, events: impl IntoIterator<Item = &'a Envelope>) {
    let envelopes: Vec<&Envelope> = events.into_iter().collect();
    let mut cx = unit.context(None, 1);
    if let Err(failure) = runner.guard(runner.handler.prepare(&envelopes, &mut cx)).await {
        // What could not be read ahead is read, and reported, event by event.
        tracing::debug!(consumer = runner.consumer.name, error = %failure.error, "could not read ahead");
    }
}

/// The idempotency key of an effect that one replay asks for again.
fn renewed(effect: &str, replay: &str) -> String {
    let digest = Sha256::new().chain_update(effect).chain_update(replay).finalize();
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
