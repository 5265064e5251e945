//! A backlog on JetStream: published once, read from its beginning by every slice.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use async_nats::jetstream::consumer::{AckPolicy, pull};
use tidewire::{Broker, SystemClock};
use tidewire_broker::JetStreamBroker;
use tidewire_core::{Envelope, Key};

use crate::orders::Orders;
use crate::real::load::DEADLINE;
use crate::real::nats::{NatsServer, stream_of};

/// Deliveries taken at once.
pub const PREFETCH: usize = 500;
/// Deliveries unacknowledged at once: the consume loop's default.
pub const MAX_IN_FLIGHT: usize = 2_048;
/// When a delivery is taken for lost.
pub const ACK_WAIT: Duration = Duration::from_secs(30);
/// Events per publish while it is made.
const LOAD: usize = 512;

/// The backlog.
pub struct Backlog<'a> {
    pub nats: &'a NatsServer,
    pub broker: Arc<JetStreamBroker>,
    pub stream: String,
    pub events: Vec<Envelope>,
    places: HashMap<String, (usize, Key)>,
}

impl<'a> Backlog<'a> {
    /// Publishes `count` orders.
    pub async fn new(nats: &'a NatsServer, orders: &Orders, count: usize) -> anyhow::Result<Self> {
        let domain = nats.domain();
        let (broker, mut orders) = (nats.broker(&domain).await?, orders.clone());
        let events: Vec<Envelope> = (0..count).map(|_| orders.envelope(&SystemClock)).collect();
        for batch in events.chunks(LOAD) {
            for answer in broker.publish(batch.to_vec()).await {
                answer?;
            }
        }
        let places = events.iter().enumerate();
        let places = places.map(|(place, event)| (event.id.clone(), (place, event.key.clone()))).collect();
        Ok(Self { nats, broker, stream: stream_of(&domain), events, places })
    }

    /// All of it came, each once and each key in its order.
    pub fn check(&self, came: &[String]) -> anyhow::Result<()> {
        ensure!(came.len() == self.events.len(), "{} of {} events came", came.len(), self.events.len());
        let mut last: HashMap<&Key, usize> = HashMap::new();
        for id in came {
            let (place, key) = self.places.get(id).with_context(|| format!("event {id} is none of ours"))?;
            let before = last.insert(key, *place);
            ensure!(before < Some(*place), "event {id} came twice or out of order");
        }
        Ok(())
    }

    /// A consumer of it by hand, from its beginning.
    pub async fn consumer(&self, name: &str) -> anyhow::Result<pull::Stream> {
        let config = pull::Config {
            durable_name: Some(name.to_owned()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: MAX_IN_FLIGHT as i64,
            ..pull::Config::default()
        };
        let stream = self.nats.context.get_stream_no_info(&self.stream).await?;
        let consumer = stream.create_consumer(config).await?;
        Ok(consumer.stream().max_messages_per_batch(PREFETCH).messages().await?)
    }

    /// Removes a consumer made by hand.
    pub async fn forget(&self, name: &str) -> anyhow::Result<()> {
        self.nats.context.get_stream_no_info(&self.stream).await?.delete_consumer(name).await?;
        Ok(())
    }

    /// Waits until the server has every acknowledgement.
    pub async fn acknowledged(&self) -> anyhow::Result<()> {
        until("the acknowledgements did not arrive", || async { Ok(self.nats.open(&self.stream).await? == 0) }).await
    }
}

/// Waits for something that does not tell.
pub async fn until<F, R>(otherwise: &'static str, mut is_so: F) -> anyhow::Result<()>
where
    F: FnMut() -> R,
    R: Future<Output = anyhow::Result<bool>>,
{
    let deadline = Instant::now() + DEADLINE;
    while !is_so().await? {
        ensure!(Instant::now() < deadline, otherwise);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}
