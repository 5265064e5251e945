//! B12: sagas of four steps that do nothing, the whole way: command, log, relay, broker, orchestrator,
//! participants, and back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tidewire::consume::ConsumeOptions;
use tidewire::effects::EffectOptions;
use tidewire::relay::{Relay, RelayOptions};
use tidewire::run::{RunOptions, Running, start};
use tidewire::saga::{Failure, Part, Participant, Plan, Saga, SagaLog, SagaRunner, Step, Steps};
use tidewire::{Ports, Service};
use tidewire_core::store::Selection;
use tidewire_core::{
    Append, Commit, Context, Draft, Event, EventType, Expect, HandlerError, Key, Position, SchemaError,
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::clocks::{Timing, Watch};
use crate::harness::rounds::{Shape, Sides, Slice};
use crate::house::House;
use crate::place::Place;
use crate::raw;

/// Sagas in flight.
pub const IN_FLIGHT: usize = 32;
/// Durable commits that a saga of four steps cannot do without: one to begin, one per step.
pub const COMMITS: u64 = 5;
/// What a saga adds to the log: its beginning, a request and a reply per step, its end.
const EVENTS: u64 = 10;

macro_rules! events {
    ($($event:ident $name:literal),+ $(,)?) => { $(
        #[derive(Serialize, Deserialize)]
        struct $event { saga: u64 }
        impl Event for $event {
            const TYPE: EventType = EventType::new($name, 1);
            fn key(&self) -> Key { Key::of("bench", self.saga) }
        }
    )+ };
}
events! {
    Started "bench.saga.started", Completed "bench.saga.completed",
    FirstRequested "bench.first.requested", FirstDone "bench.first.done", FirstFailed "bench.first.failed",
    SecondRequested "bench.second.requested", SecondDone "bench.second.done", SecondFailed "bench.second.failed",
    ThirdRequested "bench.third.requested", ThirdDone "bench.third.done", ThirdFailed "bench.third.failed",
    FourthRequested "bench.fourth.requested", FourthDone "bench.fourth.done", FourthFailed "bench.fourth.failed",
}

macro_rules! parts {
    ($($part:ident $request:ident $done:ident $failed:ident),+ $(,)?) => { $(
        struct $part;
        #[async_trait]
        impl Part for $part {
            type Request = $request;
            type Done = $done;
            type Failed = $failed;
            async fn perform(&self, request: &$request, _: &mut Context<'_>) -> Result<$done, HandlerError> {
                Ok($done { saga: request.saga })
            }
            fn failed(&self, request: &$request, _: &Failure) -> $failed {
                $failed { saga: request.saga }
            }
        }
    )+ };
}
parts! {
    First FirstRequested FirstDone FirstFailed, Second SecondRequested SecondDone SecondFailed,
    Third ThirdRequested ThirdDone ThirdFailed, Fourth FourthRequested FourthDone FourthFailed,
}

struct FourSteps;

#[derive(Clone, Serialize, Deserialize)]
struct State {
    saga: u64,
}

impl Saga for FourSteps {
    const NAME: &'static str = "bench-four-steps";
    const DEFINITION: u16 = 1;
    type State = State;
    type Start = Started;

    fn start(&self, event: &Started, _: &tidewire_core::Envelope) -> Option<State> {
        Some(State { saga: event.saga })
    }

    fn steps(&self, plan: Plan<State>) -> Steps<State> {
        macro_rules! step {
            ($name:literal, $request:ident, $done:ident, $failed:ident) => {
                Step::new(
                    $name,
                    |state: &State| $request { saga: state.saga },
                    |_: &mut State, _: $done| {},
                    |_: $failed| Failure::new("bench.failed", "a step that does nothing failed"),
                )
            };
        }
        plan.then(step!("first", FirstRequested, FirstDone, FirstFailed).nothing_to_undo())
            .then(step!("second", SecondRequested, SecondDone, SecondFailed).nothing_to_undo())
            .then(step!("third", ThirdRequested, ThirdDone, ThirdFailed).nothing_to_undo())
            .then(step!("fourth", FourthRequested, FourthDone, FourthFailed).nothing_to_undo())
            .end()
    }

    fn completed(&self, log: &SagaLog<State>) -> Result<Vec<Draft>, SchemaError> {
        Ok(vec![Draft::of(&Completed { saga: log.state.saga })?])
    }

    fn undone(&self, _: &SagaLog<State>, _: &Failure) -> Result<Vec<Draft>, SchemaError> {
        Ok(Vec::new())
    }

    fn stuck(&self, _: &SagaLog<State>, _: &str, _: &str) -> Result<Vec<Draft>, SchemaError> {
        Ok(Vec::new())
    }
}

/// Ours: everything in one process. The limit: durable commits, five to a saga.
pub struct Sagas {
    pub place: Place,
    pub timing: Timing,
    /// Write transactions per saga (log, broker), as ours last had them.
    pub transactions: (f64, f64),
}

impl Sides for Sagas {
    async fn ours(&mut self) -> anyhow::Result<Slice> {
        let house = House::open(&self.place).await?;
        let (store, broker) = (house.store_class().await?, house.broker_class()?);
        ensure!(store == broker, "the store is `{store}`, the broker `{broker}`");
        let running = run_all(&house.ports)?;
        let load = Arc::new(Load::default());
        let tail = tokio::spawn(tail(house.ports.clone(), load.clone()));
        let starters: Vec<_> =
            (0..IN_FLIGHT).map(|_| tokio::spawn(keep_starting(house.ports.clone(), load.clone()))).collect();
        tokio::time::sleep(self.timing.settle).await;
        let transactions = (house.store_transactions()?, house.broker_transactions()?);
        let (watch, before) = (Watch::start(), load.completed.load(Ordering::Relaxed));
        tokio::time::sleep(self.timing.slice).await;
        let (events, (seconds, cpu_seconds)) = (load.completed.load(Ordering::Relaxed) - before, watch.read());
        let log = house.store_transactions()? - transactions.0;
        let carried = house.broker_transactions()? - transactions.1;
        load.stop.store(true, Ordering::Relaxed);
        for starter in starters {
            tokio::time::timeout(DEADLINE, starter).await.context("a saga did not end")???;
        }
        load.ended.cancel();
        tail.await??;
        check(&house.ports, &load).await?;
        ensure!(running.shutdown(DEADLINE).await, "the loops did not end in time");
        ensure!(events > 0, "no saga ended within a slice");
        self.transactions = (log as f64 / events as f64, carried as f64 / events as f64);
        Ok(Slice { events, seconds, cpu_seconds, transactions: log + carried, class: store, latency: None })
    }

    async fn limit(&mut self, _: Shape) -> anyhow::Result<Slice> {
        let commits = raw::commits(&self.place, self.timing)?;
        Ok(Slice { events: commits.events / COMMITS, ..commits })
    }

    fn probe(&mut self) -> anyhow::Result<Option<f64>> {
        self.place.probe()
    }
}

/// Nothing in here takes longer than this unless it hangs.
const DEADLINE: Duration = Duration::from_secs(30);

/// The sagas under way.
#[derive(Default)]
struct Load {
    started: AtomicU64,
    completed: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<()>>>,
    stop: AtomicBool,
    ended: CancellationToken,
}

fn run_all(ports: &Ports) -> anyhow::Result<Running> {
    let participant = |name| Participant::new(name);
    let relay = Relay::new(ports, RelayOptions::default());
    let service = Service::new("bench")
        .handler(SagaRunner::new(FourSteps)?)
        .handler(participant("bench.first").irreversible(First))
        .handler(participant("bench.second").irreversible(Second))
        .handler(participant("bench.third").irreversible(Third))
        .handler(participant("bench.fourth").irreversible(Fourth))
        .background("relay", move |stop| relay.run(stop));
    let options =
        RunOptions { consume: ConsumeOptions::default(), effects: EffectOptions::default(), callers: Vec::new() };
    Ok(start(ports, vec![service], options))
}

/// Starts a saga, waits until its end is in the log, and again.
async fn keep_starting(ports: Ports, load: Arc<Load>) -> anyhow::Result<()> {
    while !load.stop.load(Ordering::Relaxed) {
        let saga = load.started.fetch_add(1, Ordering::Relaxed);
        let (completed, wait) = oneshot::channel();
        load.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(saga, completed);
        let event = Draft::of(&Started { saga })?.seal(ports.clock.as_ref(), "/bench", None);
        let append = Append { key: event.key.clone(), expect: Expect::Version(0), events: vec![event] };
        ports.store.commit(Commit { append: vec![append], ..Commit::default() }).await?;
        wait.await?;
    }
    Ok(())
}

/// Reads the log for the ends of sagas, as any observer would.
async fn tail(ports: Ports, load: Arc<Load>) -> anyhow::Result<()> {
    let mut selection =
        Selection { names: vec![Completed::TYPE.name().to_owned()], limit: 4_096, ..Selection::default() };
    while !load.ended.is_cancelled() {
        let head = ports.store.head().await?;
        for recorded in ports.store.read(&Selection { until: Some(head), ..selection.clone() }).await? {
            let saga = Completed::decode(&recorded.envelope)?.saga;
            let waiting = load.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&saga);
            let waiting = waiting.with_context(|| format!("saga {saga} ended twice"))?;
            load.completed.fetch_add(1, Ordering::Relaxed);
            let _ = waiting.send(());
        }
        selection.after = head;
        ports.store.wait(head, Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Every saga that was started ended once, by every step, and nothing else is in the log.
async fn check(ports: &Ports, load: &Load) -> anyhow::Result<()> {
    let started = load.started.load(Ordering::Relaxed);
    let completed = load.completed.load(Ordering::Relaxed);
    ensure!(started == completed, "{completed} of {started} sagas ended");
    for (ty, count) in ports.store.types().await? {
        ensure!(count == started, "{count} events `{ty}` for {started} sagas");
    }
    let head = ports.store.head().await?;
    ensure!(head == Position(started * EVENTS), "{head} events for {started} sagas");
    Ok(())
}
