//! The keeper: lets the consumers of a process be those of the subscriptions there are.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidewire_core::store::ParkedQuery;
use tidewire_core::{Commit, StoreError, Unpark};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::endpoint::Endpoint;
use super::handler::{PushHandler, Signals};
use super::register::Register;
use super::status::{Report, Tally};
use super::subscription::{State, Subscription, consumer_name};
use crate::consume::ConsumeOptions;
use crate::roster::Roster;

/// Events in one commit: each waited for an endpoint, and all of them would be sent again should the process die before.
const BATCH: usize = 16;
/// Unacknowledged deliveries at once: what an endpoint that is away holds in memory.
const MAX_IN_FLIGHT: usize = 256;
/// Parked events of a subscription that ended, cleared away in one round.
const CLEAR: usize = 500;
/// Rounds between two looks for outdated reports.
const TIDY_EVERY: u32 = 60;

/// Starts, changes and stops the consumers of subscriptions, by what is stored: a change made through any process is seen
/// within [`PushOptions::refresh`](super::PushOptions::refresh), and a consumer that is to end finishes the requests it
/// has sent.
pub struct Keeper {
    register: Register,
    process: String,
    look: Arc<Notify>,
}

/// A consumer that runs here.
struct Kept {
    revision: u64,
    endpoint: Arc<Endpoint>,
    signals: Signals,
    /// What was reported last.
    reported: Option<(Tally, super::Circuit)>,
    /// It is ending.
    is_leaving: bool,
}

impl Keeper {
    /// The keeper of a process.
    pub fn new(register: Register) -> Self {
        let process = register.ports().clock.id().simple().to_string();
        Self { register, process, look: Arc::default() }
    }

