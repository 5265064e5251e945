//! B1, B2 and B3 on JetStream: publishing.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::ensure;
use async_nats::jetstream;
use jsonschema::Validator;
use serde_json::Value;
use tidewire::{Broker, SystemClock};
use tokio::task::JoinSet;

use crate::clocks::Timing;
use crate::harness::rounds::{Shape, Sides, Slice};
use crate::orders::{Orders, SOURCE, schema};
use crate::place::Place;
use crate::publish::{PRODUCERS, Publish};
use crate::real::load::{Load, no_transactions, one_by_one, timed, within};
use crate::real::nats::{NatsServer, Wire, stream_of};

/// Publishes under way at once, as the product has it by default.
pub const WINDOW: usize = 512;
/// Callers of the product, and how many events each hands over at once: more than the window holds, so that it is
/// never empty because a caller waits.
const CALLERS: u64 = 16;
const BATCH: usize = 64;
/// Connections of the raw producers, each of which waits for its answer.
const CONNECTIONS: usize = 8;

/// One server, and what is sent to it.
pub struct Server<'a> {
    pub nats: &'a NatsServer,
    pub place: &'a Place,
    pub wire: Wire,
    pub orders: Orders,
    pub timing: Timing,
}

impl Server<'_> {
    /// The disk matters where it is waited for.
    fn probe(&self) -> anyhow::Result<Option<f64>> {
        probe(self.nats, self.place)
    }

    /// Nothing else is stored than what was acknowledged, and all of it.
    async fn check(&self, domain: &str, acknowledged: u64) -> anyhow::Result<()> {
        let stored = self.nats.count(&stream_of(domain)).await?;
        ensure!(stored == acknowledged, "{acknowledged} events were acknowledged, {stored} are stored");
        self.nats.clear().await
    }
}

/// How fast the disk is, if the server waits for it.
pub fn probe(nats: &NatsServer, place: &Place) -> anyhow::Result<Option<f64>> {
    match nats.class {
        crate::harness::rounds::Class::Disk => place.probe(),
        _ => Ok(None),
    }
}

/// B1. Ours: events are checked against their schema, sealed, and published by several callers. The limit: the same
/// bytes, headers and window by the raw client, unchecked.
pub struct Validated<'a> {
    pub server: Server<'a>,
    validator: Arc<Validator>,
}

impl<'a> Validated<'a> {
    pub fn new(server: Server<'a>) -> anyhow::Result<Self> {
        let validator = jsonschema::validator_for(&schema()).map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(Self { server, validator: Arc::new(validator) })
    }
}

impl Sides for Validated<'_> {
    async fn ours(&mut self) -> anyhow::Result<Slice> {
        let server = &self.server;
        let domain = server.nats.domain();
        let broker = server.nats.broker(&domain).await?;
        let (load, mut callers) = (Arc::new(Load::default()), JoinSet::new());
        for caller in 0..CALLERS {
            let (load, broker, validator) = (load.clone(), broker.clone(), self.validator.clone());
            let mut orders = server.orders.fork(caller + 1);
            callers.spawn(async move {
                while load.goes_on() {
                    let mut batch = Vec::with_capacity(BATCH);
                    for _ in 0..BATCH {
                        let draft = orders.draft();
                        // As the gateway admits events.
                        let data: Value = serde_json::from_slice(draft.data.as_deref().unwrap_or_default())?;
                        ensure!(validator.is_valid(&data), "an order does not follow its schema");
                        batch.push(draft.seal(&SystemClock, SOURCE, None));
                    }
                    for answer in broker.publish(batch).await {
                        ensure!(!answer?.duplicate, "a fresh event was taken for a duplicate");
                        load.add(1);
                    }
                }
                Ok(())
            });
        }
        let slice = timed(&load, server.timing, server.nats.class, callers, no_transactions).await?;
        broker.close().await;
        server.check(&domain, load.done()).await?;
        Ok(slice)
    }

    async fn limit(&mut self, _: Shape) -> anyhow::Result<Slice> {
        let server = &self.server;
        let domain = server.nats.domain();
        server.nats.stream(&domain).await?;
        let context = jetstream::new(async_nats::connect(server.nats.url()).await?);
        let (load, mut workers) = (Arc::new(Load::default()), JoinSet::new());
        let (done, wire, mut orders, into) = (load.clone(), server.wire.clone(), server.orders.fork(1), domain.clone());
        workers.spawn(async move {
            let mut window = VecDeque::with_capacity(WINDOW);
            while done.goes_on() {
                if window.len() == WINDOW
                    && let Some(ack) = window.pop_front()
                {
                    ack.await?;
                    done.add(1);
                }
                let (subject, headers, data) = wire.next(&into, &mut orders)?;
                window.push_back(context.publish_with_headers(subject, headers, data).await?);
            }
            for ack in window {
                ack.await?;
                done.add(1);
            }
            Ok(())
        });
        let slice = timed(&load, server.timing, server.nats.class, workers, no_transactions).await?;
        server.check(&domain, load.done()).await?;
        Ok(slice)
    }

    fn probe(&mut self) -> anyhow::Result<Option<f64>> {
        self.server.probe()
    }
}

