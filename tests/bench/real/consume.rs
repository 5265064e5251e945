//! B4: consume with an acknowledgement for each event, and do nothing else.

use anyhow::{Context as _, ensure};
use futures::StreamExt;
use tidewire::Broker;
use tidewire_core::broker::Subscribe;

use crate::clocks::Watch;
use crate::harness::rounds::{Shape, Sides, Slice};
use crate::real::backlog::{ACK_WAIT, Backlog, MAX_IN_FLIGHT, PREFETCH};
use crate::real::load::within;

/// Bytes taken at once, as the consume loop does.
const BYTES: usize = 4 << 20;

/// Ours: a member of a group. The limit: a raw pull consumer.
pub struct Consuming<'a> {
    pub backlog: &'a Backlog<'a>,
    /// Slices so far: groups and consumers are not used twice.
    pub slices: usize,
}

impl Sides for Consuming<'_> {
    async fn ours(&mut self) -> anyhow::Result<Slice> {
        self.slices += 1;
        let backlog = self.backlog;
        let request = Subscribe {
            group: format!("bench.group{}", self.slices),
            names: Vec::new(),
            max_in_flight: MAX_IN_FLIGHT,
            ack_wait: ACK_WAIT,
        };
        let mut seat = backlog.broker.subscribe(request).await?;
        let (mut came, mut watch) = (Vec::with_capacity(backlog.events.len()), None);
        let mut before = 0;
        while came.len() < backlog.events.len() {
            for delivery in within(seat.next(PREFETCH, BYTES)).await?? {
                came.push(delivery.envelope.id.clone());
                delivery.ack();
            }
            // Joining is no part of it: what counts begins with the first deliveries.
            watch.get_or_insert_with(|| {
                before = came.len();
                Watch::start()
            });
        }
        self.end(&came, before, watch).await
    }

    async fn limit(&mut self, _: Shape) -> anyhow::Result<Slice> {
        self.slices += 1;
        let (backlog, name) = (self.backlog, format!("raw{}", self.slices));
        let mut deliveries = backlog.consumer(&name).await?;
        let (mut came, mut watch): (Vec<String>, _) = (Vec::with_capacity(backlog.events.len()), None);
        let mut before = 0;
        while came.len() < backlog.events.len() {
            let delivery = within(deliveries.next()).await?.context("the deliveries ended")??;
            let headers = delivery.headers.as_ref().context("an event without headers")?;
            came.push(headers.get("ce-id").context("an event without an id")?.as_str().to_owned());
            delivery.ack().await.map_err(|error| anyhow::anyhow!(error))?;
            if watch.is_none() && came.len() == PREFETCH {
                before = came.len();
                watch = Some(Watch::start());
            }
        }
        let slice = self.end(&came, before, watch).await?;
        drop(deliveries);
        backlog.forget(&name).await?;
        Ok(slice)
    }

    fn probe(&mut self) -> anyhow::Result<Option<f64>> {
        Ok(None)
    }
}

impl Consuming<'_> {
    async fn end(&self, came: &[String], before: usize, watch: Option<Watch>) -> anyhow::Result<Slice> {
        self.backlog.acknowledged().await?;
        let (seconds, cpu_seconds) = watch.context("nothing came")?.read();
        self.backlog.check(came)?;
        ensure!(came.len() > before, "all came at once");
        let (events, class) = ((came.len() - before) as u64, self.backlog.nats.class);
        Ok(Slice { events, seconds, cpu_seconds, transactions: 0, class, latency: None })
    }
}
