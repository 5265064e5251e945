use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tidewire_core::broker::{Extent, Features, Lag, Published, Subscribe};
use tidewire_core::handler::{Consumer, HandlerError};
use tidewire_core::{
    Aggregate, Append, Broker, BrokerError, Commit, Context, DocumentWrite, Draft, Envelope, Event, EventType, Expect,
    ExpectDocument, Handler, Key, ManualClock, Mark, Position, Seen, StoreError, Subscription, event_set,
};
use tidewire_store::{SqliteOptions, SqliteStore};

use super::{Folded, Hold, Operator};
use crate::command::{CommandError, Commands};
use crate::ports::Ports;
use crate::reconcile::Since;

#[derive(Serialize, Deserialize)]
struct Added {
    n: u64,
}

impl Event for Added {
    const TYPE: EventType = EventType::new("sum.added", 1);
    fn key(&self) -> Key {
        Key::of("sum", 1)
    }
}

event_set! {
    enum Adding {
        Added(Added),
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Sum {
    total: u64,
}

impl Aggregate for Sum {
    const NAME: &'static str = "sum";
    type Command = u64;
    type Event = Adding;
    type Error = std::convert::Infallible;

    fn decide(&self, n: &u64) -> Result<Vec<Adding>, Self::Error> {
        Ok(vec![Added { n: *n }.into()])
    }

    fn apply(&mut self, event: Adding) {
        let Adding::Added(added) = event;
        self.total += added.n;
    }
}

struct Reader;

#[async_trait]
impl Handler for Reader {
    fn consumer(&self) -> Consumer {
        Consumer::new("reader", vec![EventType::new("thing.happened", 1)])
    }
    async fn handle(&self, _: &Envelope, _: &mut Context<'_>) -> Result<(), HandlerError> {
        Ok(())
    }
}

/// A broker that holds nothing.
struct Empty;

#[async_trait]
impl Broker for Empty {
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
            max_event_bytes: 1 << 20,
            dedupe_window_events: 0,
        }
    }
    async fn close(&self) {}
}

pub(super) struct House {
    pub(super) ports: Ports,
    pub(super) clock: Arc<ManualClock>,
    _dir: TempDir,
}

impl House {
    pub(super) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new("2026-11-20T13:14:15Z".parse().unwrap(), 1));
        let store = SqliteStore::open(SqliteOptions::new(dir.path()), clock.clone()).await.unwrap();
        let ports = Ports { store: Arc::new(store), broker: Arc::new(Empty), clock: clock.clone() };
        Self { ports, clock, _dir: dir }
    }

    fn operator(&self) -> Operator {
        Operator::new(&self.ports, vec![(Arc::new(Reader), "/tests".into())], Default::default())
    }

    pub(super) async fn commit(&self, commit: Commit) {
        self.ports.store.commit(commit).await.unwrap();
    }

    /// An event, an hour after the last one.
    async fn append(&self, name: &'static str) -> Mark {
        self.clock.advance(TimeDelta::hours(1));
        let mut draft = Draft::of(&Added { n: 1 }).unwrap();
        draft.ty = EventType::new(name, 1);
        draft.key = Key::of("thing", 1);
        let event = draft.seal(self.clock.as_ref(), "/tests", None);
        let mark = Mark::of(&event);
        let append = vec![Append { key: event.key.clone(), expect: Expect::Any, events: vec![event] }];
        self.commit(Commit { append, ..Commit::default() }).await;
        mark
    }

    async fn handle(&self, mark: Mark) {
        self.commit(Commit { seen: vec![Seen { consumer: "reader".into(), mark }], ..Commit::default() }).await;
    }

    /// As if the relay had come so far.
    async fn publish(&self, position: u64) {
        let cursor = DocumentWrite {
            collection: "relay_cursor".into(),
            id: "0of1".into(),
            expect: ExpectDocument::Any,
            value: Some(Bytes::from(format!("{{\"position\":{position}}}"))),
        };
        self.commit(Commit { documents: vec![cursor], ..Commit::default() }).await;
    }

    async fn first(&self) -> u64 {
        self.ports.store.info().await.unwrap().first.0
    }
}

