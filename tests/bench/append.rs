//! B9c: append to the log.

use anyhow::ensure;
use tidewire_core::store::Selection;
use tidewire_core::{Append, Commit, Committed, Envelope, Expect, Position};

use crate::clocks::Timing;
use crate::harness::rounds::{Shape, Sides, Slice};
use crate::house::House;
use crate::orders::Orders;
use crate::place::Place;
use crate::producers::produce;
use crate::raw::{self, Table};

/// Commits of one event each, so many in flight.
pub const WRITERS: usize = 64;

/// Ours: the log. The limit: its rows in the plainest table, or in one with the indexes a log needs.
pub struct Appending {
    pub place: Place,
    pub timing: Timing,
    pub orders: Orders,
    pub limit: Table,
}

impl Sides for Appending {
    async fn ours(&mut self) -> anyhow::Result<Slice> {
        let house = House::open(&self.place).await?;
        let class = house.store_class().await?;
        let store = house.ports.store.clone();
        let put = move |envelope: Envelope| {
            let store = store.clone();
            async move {
                let append = Append { key: envelope.key.clone(), expect: Expect::Any, events: vec![envelope] };
                let commit = Commit { append: vec![append], ..Commit::default() };
                let committed = store.commit(commit).await?;
                ensure!(matches!(committed, Committed::Applied { .. }), "a fresh event was taken for a duplicate");
                Ok(())
            }
        };
        let transactions = || house.store_transactions();
        let produced = produce(WRITERS, &self.orders, self.timing, class, transactions, put).await?;
        let mut stored = Vec::new();
        loop {
            let after = Position(stored.len() as u64);
            let page = house.ports.store.read(&Selection { after, limit: 4_096, ..Selection::default() }).await?;
            if page.is_empty() {
                break;
            }
            for recorded in page {
                ensure!(recorded.position.0 == stored.len() as u64 + 1, "a gap before {}", recorded.position);
                stored.push(recorded.envelope);
            }
        }
        produced.check(&stored)?;
        house.close().await;
        Ok(produced.slice)
    }

    async fn limit(&mut self, shape: Shape) -> anyhow::Result<Slice> {
        raw::append(&self.place, self.timing, self.limit, shape, self.orders.clone())
    }

    fn probe(&mut self) -> anyhow::Result<Option<f64>> {
        self.place.probe()
    }
}
