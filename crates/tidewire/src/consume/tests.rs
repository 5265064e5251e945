//! The batches of a loop beside each other: a subscription by hand, a store, and a handler that waits to be told.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use tidewire_core::broker::{Delivery, Desk, Extent, Features, Lag, Published, Subscribe};
use tidewire_core::handler::Run;
use tidewire_core::{
    Broker, BrokerError, Clock, Consumer, Context, Draft, Envelope, EventType, Handler, HandlerError, Key,
    Subscription, SystemClock,
};
use tidewire_store::{SqliteOptions, SqliteStore};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{ConsumeLoop, ConsumeOptions};
use crate::ports::Ports;

const TYPE: EventType = EventType::new("thing.happened", 1);
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of deliveries and handlers, in order.
#[derive(Clone)]
struct Diary(Arc<watch::Sender<Vec<String>>>);

impl Diary {
    fn note(&self, what: String) {
        self.0.send_modify(|lines| lines.push(what));
    }

    /// Waits until all of `lines` are in it.
    async fn has(&self, lines: &[&str]) {
        let all = |found: &Vec<String>| lines.iter().all(|line| found.iter().any(|found| found == line));
        let found = tokio::time::timeout(PATIENCE, self.0.subscribe().wait_for(all)).await.is_ok();
        assert!(found, "waiting for {lines:?}: {:?}", self.lines());
    }

    fn lines(&self) -> Vec<String> {
        self.0.borrow().clone()
    }

    fn place(&self, line: &str) -> Option<usize> {
        self.lines().iter().position(|found| found == line)
    }
}

struct Answers {
    diary: Diary,
    id: String,
}

impl Desk for Answers {
    fn ack(&self, _: u64) {
        self.diary.note(format!("ack {}", self.id));
    }
    fn retry(&self, _: u64, _: Duration) {
        self.diary.note(format!("retry {}", self.id));
    }
    fn progress(&self, _: u64) {}
}

/// Deliveries come by hand: nothing else is asked of a broker here.
struct Nowhere;

#[async_trait]
impl Broker for Nowhere {
    async fn publish(&self, _: Vec<Envelope>) -> Vec<Result<Published, BrokerError>> {
        Vec::new()
    }
    async fn subscribe(&self, _: Subscribe) -> Result<Box<dyn Subscription>, BrokerError> {
        Err(BrokerError::Closed)
    }
    async fn lag(&self) -> Result<Vec<Lag>, BrokerError> {
        Err(BrokerError::Closed)
    }
    async fn scan(&self, _: Option<String>, _: usize) -> Result<(Vec<Envelope>, Option<String>), BrokerError> {
        Err(BrokerError::Closed)
    }
    async fn extent(&self) -> Result<Extent, BrokerError> {
        Err(BrokerError::Closed)
    }
    fn features(&self) -> Features {
        Features {
            backend: "none",
            durability: "mem",
            multi_process: false,
            delayed_retry: false,
            durable_attempts: false,
            max_event_bytes: 1,
            dedupe_window_events: 0,
        }
    }
    async fn close(&self) {}
}

struct ByHand(mpsc::UnboundedReceiver<Vec<Delivery>>);

#[async_trait]
impl Subscription for ByHand {
    async fn next(&mut self, _: usize, _: usize) -> Result<Vec<Delivery>, BrokerError> {
        self.0.recv().await.ok_or(BrokerError::Closed)
    }
}

/// Handles events in the order it is told, failing at those called `bad…`.
struct Told {
    run: Run,
    diary: Diary,
    go: watch::Receiver<Vec<String>>,
}

#[async_trait]
impl Handler for Told {
    fn consumer(&self) -> Consumer {
        Consumer { run: self.run, timeout: Some(PATIENCE), ..Consumer::new("tests.told", vec![TYPE]) }
    }

    async fn handle(&self, event: &Envelope, _: &mut Context<'_>) -> Result<(), HandlerError> {
        self.diary.note(format!("start {}", event.id));
        let told = |go: &Vec<String>| go.contains(&event.id);
        self.go.clone().wait_for(told).await.map_err(HandlerError::transient)?;
        if event.id.starts_with("bad") { Err(HandlerError::transient("told to")) } else { Ok(()) }
    }
}

struct Stage {
    deliver: mpsc::UnboundedSender<Vec<Delivery>>,
    go: watch::Sender<Vec<String>>,
    diary: Diary,
    serving: tokio::task::JoinHandle<Result<(), BrokerError>>,
    _dir: TempDir,
}

