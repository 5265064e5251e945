//! Handlers that misbehave on purpose, and one that does not.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tidewire::handler::{Consumer, Kind, Run};
use tidewire::{Context, Envelope, Event, EventSet, EventType, Handler, HandlerError};

use super::event::{Counted, Counting};

/// What a tally saw of each key, in order, in this process. What was committed is in its documents.
pub type Seen = Arc<Mutex<HashMap<String, Vec<u64>>>>;

/// How a handler treats an event.
pub type Behaviour = Arc<dyn Fn(&Counted, u32) -> Result<(), HandlerError> + Send + Sync>;

/// Writes, per key, the list of numbers it was handed to a document: order and exactly-once in one place.
pub struct Tally {
    pub name: &'static str,
    pub seen: Seen,
    pub behaviour: Behaviour,
    pub run: Run,
    pub version: u16,
    /// What to do with an event that is given up: take it (true) or let it be parked.
    pub last_word: bool,
}

impl Tally {
    /// One that never fails.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            seen: Seen::default(),
            behaviour: Arc::new(|_, _| Ok(())),
            run: Run::PerKey,
            version: 1,
            last_word: false,
        }
    }

    /// With this behaviour.
    pub fn behaving(
        mut self,
        behaviour: impl Fn(&Counted, u32) -> Result<(), HandlerError> + Send + Sync + 'static,
    ) -> Self {
        self.behaviour = Arc::new(behaviour);
        self
    }
}

#[async_trait]
impl Handler for Tally {
    fn consumer(&self) -> Consumer {
        let mut consumer = Consumer::new(self.name, vec![EventType::new("test.counted", self.version)]);
        consumer.run = self.run;
        consumer.kind = if self.run == Run::Batch { Kind::Projection } else { Kind::Handler };
        consumer
    }

    async fn handle(&self, event: &Envelope, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        // A later version of the test event has the same fields.
        let mut same = event.clone();
        same.ty = Counted::TYPE;
        let Some(Counting::Counted(counted)) = Counting::decode(&same)? else { return Ok(()) };
        self.seen.lock().expect("the tally").entry(counted.key.clone()).or_default().push(counted.n);
        let mut numbers: Vec<u64> = cx.get(self.name, &counted.key).await?.unwrap_or_default();
        numbers.push(counted.n);
        cx.put(self.name, &counted.key, &numbers)?;
        (self.behaviour)(&counted, cx.attempt())
    }

    async fn give_up(&self, event: &Envelope, _: &HandlerError, cx: &mut Context<'_>) -> Result<bool, HandlerError> {
        if self.last_word {
            cx.put("given_up", &event.id, &true)?;
        }
        Ok(self.last_word)
    }
}

/// The numbers a tally committed for `key`.
pub async fn tallied(ports: &tidewire::Ports, name: &str, key: &str) -> Vec<u64> {
    let found = ports.store.documents(name, &[key.to_owned()]).await.expect("read");
    found[0].as_ref().map(|document| serde_json::from_slice(&document.value).expect("numbers")).unwrap_or_default()
}

/// A switch shared between a test and its handler.
#[derive(Clone, Default)]
pub struct Switch(Arc<AtomicBool>);

impl Switch {
    pub fn turn_on(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// A counter shared between a test and its handler.
#[derive(Clone, Default)]
pub struct Count(Arc<AtomicU64>);

impl Count {
    pub fn up(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}