/// B3. One event at a time, each acknowledged before the next.
pub struct OneByOne<'a>(pub Server<'a>);

impl Sides for OneByOne<'_> {
    async fn ours(&mut self) -> anyhow::Result<Slice> {
        let server = &self.0;
        let domain = server.nats.domain();
        let broker = server.nats.broker(&domain).await?;
        let mut orders = server.orders.fork(1);
        let slice = one_by_one(server.timing, server.nats.class, || {
            let (event, broker) = (orders.envelope(&SystemClock), broker.clone());
            async move {
                for answer in broker.publish(vec![event]).await {
                    ensure!(!answer?.duplicate, "a fresh event was taken for a duplicate");
                }
                Ok(())
            }
        })
        .await?;
        broker.close().await;
        ensure!(server.nats.count(&stream_of(&domain)).await? >= slice.events, "acknowledged events are missing");
        server.nats.clear().await?;
        Ok(slice)
    }

    async fn limit(&mut self, _: Shape) -> anyhow::Result<Slice> {
        let server = &self.0;
        let domain = server.nats.domain();
        server.nats.stream(&domain).await?;
        let mut orders = server.orders.fork(1);
        let slice = one_by_one(server.timing, server.nats.class, || {
            let event = server.wire.next(&domain, &mut orders);
            async move {
                let (subject, headers, data) = event?;
                server.nats.context.publish_with_headers(subject, headers, data).await?.await?;
                Ok(())
            }
        })
        .await?;
        server.nats.clear().await?;
        Ok(slice)
    }

    fn probe(&mut self) -> anyhow::Result<Option<f64>> {
        self.0.probe()
    }
}

/// B2. Ours: the embedded broker. The other side: raw JetStream that syncs every write, the producers spread over so
/// many streams.
pub struct SideBySide<'a> {
    pub embedded: Publish,
    pub server: Server<'a>,
    pub streams: usize,
}

impl Sides for SideBySide<'_> {
    async fn ours(&mut self) -> anyhow::Result<Slice> {
        self.embedded.ours().await
    }

    async fn limit(&mut self, _: Shape) -> anyhow::Result<Slice> {
        let server = &self.server;
        let mut domains = Vec::with_capacity(self.streams);
        for _ in 0..self.streams {
            let domain = server.nats.domain();
            server.nats.stream(&domain).await?;
            domains.push(domain);
        }
        let mut contexts = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            contexts.push(jetstream::new(async_nats::connect(server.nats.url()).await?));
        }
        let (load, mut producers) = (Arc::new(Load::default()), JoinSet::new());
        for producer in 0..PRODUCERS {
            let (load, wire, domain) = (load.clone(), server.wire.clone(), domains[producer % domains.len()].clone());
            let (context, mut orders) =
                (contexts[producer % contexts.len()].clone(), server.orders.fork(producer as u64 + 1));
            producers.spawn(async move {
                while load.goes_on() {
                    let (subject, headers, data) = wire.next(&domain, &mut orders)?;
                    context.publish_with_headers(subject, headers, data).await?.await?;
                    load.add(1);
                }
                Ok(())
            });
        }
        let slice = timed(&load, server.timing, server.nats.class, producers, no_transactions).await?;
        let mut stored = 0;
        for domain in &domains {
            stored += server.nats.count(&stream_of(domain)).await?;
        }
        ensure!(stored == load.done(), "{} events were acknowledged, {stored} are stored", load.done());
        within(server.nats.clear()).await??;
        Ok(slice)
    }

    fn probe(&mut self) -> anyhow::Result<Option<f64>> {
        self.server.probe()
    }
}
