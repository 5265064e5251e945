//! Several processes at the same timers, and many timers at once.

use std::time::Instant;

use async_trait::async_trait;
use chrono::DateTime;
use tidewire_core::broker::{Extent, Features, Lag, Published, Subscribe};
use tidewire_core::{
    Broker, BrokerError, Consumer, Context, Envelope, Handler, HandlerError, Key, ManualClock, Store, Subscription,
};
use tidewire_store::{SqliteOptions, SqliteStore};
use tokio_util::task::TaskTracker;

use super::*;
use crate::consume::ConsumeOptions;

struct Nowhere;

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

/// Counts each of its timers, in the commit that fires it.
struct Alarm;

#[async_trait]
impl Handler for Alarm {
    fn consumer(&self) -> Consumer {
        Consumer::new("alarm", Vec::new())
    }

    async fn handle(&self, _: &Envelope, _: &mut Context<'_>) -> Result<(), HandlerError> {
        Ok(())
    }

    async fn wake(&self, timer: &Timer, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        let before: u32 = cx.get("rung", &timer.id).await?.unwrap_or(0);
        cx.put("rung", &timer.id, &(before + 1))
    }
}

struct House {
    ports: Ports,
    _dir: tempfile::TempDir,
}

impl House {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(DateTime::UNIX_EPOCH, 1));
        let store = SqliteStore::open(SqliteOptions::new(dir.path()), clock.clone()).await.unwrap();
        let ports = Ports { store: Arc::new(store), broker: Arc::new(Nowhere), clock };
        Self { ports, _dir: dir }
    }

    /// Sets so many timers, all due.
    async fn set(&self, from: usize, to: usize) {
        let timer = |n: usize| {
            let (owner, key) = ("alarm".to_owned(), Key::of("n", n));
            TimerWrite::Set(Timer {
                owner,
                id: format!("{n}"),
                key,
                due: DateTime::UNIX_EPOCH,
                data: Default::default(),
            })
        };
        let commit = Commit { timers: (from..to).map(timer).collect(), ..Commit::default() };
        self.ports.store.commit(commit).await.unwrap();
    }

    fn process(&self, name: &str) -> Process {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let roster = Roster::new(&self.ports, ConsumeOptions::default(), stop.clone(), tasks);
        assert!(roster.enroll(Arc::new(Alarm), "/test"));
        Process { timers: TimerLoop::new(roster), tenures: Tenures::new(name.to_owned()), _stop: stop.drop_guard() }
    }

    async fn rung(&self) -> Vec<u32> {
        let query =
            tidewire_core::store::DocumentQuery { collection: "rung".into(), limit: 20_000, ..Default::default() };
        let found = self.ports.store.list(&query).await.unwrap();
        found.iter().map(|document| serde_json::from_slice(&document.value).unwrap()).collect()
    }
}

struct Process {
    timers: TimerLoop,
    tenures: Tenures,
    _stop: tokio_util::sync::DropGuard,
}

impl Process {
    async fn round(&mut self) -> usize {
        let runners = self.timers.roster.runners();
        let owners = self.tenures.ours(runners.keys().cloned());
        self.timers.round(&runners, &owners, &mut self.tenures).await.unwrap().count
    }
}

#[tokio::test]
async fn one_process_fires_them_and_another_takes_over_from_one_that_stood_still() {
    let house = House::open().await;
    let (mut first, mut second) = (house.process("first"), house.process("second"));
    house.set(0, 10).await;
    assert_eq!((first.round().await, second.round().await), (10, 0));
    house.set(10, 20).await;
    assert_eq!(second.round().await, 0, "the lease is the first one's");
    // The first stands still for longer than its lease, which the second takes.
    let store: &dyn Store = house.ports.store.as_ref();
    store.release("timers/alarm", "first", 1).await.unwrap();
    assert_eq!(store.lease("timers/alarm", "second", TTL_OF_TEST).await.unwrap(), Some(2));
    // It goes on as if nothing had happened: every commit of it is refused.
    assert_eq!(first.round().await, 10, "tried");
    assert_eq!(house.rung().await.len(), 10, "and changed nothing");
    assert_eq!(first.round().await, 0, "it knows now");
    second.tenures.elsewhere.clear();
    assert_eq!(second.round().await, 10);
    assert_eq!(house.rung().await, [1; 20]);
}

const TTL_OF_TEST: Duration = Duration::from_secs(60);

#[tokio::test]
async fn what_is_given_back_is_taken_at_once() {
    let house = House::open().await;
    let (mut first, mut second) = (house.process("first"), house.process("second"));
    house.set(0, 1).await;
    assert_eq!(first.round().await, 1);
    first.tenures.release(house.ports.store.as_ref()).await;
    house.set(1, 2).await;
    assert_eq!(second.round().await, 1);
}

#[tokio::test]
async fn ten_thousand_due_at_once_drain_at_a_bounded_rate_and_each_fires_once() {
    const MANY: usize = 10_000;
    let house = House::open().await;
    for from in (0..MANY).step_by(1_000) {
        house.set(from, from + 1_000).await;
    }
    let process = house.process("only");
    let (stop, begun) = (CancellationToken::new(), Instant::now());
    let running = tokio::spawn(process.timers.run(stop.clone()));
    let deadline = begun + Duration::from_secs(120);
    let (store, clock) = (house.ports.store.clone(), house.ports.clock.clone());
    while !store.due_timers(&["alarm".into()], clock.now(), 1).await.unwrap().is_empty() {
        assert!(Instant::now() < deadline, "only {} fired", house.rung().await.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let took = begun.elapsed();
    stop.cancel();
    running.await.unwrap();
    let rung = house.rung().await;
    assert!(rung.len() == MANY && rung.iter().all(|times| *times == 1));
    // The last round is not rested after.
    let least = Duration::from_secs(1) / MAX_PER_SECOND * u32::try_from(MANY - BATCH).unwrap();
    assert!(took >= least, "{MANY} in {took:?}");
}

#[test]
fn the_rest_after_a_round_keeps_the_rate() {
    let fired = |count, millis| Fired { count, took: Duration::from_millis(millis) };
    assert_eq!(fired(256, 0).pause(), Duration::from_millis(256));
    assert_eq!(fired(256, 200).pause(), Duration::from_millis(56));
    assert_eq!(fired(256, 300).pause(), Duration::ZERO);
    assert_eq!(fired(1, 0).pause(), Duration::from_millis(1));
}

#[tokio::test]
async fn what_sleeps_is_not_looked_at() {
    let house = House::open().await;
    let mut process = house.process("only");
    let timer = |n: usize| {
        let due = DateTime::UNIX_EPOCH + chrono::TimeDelta::days(30);
        TimerWrite::Set(Timer {
            owner: "alarm".into(),
            id: format!("{n}"),
            key: Key::of("n", n),
            due,
            data: Default::default(),
        })
    };
    for from in (0..100_000).step_by(5_000) {
        let timers = (from..from + 5_000).map(timer).collect();
        house.ports.store.commit(Commit { timers, ..Commit::default() }).await.unwrap();
    }
    let begun = Instant::now();
    for _ in 0..100 {
        assert_eq!(process.round().await, 0);
        assert_eq!(process.timers.sleep(&["alarm".into()]).await, MAX_SLEEP);
    }
    // An index answers both questions: reading 100,000 rows two hundred times would take many seconds.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(process.tenures.held.is_empty(), "no lease is asked for while nothing is due");
}
