//! One member's seat in a group.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use tidewire_core::broker::Subscribe;
use tidewire_core::{BrokerError, Delivery, Subscription};
use tokio::time::Instant;

use super::group::{Group, Settled};

/// A member. Dropping it hands back what it has.
pub(super) struct Seat {
    group: Arc<Group>,
    member: u64,
}

impl Seat {
    /// The seat of a member that has joined.
    pub(super) fn new(group: Arc<Group>, member: u64) -> Self {
        Self { group, member }
    }

    /// Waits until the group is kept as this member asks.
    pub(super) async fn settle(&self) -> Result<(), BrokerError> {
        let group = &self.group;
        let mine = group.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut settled = group.settled.subscribe();
        group.nudge.notify_one();
        let is_settled = |settled: &Settled| {
            settled.done >= mine || settled.failed.as_ref().is_some_and(|(asked, _)| *asked >= mine)
        };
        let found = settled.wait_for(is_settled).await.map_err(|_| BrokerError::Closed)?.clone();
        match found.failed {
            Some((asked, error)) if asked >= mine && found.done < mine => Err(error),
            _ => Ok(()),
        }
    }

    fn try_next(&self, events: usize, bytes: usize) -> Result<(Vec<Delivery>, Option<Instant>), BrokerError> {
        let mut state = self.group.state();
        if state.ended || !state.members.contains_key(&self.member) {
            return Err(BrokerError::Closed);
        }
        if let Some(denied) = &state.denied {
            return Err(denied.clone());
        }
        let handouts = state.next(self.member, events, bytes);
        let (wake_at, has_offers) = (state.hand.wake_at(), state.hand.has_offers());
        drop(state);
        let deliveries: Vec<Delivery> = handouts
            .into_iter()
            .map(|handout| {
                let envelope = Arc::unwrap_or_clone(handout.envelope);
                Delivery::new(envelope, handout.attempt, handout.token, self.group.clone())
            })
            .collect();
        if has_offers && !deliveries.is_empty() {
            self.group.changed.notify_waiters();
        }
        Ok((deliveries, wake_at))
    }
}

/// What a seat asks for, checked.
pub(super) fn normal(mut request: Subscribe) -> Subscribe {
    request.names.sort_unstable();
    request.names.dedup();
    request
}

#[async_trait]
impl Subscription for Seat {
    async fn next(&mut self, events: usize, bytes: usize) -> Result<Vec<Delivery>, BrokerError> {
        loop {
            let changed = self.group.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let (deliveries, wake_at) = self.try_next(events, bytes)?;
            if !deliveries.is_empty() {
                self.group.room.notify_waiters();
                return Ok(deliveries);
            }
            match wake_at {
                Some(at) => drop(tokio::time::timeout_at(at, changed).await),
                None => changed.await,
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.group.state().leave(self.member);
        self.group.wake();
        self.group.nudge.notify_one();
    }
}