fn hold(by: &str, position: u64) -> Hold {
    Hold { by: by.into(), position: Position(position) }
}

fn before(text: &str) -> Since {
    text.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_was_published_and_handled_is_retired() {
    let house = House::new().await;
    let mut marks = Vec::new();
    for n in 0..10 {
        marks.push(house.append(if n == 3 { "other.happened" } else { "thing.happened" }).await);
    }
    let operator = house.operator();
    let plan = operator.retire(before("100"), 1_000, true).await.unwrap();
    assert_eq!((plan.first, plan.asked, plan.until, plan.head), (Position(1), Position(9), Position(0), Position(10)));
    assert_eq!(plan.held, [hold("relay 0of1", 1), hold("consumer reader", 1)]);
    house.publish(6).await;
    for mark in marks.drain(..5) {
        house.handle(mark).await;
    }
    // What nobody reads needs no consumer: the fourth.
    let plan = operator.retire(before("9"), 1_000, true).await.unwrap();
    assert_eq!((plan.until, plan.removed), (Position(5), 0));
    assert_eq!(plan.held, [hold("consumer reader", 6), hold("relay 0of1", 7)]);
    assert_eq!(house.first().await, 1);
    // Three at a time, and not further than what is needed.
    let found = operator.retire(before("9"), 3, false).await.unwrap();
    assert_eq!((found.removed, found.first, found.held.len()), (3, Position(4), 0));
    let found = operator.retire(before("9"), 1_000, false).await.unwrap();
    assert_eq!((found.removed, found.first, found.until), (2, Position(6), Position(5)));
    assert_eq!(found.held[0], hold("consumer reader", 6));
    assert_eq!(operator.retire(before("9"), 1_000, false).await.unwrap().removed, 0);
    for mark in marks {
        house.handle(mark).await;
    }
    house.publish(10).await;
    // By age: the eighth is two hours old.
    let plan = operator.retire(before("2h"), 1_000, true).await.unwrap();
    assert_eq!((plan.until, plan.held.len()), (Position(7), 0));
    let found = operator.retire(before("0s"), 1_000, false).await.unwrap();
    assert_eq!((found.removed, found.first, found.asked), (4, Position(10), Position(9)));
    // An audit does not take what was retired for a hole.
    assert_eq!(operator.audit().await.unwrap().holes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_folded_stays_until_a_snapshot_stands_for_it() {
    let house = House::new().await;
    let key = Key::of("sum", 1);
    let commands = Commands::<Sum>::new(&house.ports, "/tests").snapshot_every(5);
    for n in 1..=7 {
        commands.execute(&key, &n, |_| Vec::new()).await.unwrap();
    }
    house.append("other.happened").await;
    house.publish(8).await;
    let operator = house.operator();
    let whole = operator.clone().with_folded(vec![Folded::whole::<Adding>("history")]);
    assert_eq!(whole.retire(before("100"), 100, false).await.unwrap().held, [hold("history", 1)]);
    assert_eq!(house.first().await, 1);
    let operator = operator.with_folded(vec![Folded::aggregate::<Sum>()]);
    let found = operator.retire(before("100"), 100, false).await.unwrap();
    assert_eq!((found.removed, found.held), (5, vec![hold("aggregate sum", 6)]));
    // Another process knows as much as before.
    let (sum, version) = Commands::<Sum>::new(&house.ports, "/tests").load(&key).await.unwrap();
    assert_eq!((sum.total, version), (28, 7));
    // One that had no snapshot could not decide on half of it.
    house.ports.store.retire(Position(7), 100).await.unwrap();
    let loaded = Commands::<Sum>::new(&house.ports, "/tests").load(&key).await;
    assert!(matches!(loaded.map(|(sum, _)| sum.total), Err(CommandError::Store(StoreError::Retired(_)))));
}
