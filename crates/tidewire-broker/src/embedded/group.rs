//! Groups and their members' seats.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use tidewire_core::broker::Desk;
use tidewire_core::{BrokerError, Delivery, Subscription};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::reader;
use super::scheduler::{Fetch, Scheduler};
use super::shared::{Damage, Shared, unpoisoned};

/// One group while the broker is open.
pub(super) struct Group {
    pub id: i64,
    pub name: String,
    scheduler: Mutex<Scheduler>,
    /// Something changed that a waiting member may want.
    pub changed: Notify,
}

impl Group {
    pub(super) fn new(id: i64, name: String, scheduler: Scheduler) -> Self {
        Self { id, name, scheduler: Mutex::new(scheduler), changed: Notify::new() }
    }

    pub(super) fn scheduler(&self) -> MutexGuard<'_, Scheduler> {
        unpoisoned(&self.scheduler)
    }
}

/// A group as deliveries and seats see it.
struct Counter {
    shared: Arc<Shared>,
    group: Arc<Group>,
}

impl Counter {
    /// Changes the group's state, then tells whoever must know.
    fn change<T>(&self, change: impl FnOnce(&mut Scheduler) -> T) -> T {
        let mut scheduler = self.group.scheduler();
        let result = change(&mut scheduler);
        let (urgency, offers) = (scheduler.urgency(), scheduler.has_offers());
        drop(scheduler);
        self.shared.inbox.dirty(urgency);
        if offers {
            self.group.changed.notify_waiters();
        }
        result
    }
}

impl Desk for Counter {
    fn ack(&self, token: u64) {
        self.change(|scheduler| scheduler.ack(token));
    }

    fn retry(&self, token: u64, after: Duration) {
        self.change(|scheduler| scheduler.retry(token, after, Instant::now()));
        // Whoever sleeps until something else is due must look again.
        self.group.changed.notify_waiters();
    }

    fn progress(&self, token: u64) {
        self.change(|scheduler| scheduler.progress(token, Instant::now()));
    }
}

/// A member's seat.
pub(super) struct Seat {
    counter: Arc<Counter>,
    member: u64,
}

impl Seat {
    pub(super) fn take(shared: Arc<Shared>, group: Arc<Group>, window: usize, ack_wait: Duration) -> Self {
        let member = group.scheduler().join(window, ack_wait);
        Self { counter: Arc::new(Counter { shared, group }), member }
    }

    /// What there is for this member now, and until when to wait if there is nothing.
    fn look(&self, events: usize, bytes: usize) -> Result<Result<Vec<Delivery>, Option<Instant>>, BrokerError> {
        let (shared, group) = (&self.counter.shared, &self.counter.group);
        let now = Instant::now();
        let mut scheduler = group.scheduler();
        let tail = unpoisoned(&shared.tail);
        scheduler.pump(&tail, now);
        let handouts = scheduler.take(self.member, events, bytes, now);
        if handouts.is_empty() {
            scheduler.demote(self.member);
        }
        let fetch = scheduler.fetch(&tail).map(|fetch| (fetch, tail.head()));
        drop(tail);
        let (urgency, wakes_at) = (scheduler.urgency(), scheduler.wakes_at());
        let error = if handouts.is_empty() { scheduler.take_error() } else { None };
        drop(scheduler);
        shared.inbox.dirty(urgency);
        if let Some((fetch, head)) = fetch {
            tokio::spawn(read(shared.clone(), group.clone(), fetch, head));
        }
        if let Some(error) = error {
            return Err(error);
        }
        if handouts.is_empty() {
            return Ok(Err(wakes_at));
        }
        let desk: Arc<dyn Desk> = self.counter.clone();
        let deliver = |handout: super::scheduler::Handout| {
            Delivery::new(Arc::unwrap_or_clone(handout.envelope), handout.attempt, handout.token, desk.clone())
        };
        Ok(Ok(handouts.into_iter().map(deliver).collect()))
    }
}

#[async_trait]
impl Subscription for Seat {
    async fn next(&mut self, events: usize, bytes: usize) -> Result<Vec<Delivery>, BrokerError> {
        loop {
            let group = self.counter.group.clone();
            let changed = group.changed.notified();
            tokio::pin!(changed);
            // Before looking, so that nothing that happens in between is missed.
            changed.as_mut().enable();
            if self.counter.shared.closed.load(Ordering::Acquire) {
                return Err(BrokerError::Closed);
            }
            match self.look(events, bytes)? {
                Ok(deliveries) => return Ok(deliveries),
                Err(Some(at)) => drop(tokio::time::timeout_at(at, changed).await),
                Err(None) => changed.await,
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.counter.change(|scheduler| scheduler.leave(self.member, Instant::now()));
        self.counter.group.changed.notify_waiters();
    }
}

/// Reads what a group asked for and puts it there, and what it asks for next while it has room, so that it is
/// there when a member comes for it. A task of its own, because members may give up waiting.
async fn read(shared: Arc<Shared>, group: Arc<Group>, mut fetch: Fetch, mut head: u64) {
    loop {
        let (damaged, next) = match reader::fetch(&shared.readers, &fetch, head).await {
            Ok((upto, entries)) => {
                let mut scheduler = group.scheduler();
                let damaged = scheduler.read(fetch, upto, entries);
                let tail = unpoisoned(&shared.tail);
                let is_open = !shared.closed.load(Ordering::Acquire);
                let next = if is_open { scheduler.fetch(&tail).map(|fetch| (fetch, tail.head())) } else { None };
                (damaged, next)
            }
            Err(error) => {
                group.scheduler().fetch_failed(error);
                (Vec::new(), None)
            }
        };
        for (seq, reason) in damaged {
            tracing::error!(group = group.name, seq, reason, "an entry of the broker's log is damaged");
            shared.inbox.damaged(Damage { group: group.clone(), seq, reason });
        }
        group.changed.notify_waiters();
        let Some(next) = next else { return };
        (fetch, head) = next;
    }
}
