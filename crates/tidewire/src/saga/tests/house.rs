//! The smallest house a saga lives in: a real store, and a hand that delivers, kills, repeats and delays.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta};
use tidewire_core::store::Selection;
use tidewire_core::{
    Append, Clock, Commit, Committed, Draft, Envelope, Expect, Handler, HandlerError, ManualClock, Mark, Position,
    Recorded, Seen, Store, Timer, TimerWrite, Unit,
};
use tidewire_store::{SqliteOptions, SqliteStore};
use uuid::Uuid;

use super::trip::{APPLIED, Faults, Flight, Hotel, Mail, Pay, Planned, Trip};
use crate::saga::*;

/// What goes wrong on the way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Accident {
    None,
    /// The process dies before its n-th commit.
    BeforeCommit(usize),
    /// The process dies after its n-th commit, before it acknowledges.
    AfterCommit(usize),
    /// Every event of this name is emitted twice, under two ids.
    Repeat(&'static str),
    /// Events of this name are delivered only after nothing else happens any more.
    Late(&'static str),
    /// Events of this name are never delivered.
    Lost(&'static str),
}

/// Starts of a handler before an event is given up.
const ATTEMPTS: u32 = 3;

pub(super) struct House {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) faults: Faults,
    handlers: Vec<Arc<dyn Handler>>,
    accident: Accident,
    commits: usize,
    /// Where this journey begins in the log.
    from: Position,
    _dir: Option<tempfile::TempDir>,
}

/// The process died.
#[derive(Debug)]
pub(super) struct Died;

pub(super) fn handlers<const DEFINITION: u16>(faults: &Faults) -> Vec<Arc<dyn Handler>> {
    vec![
        Arc::new(SagaRunner::new(Trip::<DEFINITION>).unwrap()),
        Arc::new(Participant::new("hotel").reversible(Hotel(faults.clone()))),
        Arc::new(Participant::new("flight").reversible(Flight(faults.clone()))),
        Arc::new(Participant::new("office").irreversible(Pay(faults.clone())).irreversible(Mail(faults.clone()))),
    ]
}

impl House {
    pub(super) async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(DateTime::UNIX_EPOCH, 1));
        let store = SqliteStore::open(SqliteOptions::new(dir.path()), clock.clone()).await.unwrap();
        let (store, faults) = (Arc::new(store), Faults::default());
        let handlers = handlers::<1>(&faults);
        let (accident, commits, from) = (Accident::None, 0, Position(0));
        Self { store, clock, faults, handlers, accident, commits, from, _dir: Some(dir) }
    }

    /// Starts a trip in which `accident` happens and the named requests fail so often (for good or not).
    pub(super) async fn plan(&mut self, trip: &str, accident: Accident, faults: &[(&'static str, u32, bool)]) -> Uuid {
        self.from = self.store.head().await.unwrap();
        (self.accident, self.commits) = (accident, 0);
        *self.faults.lock().unwrap() = faults.iter().map(|(name, times, kind)| (*name, (*times, *kind))).collect();
        let start = Draft::of(&Planned::new(trip)).unwrap().seal(self.clock.as_ref(), "/test", None);
        let id = saga_id("trip", &start.id);
        self.append(start).await;
        id
    }

    pub(super) fn replace(&mut self, handlers: Vec<Arc<dyn Handler>>) {
        self.handlers = handlers;
    }

    pub(super) async fn append(&self, envelope: Envelope) {
        let append = Append { key: envelope.key.clone(), expect: Expect::Any, events: vec![envelope] };
        self.store.commit(Commit { append: vec![append], ..Commit::default() }).await.unwrap();
    }

    /// Lets time pass and events travel until nothing is left to do. What died is started again.
    pub(super) async fn live(&mut self) {
        let mut late = false;
        for _ in 0..200 {
            match self.settle(late).await {
                Err(Died) => self.accident = Accident::None,
                Ok(()) => match self.due().await {
                    Some(timer) => assert_ne!(self.fire(timer).await, Committed::Duplicate),
                    None if late || !matches!(self.accident, Accident::Late(_)) => return,
                    None => late = true,
                },
            }
        }
        panic!("it never ends: {:?}", self.accident);
    }

    /// Delivers until nothing is new.
    pub(super) async fn settle(&mut self, late: bool) -> Result<(), Died> {
        loop {
            let mut news = false;
            for handler in self.handlers.clone() {
                let names = handler.consumer().names();
                let selection = Selection { after: self.from, names, limit: 10_000, ..Selection::default() };
                for Recorded { envelope, .. } in self.store.read(&selection).await.unwrap() {
                    let kept_back = match self.accident {
                        Accident::Lost(name) => envelope.ty.name() == name,
                        Accident::Late(name) => !late && envelope.ty.name() == name,
                        _ => false,
                    };
                    if !kept_back {
                        news |= self.deliver(handler.as_ref(), &envelope).await?;
                    }
                }
            }
            if !news {
                return Ok(());
            }
        }
    }

    /// Whether it was new to the handler.
    async fn deliver(&mut self, handler: &dyn Handler, event: &Envelope) -> Result<bool, Died> {
        let consumer = handler.consumer().name;
        if self.store.seen(&consumer, &[Mark::of(event)]).await.unwrap() == [true] {
            return Ok(false);
        }
        let mut attempt = 1;
        let commit = loop {
            let mut unit = Unit::new(self.store.clone(), self.clock.clone(), &consumer, "/test");
            let mut cx = unit.context(Some(event), attempt);
            match handler.handle(event, &mut cx).await {
                Ok(()) => {
                    cx.keep();
                    break unit.into_commit();
                }
                Err(error) if error.is_transient() && attempt < ATTEMPTS => attempt += 1,
                Err(error) => break self.give_up(handler, event, &error).await,
            }
        };
        self.commit(&consumer, event, commit).await?;
        Ok(true)
    }

    async fn give_up(&self, handler: &dyn Handler, event: &Envelope, error: &HandlerError) -> Commit {
        let mut unit = Unit::new(self.store.clone(), self.clock.clone(), &handler.consumer().name, "/test");
        let mut cx = unit.context(Some(event), ATTEMPTS);
        assert!(handler.give_up(event, error, &mut cx).await.unwrap(), "parked: {error}");
        cx.keep();
        unit.into_commit()
    }

    async fn commit(&mut self, consumer: &str, event: &Envelope, mut commit: Commit) -> Result<(), Died> {
        commit.seen.push(Seen { consumer: consumer.to_owned(), mark: Mark::of(event) });
        self.commits += 1;
        if self.accident == Accident::BeforeCommit(self.commits) {
            return Err(Died);
        }
        let repeated: Vec<Envelope> = commit
            .append
            .iter()
            .flat_map(|append| &append.events)
            .filter(|event| matches!(self.accident, Accident::Repeat(name) if event.ty.name() == name))
            .map(|event| Envelope { id: self.clock.id().to_string(), ..event.clone() })
            .collect();
        let committed = self.store.commit(commit.clone()).await.unwrap();
        assert!(matches!(committed, Committed::Applied { .. }));
        assert_eq!(self.store.commit(commit).await.unwrap(), Committed::Duplicate, "the inbox knows it");
        for event in repeated {
            self.append(event).await;
        }
        if self.accident == Accident::AfterCommit(self.commits) { Err(Died) } else { Ok(()) }
    }

    /// Moves the clock to the next timer.
    pub(super) async fn due(&mut self) -> Option<Timer> {
        let owners = [SagaRunner::<Trip<1>>::consumer_name()];
        let (due, _) = self.store.next_due(&owners).await.unwrap();
        let wait = (due? - self.clock.now()).max(TimeDelta::zero());
        self.clock.advance(wait);
        self.store.due_timers(&owners, self.clock.now(), 1).await.unwrap().pop()
    }

    pub(super) async fn fire(&mut self, timer: Timer) -> Committed {
        let mut unit = Unit::new(self.store.clone(), self.clock.clone(), &timer.owner, "/test");
        let mut cx = unit.context(None, 1);
        self.handlers[0].wake(&timer, &mut cx).await.unwrap();
        cx.keep();
        let mut commit = unit.into_commit();
        commit.timers.insert(0, TimerWrite::Fire { owner: timer.owner, id: timer.id });
        self.store.commit(commit).await.unwrap()
    }

    pub(super) fn ports(&self) -> crate::ports::Ports {
        let broker = Arc::new(super::nowhere::Nowhere);
        crate::ports::Ports { store: self.store.clone(), broker, clock: self.clock.clone() }
    }

    pub(super) fn query(&self) -> SagaQuery {
        SagaQuery::new(self.store.clone())
    }

    pub(super) async fn view(&self, id: Uuid) -> SagaView {
        self.query().get(id).await.unwrap().expect("the saga has begun")
    }

    /// How often each step is applied now.
    pub(super) async fn applied(&self, trip: &str) -> BTreeMap<&'static str, i64> {
        let steps = ["hotel", "flight", "pay", "mail"];
        let ids: Vec<String> = steps.iter().map(|step| format!("{trip}/{step}")).collect();
        let found = self.store.documents(APPLIED, &ids).await.unwrap();
        let count = |document: Option<tidewire_core::Document>| {
            document.map_or(0, |document| serde_json::from_slice(&document.value).unwrap())
        };
        steps.into_iter().zip(found.into_iter().map(count)).collect()
    }

    /// The events of this journey with this name.
    pub(super) async fn emitted(&self, name: &str) -> Vec<Envelope> {
        let names = vec![name.to_owned()];
        let selection = Selection { after: self.from, names, limit: 1_000, ..Selection::default() };
        self.store.read(&selection).await.unwrap().into_iter().map(|recorded| recorded.envelope).collect()
    }

    pub(super) fn commits(&self) -> usize {
        self.commits
    }
}
