//! Replays on a real store, one step after the other.

mod differential;
mod rebuilds;
mod replays;

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tempfile::TempDir;
use tidewire_core::broker::{Extent, Features, Lag, Published, Subscribe};
use tidewire_core::handler::{Consumer, HandlerError};
use tidewire_core::{
    Append, Broker, BrokerError, Call, Clock, Commit, Committed, Context, Draft, Envelope, Event, EventType, Expect,
    Handler, Key, Mark, Park, Position, Projection, SchemaError, Seen, Store, Subscription, SystemClock, Unit,
    event_set,
};
use tidewire_store::{SqliteOptions, SqliteStore};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::operate::Actor;
use crate::ports::Ports;
use crate::project::Projected;

/// Something was added to a sum.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Added {
    sum: String,
    n: u64,
    by: String,
}

impl Event for Added {
    const TYPE: EventType = EventType::new("sum.added", 2);
    fn key(&self) -> Key {
        Key::of("sum", &self.sum)
    }
    fn upcast(from: u16, mut data: Value) -> Result<Value, SchemaError> {
        match from {
            1 => data["by"] = json!("nobody"),
            _ => return Err(SchemaError::no_upcast::<Self>(from)),
        }
        Ok(data)
    }
}

event_set! { enum Adding { Added(Added) } }

/// The sums.
struct Sums;

impl Projection for Sums {
    const NAME: &'static str = "test.sums";
    const COLLECTION: &'static str = "sum";
    type Event = Adding;
    type Row = u64;
    fn rows(Adding::Added(added): &Adding, _: &Envelope) -> Vec<String> {
        vec![added.sum.clone()]
    }
    fn apply(row: &mut Option<u64>, _: &str, Adding::Added(added): &Adding, _: &Envelope) {
        *row = Some(row.unwrap_or(0) + added.n);
    }
}

/// Tells somebody of every addition: a row, a letter, an event and a timer.
struct Teller;

#[async_trait]
impl Handler for Teller {
    fn consumer(&self) -> Consumer {
        Consumer::new("test.teller", vec![Added::TYPE]).keeping(["told"])
    }
    async fn handle(&self, event: &Envelope, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        let added = Added::decode(event)?;
        if added.by == "fails" {
            return Err(HandlerError::permanent("handler.failed", "it always fails"));
        }
        let told: u64 = cx.get("told", &added.sum).await?.unwrap_or(0);
        cx.put("told", &added.sum, &(told + 1))?;
        cx.effect(Call::Mail { to: "a@example.org".into(), subject: added.sum.clone(), text: added.n.to_string() });
        cx.emit(&Added { sum: format!("of-{}", added.sum), ..added.clone() })?;
        cx.set_timer(&added.sum, &event.key, cx.now(), "");
        Ok(())
    }
}

/// Changes what cannot be muted.
struct Outsider;

