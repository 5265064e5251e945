//! A broker that carries nothing: what the loops do is done by hand here.

use async_trait::async_trait;
use tidewire_core::broker::{Extent, Features, Lag, Published, Subscribe};
use tidewire_core::{Broker, BrokerError, Envelope, Subscription};

pub(super) struct Nowhere;

#[async_trait]
impl Broker for Nowhere {
    async fn publish(&self, batch: Vec<Envelope>) -> Vec<Result<Published, BrokerError>> {
        batch.iter().map(|_| Err(BrokerError::Closed)).collect()
    }
    async fn subscribe(&self, _: Subscribe) -> Result<Box<dyn Subscription>, BrokerError> {
        Err(BrokerError::Closed)
    }
    async fn lag(&self) -> Result<Vec<Lag>, BrokerError> {
        Ok(Vec::new())
    }
    async fn scan(&self, _: Option<String>, _: usize) -> Result<(Vec<Envelope>, Option<String>), BrokerError> {
        Ok((Vec::new(), None))
    }
    async fn extent(&self) -> Result<Extent, BrokerError> {
        Ok(Extent { incarnation: "none".into(), last: 0 })
    }
    fn features(&self) -> Features {
        Features {
            backend: "none",
            durability: "mem",
            multi_process: false,
            delayed_retry: false,
            durable_attempts: false,
            max_event_bytes: 65_536,
            dedupe_window_events: 0,
        }
    }
    async fn close(&self) {}
}