impl Stage {
    async fn new(run: Run) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = SqliteStore::open(SqliteOptions::new(dir.path()), clock.clone()).await.unwrap();
        let ports = Ports { store: Arc::new(store), broker: Arc::new(Nowhere), clock };
        let diary = Diary(Arc::new(watch::channel(Vec::new()).0));
        let (deliver, deliveries) = mpsc::unbounded_channel();
        let (go, told) = watch::channel(Vec::new());
        let handler = Arc::new(Told { run, diary: diary.clone(), go: told });
        let consumer = ConsumeLoop::new(&ports, handler, "/tests", ConsumeOptions::default());
        let serving = tokio::spawn(async move {
            let stop = CancellationToken::new();
            consumer.serve(&mut ByHand(deliveries), &stop).await
        });
        Self { deliver, go, diary, serving, _dir: dir }
    }

    /// One batch of (key, id, attempt).
    fn batch(&self, events: &[(&str, &str, u32)]) {
        let delivery = |(key, id, attempt): &(&str, &str, u32)| {
            let draft = Draft {
                ty: TYPE,
                key: Key::of("key", key),
                data: None,
                datacontenttype: None,
                subject: None,
                id: Some((*id).to_owned()),
                correlationid: None,
                expirytime: None,
                dataref: None,
                extensions: Default::default(),
            };
            let desk = Answers { diary: self.diary.clone(), id: (*id).to_owned() };
            Delivery::new(draft.seal(&SystemClock, "/tests", None), *attempt, 0, Arc::new(desk))
        };
        assert!(self.deliver.send(events.iter().map(delivery).collect()).is_ok());
    }

    fn go(&self, id: &str) {
        self.go.send_modify(|go| go.push(id.to_owned()));
    }

    fn go_all(&self, ids: &[&str]) {
        ids.iter().for_each(|id| self.go(id));
    }

    /// No more batches: the loop finishes what is in hand.
    async fn end(self) -> Vec<String> {
        drop(self.deliver);
        let ended = tokio::time::timeout(PATIENCE, self.serving).await.unwrap().unwrap();
        assert_eq!(ended, Err(BrokerError::Closed));
        self.diary.lines()
    }
}

#[tokio::test]
async fn batches_without_a_key_in_common_run_beside_each_other() {
    let stage = Stage::new(Run::PerKey).await;
    stage.batch(&[("a", "a1", 1)]);
    stage.batch(&[("b", "b1", 1)]);
    stage.go("b1");
    stage.diary.has(&["start a1", "ack b1"]).await;
    assert_eq!(stage.diary.place("ack a1"), None);
    stage.go("a1");
    stage.diary.has(&["ack a1"]).await;
    stage.end().await;
}

#[tokio::test]
async fn what_follows_on_a_key_waits_for_the_batch_before() {
    let stage = Stage::new(Run::PerKey).await;
    stage.batch(&[("a", "a1", 1)]);
    stage.batch(&[("a", "a2", 1), ("b", "b1", 1)]);
    stage.go_all(&["a2", "b1"]);
    stage.diary.has(&["start a1"]).await;
    stage.go("a1");
    stage.diary.has(&["ack a1", "ack a2", "ack b1"]).await;
    assert!(stage.diary.place("ack a1") < stage.diary.place("start a2"), "{:?}", stage.diary.lines());
    stage.end().await;
}

#[tokio::test]
async fn what_follows_a_failed_event_does_not_overtake_it() {
    let stage = Stage::new(Run::PerKey).await;
    stage.batch(&[("a", "bad1", 1)]);
    stage.batch(&[("a", "a2", 1), ("b", "b1", 1)]);
    stage.go_all(&["a2", "b1", "bad1"]);
    stage.diary.has(&["retry bad1", "retry a2", "ack b1"]).await;
    // It comes again, after what it follows.
    stage.batch(&[("a", "a2", 2)]);
    stage.diary.has(&["ack a2"]).await;
    let lines = stage.end().await;
    assert_eq!(lines.iter().filter(|line| *line == "start a2").count(), 1, "{lines:?}");
}

#[tokio::test]
async fn nothing_runs_beside_what_may_have_killed_a_process() {
    for (first, second) in [(2, 1), (1, 2)] {
        let stage = Stage::new(Run::PerKey).await;
        stage.batch(&[("a", "a1", first)]);
        stage.diary.has(&["start a1"]).await;
        stage.batch(&[("b", "b1", second)]);
        stage.go_all(&["b1", "a1"]);
        stage.diary.has(&["ack a1", "ack b1"]).await;
        assert!(stage.diary.place("ack a1") < stage.diary.place("start b1"), "{:?}", stage.diary.lines());
        stage.end().await;
    }
}

#[tokio::test]
async fn batches_in_one_commit_run_one_after_the_other() {
    let stage = Stage::new(Run::Batch).await;
    stage.batch(&[("a", "a1", 1)]);
    stage.diary.has(&["start a1"]).await;
    stage.batch(&[("b", "b1", 1)]);
    stage.go_all(&["b1", "a1"]);
    stage.diary.has(&["ack a1", "ack b1"]).await;
    assert!(stage.diary.place("ack a1") < stage.diary.place("start b1"), "{:?}", stage.diary.lines());
    stage.end().await;
}
