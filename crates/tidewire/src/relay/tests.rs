//! The relay on a broker that forgets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tidewire_core::broker::{Extent, Features, Lag, Published, Subscribe};
use tidewire_core::handler::Consumer;
use tidewire_core::{
    Append, Broker, BrokerError, Commit, Draft, Envelope, Event, EventType, Expect, Key, ManualClock, Mark, Position,
    Seen, Subscription,
};
use tidewire_store::{SqliteOptions, SqliteStore};
use tokio_util::sync::CancellationToken;

use super::{Relay, RelayOptions};
use crate::operate::Operator;
use crate::ports::Ports;
use crate::reconcile::Since;

const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize)]
struct Counted {
    key: u64,
    n: u64,
}

impl Event for Counted {
    const TYPE: EventType = EventType::new("test.counted", 1);
    fn key(&self) -> Key {
        Key::of("counter", self.key)
    }
}

/// A broker's record, and what happens to it.
#[derive(Default)]
struct Record {
    events: Vec<Envelope>,
    incarnation: u32,
    /// Stored in all, also what was lost from the middle since.
    last: u64,
    down: bool,
}

#[derive(Default)]
struct Forgetful(Mutex<Record>);

impl Forgetful {
    fn with<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    fn wipe(&self) {
        self.with(|record| *record = Record { incarnation: record.incarnation + 1, ..Record::default() });
    }

    fn lose_newest(&self, events: usize) {
        self.with(|record| {
            record.events.truncate(record.events.len() - events);
            record.last -= events as u64;
        });
    }

    /// The numbers held of one key, in the order they came.
    fn held(&self, key: u64) -> Vec<u64> {
        let key = Counted { key, n: 0 }.key();
        let number =
            |envelope: &Envelope| serde_json::from_slice::<Counted>(envelope.data.as_ref().unwrap()).unwrap().n;
        self.with(|record| record.events.iter().filter(|envelope| envelope.key == key).map(number).collect())
    }
}

#[async_trait]
impl Broker for Forgetful {
    async fn publish(&self, batch: Vec<Envelope>) -> Vec<Result<Published, BrokerError>> {
        let store = |record: &mut Record, envelope: Envelope| {
            if record.down {
                return Err(BrokerError::Unavailable("down".into()));
            }
            let duplicate = record.events.iter().any(|held| held.id == envelope.id);
            if !duplicate {
                record.events.push(envelope);
                record.last += 1;
            }
            Ok(Published { duplicate })
        };
        self.with(|record| batch.into_iter().map(|envelope| store(record, envelope)).collect())
    }
    async fn subscribe(&self, _: Subscribe) -> Result<Box<dyn Subscription>, BrokerError> {
        Err(BrokerError::Closed)
    }
    async fn lag(&self) -> Result<Vec<Lag>, BrokerError> {
        Ok(Vec::new())
    }
    async fn scan(&self, cursor: Option<String>, limit: usize) -> Result<(Vec<Envelope>, Option<String>), BrokerError> {
        let from: usize = cursor.map_or(0, |cursor| cursor.parse().unwrap());
        // Small pages, so that several are needed.
        let page: Vec<Envelope> =
            self.with(|record| record.events.iter().skip(from).take(limit.min(7)).cloned().collect());
        let next = (from + page.len()).to_string();
        Ok((page, Some(next)))
    }
    async fn extent(&self) -> Result<Extent, BrokerError> {
        self.with(|record| match record.down {
            true => Err(BrokerError::Unavailable("down".into())),
            false => Ok(Extent { incarnation: record.incarnation.to_string(), last: record.last }),
        })
    }
    fn features(&self) -> Features {
        Features {
            backend: "forgetful",
            durability: "mem",
            multi_process: false,
            delayed_retry: false,
            durable_attempts: false,
            max_event_bytes: 1 << 20,
            dedupe_window_events: 1 << 20,
        }
    }
    async fn close(&self) {}
}

struct House {
    ports: Ports,
    broker: Arc<Forgetful>,
    clock: Arc<ManualClock>,
    _dir: TempDir,
}

struct Relaying {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl House {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new("2026-11-20T13:14:15Z".parse().unwrap(), 1));
        let store = SqliteStore::open(SqliteOptions::new(dir.path()), clock.clone()).await.unwrap();
        let broker = Arc::new(Forgetful::default());
        let ports = Ports { store: Arc::new(store), broker: broker.clone(), clock: clock.clone() };
        Self { ports, broker, clock, _dir: dir }
    }

    /// Appends the numbers to each of five keys. Answers the marks, in order.
    async fn append(&self, numbers: std::ops::RangeInclusive<u64>) -> Vec<Mark> {
        let mut marks = Vec::new();
        for n in numbers {
            for key in 0..5 {
                let draft = Draft::of(&Counted { key, n }).unwrap();
                let event = draft.seal(self.clock.as_ref(), "/tests", None);
                marks.push(Mark::of(&event));
                let append = Append { key: event.key.clone(), expect: Expect::Any, events: vec![event] };
                self.ports.store.commit(Commit { append: vec![append], ..Commit::default() }).await.unwrap();
            }
        }
        marks
    }

    fn relay(&self, options: RelayOptions) -> Relaying {
        let stop = CancellationToken::new();
        let task = tokio::spawn(Relay::new(&self.ports, options).run(stop.clone()));
        Relaying { stop, task }
    }

    fn operator(&self) -> Operator {
        Operator::new(&self.ports, Vec::new(), Default::default())
    }

    async fn holds(&self, count: usize) {
        let waiting = async {
            while self.broker.with(|record| record.events.len()) != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(DEADLINE, waiting).await.is_err() {
            panic!("the broker holds {} events instead of {count}", self.broker.with(|record| record.events.len()));
        }
    }
}

