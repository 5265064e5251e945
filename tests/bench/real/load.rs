//! Work for one slice: workers that go on until it is over, and events that come whether anything is ready or not.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::clocks::{Timing, Watch};
use crate::harness::rounds::{Class, Latency, Slice};

/// What takes longer than this hangs.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// What the workers of a slice share.
#[derive(Default)]
pub struct Load {
    stop: AtomicBool,
    done: AtomicU64,
}

impl Load {
    /// Whether to go on.
    pub fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// So many more events are done.
    pub fn add(&self, events: u64) {
        self.done.fetch_add(events, Ordering::Relaxed);
    }

    /// Events done so far, those before the measured part included.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

/// Lets workers work for one slice, and to their end. `transactions` is read around the measured part.
pub async fn timed<F, T>(
    load: &Load,
    timing: Timing,
    class: Class,
    mut workers: JoinSet<anyhow::Result<()>>,
    transactions: F,
) -> anyhow::Result<Slice>
where
    F: Fn() -> T,
    T: Future<Output = anyhow::Result<u64>>,
{
    tokio::time::sleep(timing.settle).await;
    let before = transactions().await?;
    let (watch, events) = (Watch::start(), load.done());
    tokio::time::sleep(timing.slice).await;
    let events = load.done() - events;
    let (seconds, cpu_seconds) = watch.read();
    let transactions = transactions().await? - before;
    load.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = within(workers.join_next()).await? {
        ended??;
    }
    ensure!(events > 0, "nothing was done within a slice");
    Ok(Slice { events, seconds, cpu_seconds, transactions, class, latency: None })
}

/// For what has no transactions worth counting.
pub async fn no_transactions() -> anyhow::Result<u64> {
    Ok(0)
}

/// Waits for what must not hang.
pub async fn within<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    tokio::time::timeout(DEADLINE, work).await.with_context(|| format!("nothing came of it within {DEADLINE:?}"))
}

/// Does the same again and again, one at a time, for one slice, and times each.
pub async fn one_by_one<F, R>(timing: Timing, class: Class, mut once: F) -> anyhow::Result<Slice>
where
    F: FnMut() -> R,
    R: Future<Output = anyhow::Result<()>>,
{
    let settled = Instant::now();
    while settled.elapsed() < timing.settle {
        within(once()).await??;
    }
    let (watch, mut times) = (Watch::start(), Vec::new());
    while watch.seconds() < timing.slice.as_secs_f64() {
        let began = Instant::now();
        within(once()).await??;
        times.push(began.elapsed().as_secs_f64());
    }
    let (seconds, cpu_seconds) = watch.read();
    let latency = Latency::of(&times);
    Ok(Slice { events: times.len() as u64, seconds, cpu_seconds, transactions: 0, class, latency })
}

/// When events were meant to begin, and when they were over.
#[derive(Default)]
pub struct Times {
    meant: Mutex<HashMap<String, Instant>>,
    over: Mutex<HashMap<String, Instant>>,
}

impl Times {
    /// An event of this id was meant to begin then.
    pub fn meant(&self, id: String, at: Instant) {
        self.meant.lock().unwrap_or_else(PoisonError::into_inner).insert(id, at);
    }

    /// It is over now; the first time counts.
    pub fn over(&self, id: &str) {
        let now = Instant::now();
        self.over.lock().unwrap_or_else(PoisonError::into_inner).entry(id.to_owned()).or_insert(now);
    }

    /// How many are over.
    pub fn count(&self) -> usize {
        self.over.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Seconds of each that was meant to begin at or after `from`. Fails for one that never ended.
    pub fn seconds(&self, from: Instant) -> anyhow::Result<Vec<f64>> {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        let meant = self.meant.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = meant.iter().filter(|(_, at)| **at >= from);
        counted
            .map(|(id, at)| {
                let end = over.get(id).with_context(|| format!("event {id} never came"))?;
                Ok(end.saturating_duration_since(*at).as_secs_f64())
            })
            .collect()
    }
}

/// Begins `rate` events a second for the settling and the slice, whether those before are over or not, and waits until
/// all are over. Times count from when an event was meant to begin.
pub async fn open_loop<F, R>(
    rate: u32,
    timing: Timing,
    class: Class,
    times: Arc<Times>,
    begin: F,
) -> anyhow::Result<Slice>
where
    F: Fn(Instant) -> R + Send + 'static,
    R: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let gap = Duration::from_secs(1) / rate;
    let count = ((timing.settle + timing.slice).as_secs_f64() * f64::from(rate)) as u32;
    let (runtime, watch, start) = (Handle::current(), Watch::start(), Instant::now());
    // A thread: the runtime's timers know milliseconds only.
    let begun = std::thread::spawn(move || {
        let mut begun = Vec::with_capacity(count as usize);
        for n in 0..count {
            let at = start + gap * n;
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            begun.push(runtime.spawn(begin(at)));
        }
        begun
    });
    let begun = tokio::task::spawn_blocking(move || begun.join()).await?;
    for task in begun.map_err(|_| anyhow::anyhow!("the pace was lost"))? {
        within(task).await???;
    }
    within(async {
        while times.count() < count as usize {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await?;
    let (seconds, cpu_seconds) = watch.read();
    let counted = times.seconds(start + timing.settle)?;
    let latency = Latency::of(&counted);
    Ok(Slice { events: u64::from(count), seconds, cpu_seconds, transactions: 0, class, latency })
}