#[async_trait]
impl Handler for Outsider {
    fn consumer(&self) -> Consumer {
        Consumer { outside: Some("a printer"), ..Consumer::new("test.outsider", vec![Added::TYPE]) }
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

/// A store, and the desk over three handlers.
struct Rig {
    ports: Ports,
    desk: Replays,
    /// The store itself, as another process would open it.
    raw: Arc<dyn Store>,
    _dir: TempDir,
}

const SUMS: &str = "test.sums";
const TELLER: &str = "test.teller";

impl Rig {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let raw: Arc<dyn Store> =
            Arc::new(SqliteStore::open(SqliteOptions::new(dir.path()), clock.clone()).await.unwrap());
        let (ports, desk) = process(&raw).await;
        Self { ports, desk, raw, _dir: dir }
    }

    /// Appends an addition of version 2, or of another one.
    async fn add_as(&self, version: u16, sum: &str, n: u64, by: &str) {
        let mut draft = Draft::of(&Added { sum: sum.into(), n, by: by.into() }).unwrap();
        draft.ty = draft.ty.at(version);
        let event = draft.seal(self.ports.clock.as_ref(), "/test", None);
        let append = Append { key: event.key.clone(), expect: Expect::Any, events: vec![event] };
        self.ports.store.commit(Commit { append: vec![append], ..Commit::default() }).await.unwrap();
    }

    async fn add(&self, sum: &str, n: u64) {
        self.add_as(2, sum, n, "us").await;
    }

    async fn live(&self, consumer: &str) {
        live(&self.desk, consumer).await;
    }

    async fn row(&self, collection: &str, id: &str) -> Option<u64> {
        row(&self.ports, collection, id).await
    }

    async fn rebuild(&self, asked: RebuildRequest) -> Job {
        let job = self.desk.rebuild(SUMS, &asked, &by("test")).await.unwrap();
        self.carry_out(&job.id).await
    }

    async fn carry_out(&self, id: &str) -> Job {
        self.desk.work(std::time::Duration::from_secs(20)).await.unwrap();
        self.desk.job(id).await.unwrap()
    }

    async fn events_of(&self, ty: &str) -> usize {
        let selection = tidewire_core::store::Selection { names: vec![ty.into()], limit: 1_000, ..Default::default() };
        self.ports.store.read(&selection).await.unwrap().len()
    }

    async fn park(&self, consumer: &str, sum: &str) {
        let envelope = self.ports.store.stream(&Key::of("sum", sum), 0, 1).await.unwrap().remove(0).envelope;
        let park = Park {
            consumer: consumer.into(),
            envelope,
            code: "handler.failed".into(),
            reason: "no".into(),
            attempts: 1,
            follower: false,
            place: None,
        };
        self.ports.store.commit(Commit { park: vec![park], ..Commit::default() }).await.unwrap();
    }
}

/// The ports and the desk of one process on a store.
async fn process(raw: &Arc<dyn Store>) -> (Ports, Replays) {
    let store: Arc<dyn Store> = Arc::new(Generations::over(raw.clone()).await.unwrap());
    let ports = Ports { store, broker: Arc::new(Empty), clock: Arc::new(SystemClock) };
    let handlers: Vec<(Arc<dyn Handler>, String)> = vec![
        (Arc::new(Projected::new(Sums)), "/test".into()),
        (Arc::new(Teller), "/test".into()),
        (Arc::new(Outsider), "/test".into()),
    ];
    let desk = Replays::new(&ports, handlers, Default::default());
    (ports, desk)
}

fn by(name: &str) -> Asked {
    let _ = name;
    Asked { actor: Actor::house(), reason: "a test".into(), with_effects: false }
}

async fn row(ports: &Ports, collection: &str, id: &str) -> Option<u64> {
    let found = ports.store.documents(collection, &[id.to_owned()]).await.unwrap().remove(0);
    found.map(|found| serde_json::from_slice(&found.value).unwrap())
}

/// Does what the consume loop would: handles everything that is unhandled, under the fence.
async fn live(desk: &Replays, consumer: &str) {
    let runner = desk.runner(consumer).unwrap();
    let store = desk.ports.store.clone();
    let head = store.head().await.unwrap();
    let events = store.unhandled(consumer, &runner.consumer.names(), head, 10_000).await.unwrap();
    let fence = runner.fence().await.unwrap();
    let mut unit = Unit::new(store.clone(), desk.ports.clock.clone(), consumer, "/test");
    for recorded in &events {
        runner.handle_one(&mut unit, &recorded.envelope, 1).await.unwrap();
    }
    let mut commit = unit.into_commit();
    let seen = |recorded: Recorded| Seen { consumer: consumer.into(), mark: Mark::of(&recorded.envelope) };
    commit.seen = events.into_iter().map(seen).collect();
    commit.fence = fence;
    assert!(matches!(store.commit(commit).await.unwrap(), Committed::Applied { .. }));
}

use tidewire_core::Recorded;

/// One process takes a replay so many steps further, and dies.
async fn steps(desk: &Replays, id: &str, count: usize) {
    let stop = CancellationToken::new();
    let owner = desk.ports.clock.id().to_string();
    let mut driver = driver::Driver::take(desk, id, &owner, &stop).await.unwrap().expect("nobody else has it");
    for _ in 0..count {
        assert!(matches!(driver.step().await, Ok(true)), "it goes on");
    }
    // The lease would run out by itself.
    driver.leave().await;
}