impl Relaying {
    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn all(to: u64) -> Vec<u64> {
    (1..=to).collect()
}

#[tokio::test]
async fn what_is_lost_while_the_broker_is_down_is_there_again_before_anything_newer() {
    let house = House::new().await;
    let relay = house.relay(RelayOptions::default());
    house.append(1..=10).await;
    house.holds(50).await;
    house.broker.with(|record| record.down = true);
    house.append(11..=12).await;
    house.broker.lose_newest(23);
    house.broker.with(|record| record.down = false);
    house.holds(60).await;
    for key in 0..5 {
        assert_eq!(house.broker.held(key), all(12), "in order: nothing newer was published behind the loss");
    }
    relay.end().await;
}

#[tokio::test]
async fn what_is_lost_while_the_relay_is_down_as_well_is_found_at_its_next_start() {
    let house = House::new().await;
    let relay = house.relay(RelayOptions::default());
    house.append(1..=10).await;
    house.holds(50).await;
    relay.end().await;
    house.broker.lose_newest(1);
    let relay = house.relay(RelayOptions::default());
    house.holds(50).await;
    house.append(11..=11).await;
    house.holds(55).await;
    assert_eq!(house.broker.held(4), all(11));
    relay.end().await;
}

#[tokio::test]
async fn a_record_made_anew_gets_what_is_within_retention_and_what_is_waited_for() {
    let house = House::new().await;
    let reader = Consumer::new("reader", vec![Counted::TYPE]);
    let options = RelayOptions { readers: vec![reader.clone()], ..RelayOptions::default() };
    let relay = house.relay(options.clone());
    let old = house.append(1..=4).await;
    house.holds(20).await;
    relay.end().await;
    // All but one of the old ones are handled.
    let seen = old.iter().skip(1).map(|mark| Seen { consumer: reader.name.clone(), mark: mark.clone() });
    house.ports.store.commit(Commit { seen: seen.collect(), ..Commit::default() }).await.unwrap();
    house.clock.advance(chrono::TimeDelta::days(8));
    let relay = house.relay(options.clone());
    house.append(5..=6).await;
    house.holds(30).await;
    house.broker.wipe();
    // The loss is noticed without anything being appended.
    house.holds(11).await;
    assert_eq!((house.broker.held(0), house.broker.held(1)), (vec![1, 5, 6], vec![5, 6]));
    house.append(7..=7).await;
    house.holds(16).await;
    relay.end().await;
    // It is the record now: nothing happens at the next start.
    let relay = house.relay(options);
    house.append(8..=8).await;
    house.holds(21).await;
    relay.end().await;
}

#[tokio::test]
async fn operators_find_holes_and_have_the_relay_fill_them() {
    let house = House::new().await;
    let relay = house.relay(RelayOptions::default());
    house.append(1..=10).await;
    house.holds(50).await;
    house.append(11..=11).await;
    house.holds(55).await;
    let operator = house.operator();
    // The cursor is saved behind the relay's back.
    let saved = async {
        while operator.status().await.unwrap().relays[0].position != Position(55) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, saved).await.unwrap();
    let whole = operator.reconcile(None, true).await.unwrap();
    assert_eq!((whole.missing, whole.outside_retention), (0, 0), "{whole:?}");
    house.broker.with(|record| {
        record.events.remove(31);
        record.events.remove(16);
    });
    let found = operator.reconcile(Some(Since::Position(Position(1))), true).await.unwrap();
    assert_eq!((found.missing, found.published, found.first.len()), (2, 0, 2), "{found:?}");
    house.holds(53).await;
    let later = operator.reconcile(Some(Since::Position(Position(20))), true).await.unwrap();
    assert_eq!(later.missing, 1, "{later:?}");
    let filled = operator.reconcile(None, false).await.unwrap();
    assert_eq!((filled.missing, filled.published, filled.compared), (2, 2, 55), "{filled:?}");
    house.holds(55).await;
    relay.end().await;
    // Where nobody relays, it is done all the same, and nothing else is published by the way.
    house.broker.with(|record| record.events.remove(3));
    house.append(12..=12).await;
    let filled = operator.reconcile(None, false).await.unwrap();
    assert_eq!((filled.missing, filled.published), (1, 1), "{filled:?}");
    house.holds(55).await;
}

#[tokio::test]
async fn each_shard_finds_what_it_lost() {
    let house = House::new().await;
    let options = |index| RelayOptions { shard: (index, 2), ..RelayOptions::default() };
    let relays = [house.relay(options(0)), house.relay(options(1))];
    house.append(1..=10).await;
    house.holds(50).await;
    house.broker.wipe();
    house.holds(50).await;
    let operator = house.operator().with_relays(vec![options(0), options(1)]);
    house.broker.with(|record| record.events.drain(10..20).count());
    let filled = operator.reconcile(None, false).await.unwrap();
    assert_eq!((filled.published, filled.compared), (10, 50), "{filled:?}");
    house.holds(50).await;
    for relay in relays {
        relay.end().await;
    }
}