    /// Runs until `stop`.
    pub async fn run(self, roster: Roster, stop: CancellationToken) {
        let mut kept: HashMap<String, Kept> = HashMap::new();
        let mut round = 0u32;
        while !stop.is_cancelled() {
            if let Err(error) = self.round(&roster, &mut kept, &stop, round.is_multiple_of(TIDY_EVERY)).await {
                tracing::warn!(code = error.code(), %error, "push subscriptions stay as they are until the store is back");
            }
            round = round.wrapping_add(1);
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.look.notified() => {}
                () = tokio::time::sleep(self.register.options().refresh) => {}
            }
        }
        kept.values().for_each(|kept| kept.signals.leave.cancel());
    }

    async fn round(
        &self,
        roster: &Roster,
        kept: &mut HashMap<String, Kept>,
        stop: &CancellationToken,
        is_tidying: bool,
    ) -> Result<(), StoreError> {
        kept.retain(|name, kept| !kept.is_leaving || roster.runs(name));
        let all = self.register.all().await?;
        for (subscription, revision) in &all {
            let name = subscription.consumer_name();
            if kept.get(&name).is_some_and(|kept| kept.signals.gone.load(Ordering::Acquire)) {
                self.disable(subscription, *revision).await?;
            }
            let is_active = subscription.state == State::Active;
            match kept.get_mut(&name) {
                Some(kept) if kept.is_leaving => {}
                Some(kept) if !is_active || kept.revision != *revision => leave(roster, name, kept),
                Some(_) => {}
                None if is_active => {
                    if let Some(started) = self.start(roster, subscription, *revision, stop) {
                        kept.insert(name, started);
                    }
                }
                None => {}
            }
        }
        for (name, kept) in kept.iter_mut().filter(|(_, kept)| !kept.is_leaving) {
            if !all.iter().any(|(subscription, _)| subscription.consumer_name() == *name) {
                leave(roster, name.clone(), kept);
            }
        }
        self.report(kept).await?;
        self.clear(roster, &all).await?;
        if is_tidying {
            let ids: Vec<&str> = all.iter().map(|(subscription, _)| subscription.id.as_str()).collect();
            let documents = self.register.outdated(&ids).await?;
            self.commit(Commit { documents, ..Commit::default() }).await?;
        }
        Ok(())
    }

    fn start(
        &self,
        roster: &Roster,
        subscription: &Subscription,
        revision: u64,
        stop: &CancellationToken,
    ) -> Option<Kept> {
        let signals = Signals { leave: stop.child_token(), look: self.look.clone(), ..Signals::default() };
        let handler = PushHandler::told(&self.register, subscription, signals.clone())
            .inspect_err(|error| tracing::error!(subscription = subscription.id, %error, "cannot be delivered"))
            .ok()?;
        let endpoint = handler.endpoint().clone();
        let usual = roster.options();
        let options = ConsumeOptions {
            batch: BATCH.min(usual.batch),
            max_in_flight: MAX_IN_FLIGHT.min(usual.max_in_flight),
            ..usual.clone()
        };
        if !roster.enroll_with(Arc::new(handler), &subscription.reply_source(), options) {
            return None;
        }
        tracing::info!(subscription = subscription.id, "delivering");
        Some(Kept { revision, endpoint, signals, reported: None, is_leaving: false })
    }

    /// The endpoint said that it is gone. Somebody else may have changed the subscription meanwhile: then the next
    /// round looks again.
    async fn disable(&self, subscription: &Subscription, revision: u64) -> Result<(), StoreError> {
        if subscription.state != State::Active {
            return Ok(());
        }
        let at = self.register.ports().clock.now();
        let (code, reason) = ("push.gone".to_owned(), "the endpoint answered 410: it is gone".to_owned());
        let disabled =
            Subscription { state: State::Disabled { code, reason, at }, changed: at, ..subscription.clone() };
        let documents = self.register.keep(&disabled, Some(revision));
        self.commit(Commit { documents, ..Commit::default() }).await?;
        tracing::error!(
            code = "push.gone",
            subscription = subscription.id,
            "its endpoint is gone; nothing is delivered until the subscription is resumed"
        );
        Ok(())
    }

    /// Clears away what subscriptions that ended have left: nobody redrives their parked events, and the broker keeps
    /// what they had yet to acknowledge. While another process still delivers, it is not yet time.
    async fn clear(&self, roster: &Roster, all: &[(Subscription, u64)]) -> Result<(), StoreError> {
        let ports = self.register.ports();
        for (id, revision) in self.register.ended().await? {
            let consumer = consumer_name(&id);
            if roster.runs(&consumer) || all.iter().any(|(subscription, _)| subscription.id == id) {
                continue;
            }
            let query = ParkedQuery { consumer: Some(consumer.clone()), limit: CLEAR, ..ParkedQuery::default() };
            let parked = ports.store.parked(&query).await?;
            let unpark: Vec<Unpark> =
                parked.iter().map(|parked| Unpark { consumer: consumer.clone(), ordinal: parked.ordinal }).collect();
            let is_last = unpark.len() < CLEAR;
            self.commit(Commit { unpark, ..Commit::default() }).await?;
            if !is_last {
                continue;
            }
            match ports.broker.forget(&consumer).await {
                Ok(()) => {
                    let documents = vec![self.register.cleared(&id, revision)];
                    self.commit(Commit { documents, ..Commit::default() }).await?;
                    tracing::info!(subscription = id, "ended, and nothing is left of it");
                }
                Err(error) => tracing::debug!(subscription = id, %error, "it still has members"),
            }
        }
        Ok(())
    }

    /// Keeps for others how deliveries go, where that has changed.
    async fn report(&self, kept: &mut HashMap<String, Kept>) -> Result<(), StoreError> {
        let at = self.register.ports().clock.now();
        let mut documents = Vec::new();
        for (name, kept) in kept.iter_mut() {
            let now = (kept.endpoint.tally().clone(), kept.endpoint.breaker.circuit());
            if kept.reported.as_ref() == Some(&now) || (kept.reported.is_none() && now.0 == Tally::default()) {
                continue;
            }
            let id = name.strip_prefix("push.").unwrap_or(name);
            let report = Report { at, circuit: now.1, tally: now.0.clone() };
            documents.push(self.register.report(id, &self.process, &report));
            kept.reported = Some(now);
        }
        self.commit(Commit { documents, ..Commit::default() }).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        if commit.is_empty() {
            return Ok(());
        }
        match self.register.ports().store.commit(commit).await {
            Ok(_) | Err(StoreError::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Lets a consumer end, without waiting for the requests it has sent.
fn leave(roster: &Roster, name: String, kept: &mut Kept) {
    kept.is_leaving = true;
    kept.signals.leave.cancel();
    let (roster, look) = (roster.clone(), kept.signals.look.clone());
    tokio::spawn(async move {
        roster.dismiss(&name).await;
        look.notify_one();
    });
}
