//! B2: durable publish to the embedded broker.

use anyhow::ensure;
use tidewire_core::Envelope;

use crate::clocks::Timing;
use crate::harness::rounds::{Shape, Sides, Slice};
use crate::house::House;
use crate::orders::Orders;
use crate::place::Place;
use crate::producers::produce;
use crate::raw::{self, Table};

/// Publishes of one event each, so many in flight.
pub const PRODUCERS: usize = 64;

/// Ours: the broker. The limit: its rows in the plainest table.
pub struct Publish {
    pub place: Place,
    pub timing: Timing,
    pub orders: Orders,
}

impl Sides for Publish {
    async fn ours(&mut self) -> anyhow::Result<Slice> {
        let house = House::open(&self.place).await?;
        let class = house.broker_class()?;
        let broker = house.ports.broker.clone();
        let put = move |envelope: Envelope| {
            let broker = broker.clone();
            async move {
                for answer in broker.publish(vec![envelope]).await {
                    ensure!(!answer?.duplicate, "a fresh event was taken for a duplicate");
                }
                Ok(())
            }
        };
        let transactions = || house.broker_transactions();
        let produced = produce(PRODUCERS, &self.orders, self.timing, class, transactions, put).await?;
        let (mut stored, mut cursor) = (Vec::new(), None);
        loop {
            let (page, next) = house.ports.broker.scan(cursor, 4_096).await?;
            if page.is_empty() {
                break;
            }
            (cursor, stored) = (next, {
                stored.extend(page);
                stored
            });
        }
        produced.check(&stored)?;
        house.close().await;
        Ok(produced.slice)
    }

    async fn limit(&mut self, shape: Shape) -> anyhow::Result<Slice> {
        raw::append(&self.place, self.timing, Table::Bare, shape, self.orders.clone())
    }

    fn probe(&mut self) -> anyhow::Result<Option<f64>> {
        self.place.probe()
    }
}
