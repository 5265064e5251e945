//! A broker that tells when its deliveries are acknowledged: after the commit, as the consume loop does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tidewire_core::broker::{Desk, Extent, Features, Lag, Published, Subscribe};
use tidewire_core::{Broker, BrokerError, Delivery, Envelope, Subscription};

use crate::real::load::Times;

/// Everything else is left to the broker behind it.
pub struct Observed {
    pub behind: Arc<dyn Broker>,
    pub times: Arc<Times>,
}

#[async_trait]
impl Broker for Observed {
    async fn publish(&self, batch: Vec<Envelope>) -> Vec<Result<Published, BrokerError>> {
        self.behind.publish(batch).await
    }

    async fn subscribe(&self, request: Subscribe) -> Result<Box<dyn Subscription>, BrokerError> {
        let seat = self.behind.subscribe(request).await?;
        let desk = Arc::new(Tap { times: self.times.clone(), open: Mutex::default() });
        Ok(Box::new(Seat { seat, desk, last: 0 }))
    }

    async fn lag(&self) -> Result<Vec<Lag>, BrokerError> {
        self.behind.lag().await
    }

    async fn scan(&self, cursor: Option<String>, limit: usize) -> Result<(Vec<Envelope>, Option<String>), BrokerError> {
        self.behind.scan(cursor, limit).await
    }

    async fn extent(&self) -> Result<Extent, BrokerError> {
        self.behind.extent().await
    }

    fn features(&self) -> Features {
        self.behind.features()
    }

    async fn close(&self) {
        self.behind.close().await;
    }
}

struct Seat {
    seat: Box<dyn Subscription>,
    desk: Arc<Tap>,
    last: u64,
}

#[async_trait]
impl Subscription for Seat {
    async fn next(&mut self, events: usize, bytes: usize) -> Result<Vec<Delivery>, BrokerError> {
        let deliveries = self.seat.next(events, bytes).await?;
        let mut open = self.desk.open();
        let seen = deliveries.into_iter().map(|delivery| {
            self.last += 1;
            let seen = Delivery::new(delivery.envelope.clone(), delivery.attempt, self.last, self.desk.clone());
            open.insert(self.last, delivery);
            seen
        });
        Ok(seen.collect())
    }
}

/// Answers go through here.
struct Tap {
    times: Arc<Times>,
    open: Mutex<HashMap<u64, Delivery>>,
}

impl Tap {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, Delivery>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk for Tap {
    fn ack(&self, token: u64) {
        if let Some(delivery) = self.open().remove(&token) {
            self.times.over(&delivery.envelope.id);
            delivery.ack();
        }
    }

    fn retry(&self, token: u64, after: Duration) {
        if let Some(delivery) = self.open().remove(&token) {
            delivery.retry(after);
        }
    }

    fn progress(&self, token: u64) {
        if let Some(delivery) = self.open().get(&token) {
            delivery.pulse().progress();
        }
    }
}
