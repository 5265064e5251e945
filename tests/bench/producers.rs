//! Many producers at once, each waiting for its answer before it goes on.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::ensure;
use tidewire_core::{Envelope, SystemClock};

use crate::clocks::{Timing, Watch};
use crate::harness::rounds::{Class, Slice};
use crate::orders::{Orders, PAYLOAD_BYTES};

/// What the producers did.
pub struct Produced {
    pub slice: Slice,
    /// The ids each producer was told are stored, in its order.
    pub told: Vec<Vec<String>>,
}

/// Lets `producers` call `put` with one order at a time for one slice. `transactions` is read around the
/// measured part.
pub async fn produce<F, R>(
    producers: usize,
    orders: &Orders,
    timing: Timing,
    class: Class,
    transactions: impl Fn() -> anyhow::Result<u64>,
    put: F,
) -> anyhow::Result<Produced>
where
    F: Fn(Envelope) -> R + Clone + Send + 'static,
    R: Future<Output = anyhow::Result<()>> + Send,
{
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::with_capacity(producers);
    for producer in 0..producers {
        let mut orders = orders.fork(producer as u64 + 1);
        let (stop, done, put) = (stop.clone(), done.clone(), put.clone());
        tasks.push(tokio::spawn(async move {
            let mut told = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let envelope = orders.envelope(&SystemClock);
                let id = envelope.id.clone();
                put(envelope).await?;
                done.fetch_add(1, Ordering::Relaxed);
                told.push(id);
            }
            anyhow::Ok(told)
        }));
    }
    tokio::time::sleep(timing.settle).await;
    let (watch, events, before) = (Watch::start(), done.load(Ordering::Relaxed), transactions()?);
    tokio::time::sleep(timing.slice).await;
    let events = done.load(Ordering::Relaxed) - events;
    let ((seconds, cpu_seconds), after) = (watch.read(), transactions()?);
    stop.store(true, Ordering::Relaxed);
    let mut told = Vec::with_capacity(producers);
    for task in tasks {
        told.push(tokio::time::timeout(Duration::from_secs(30), task).await???);
    }
    ensure!(events > 0, "nothing was stored within a slice");
    let slice = Slice { events, seconds, cpu_seconds, transactions: after - before, class, latency: None };
    Ok(Produced { slice, told })
}

impl Produced {
    /// Compares what was promised with what is `stored`, in its order: nothing lost, nothing twice, whole
    /// payloads, and each producer's events in its order.
    pub fn check(&self, stored: &[Envelope]) -> anyhow::Result<()> {
        let promised: usize = self.told.iter().map(Vec::len).sum();
        ensure!(promised == stored.len(), "{promised} events were acknowledged, {} are stored", stored.len());
        let places: HashMap<&str, usize> =
            stored.iter().enumerate().map(|(place, event)| (event.id.as_str(), place)).collect();
        ensure!(places.len() == stored.len(), "events are stored twice");
        for told in &self.told {
            let mut last = None;
            for id in told {
                let place = places.get(id.as_str()).copied();
                ensure!(place.is_some(), "event {id} was acknowledged and is not stored");
                ensure!(place > last, "event {id} is out of order");
                last = place;
            }
        }
        for event in stored {
            let bytes = event.data.as_ref().map_or(0, |data| data.len());
            ensure!(bytes == PAYLOAD_BYTES, "event {} has {bytes} bytes", event.id);
        }
        Ok(())
    }
}
