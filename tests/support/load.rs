//! Load on the log: writers that do not give up, and a ledger of what was accepted of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidewire::{Append, Commit, Event, Expect, Ports, StoreError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::auditor::audit_ports;
use super::event::{Counted, counted};
use super::handlers::tallied;
use super::{PATIENCE, within};

/// Keys per writer: enough that no counter grows long.
const KEYS: u64 = 20;

/// What was accepted: how far each counter has come.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<BTreeMap<String, u64>>>);

impl Ledger {
    /// Notes that a counter has come so far.
    pub fn accept(&self, key: &str, n: u64) {
        let before = self.0.lock().expect("a ledger").insert(key.to_owned(), n);
        assert_eq!(before.unwrap_or(0) + 1, n, "{key} counts one by one");
    }

    /// How many events were accepted.
    pub fn total(&self) -> u64 {
        self.0.lock().expect("a ledger").values().sum()
    }

    /// How far each counter has come.
    pub fn counters(&self) -> Vec<(String, u64)> {
        self.0.lock().expect("a ledger").iter().map(|(key, n)| (key.clone(), *n)).collect()
    }
}

/// Writers at work.
pub struct Load {
    ledger: Ledger,
    stop: CancellationToken,
    writers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts so many writers, each appending an event and then pausing, until they are told to stop. Each event
    /// expects the one before it to be there: an outcome that is not known is looked up, as any client has to.
    pub fn start(ports: &Ports, writers: u64, pause: Duration) -> Self {
        let (ledger, stop) = (Ledger::default(), CancellationToken::new());
        let writer = |writer: u64| {
            let (ports, ledger, stop) = (ports.clone(), ledger.clone(), stop.clone());
            tokio::spawn(async move {
                let mut round = 0;
                while !stop.is_cancelled() {
                    let (key, n) = (format!("w{writer}-{}", round % KEYS), round / KEYS + 1);
                    append(&ports, &key, n).await;
                    ledger.accept(&key, n);
                    round += 1;
                    let _ = tokio::time::timeout(pause, stop.cancelled()).await;
                }
            })
        };
        let writers = (0..writers).map(writer).collect();
        Self { ledger, stop, writers }
    }

    /// What was accepted up to now.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Waits until so many more events were accepted.
    pub async fn accepts(&self, more: u64) {
        let enough = self.ledger.total() + more;
        within(PATIENCE, "events are accepted", || async { (self.ledger.total() >= enough).then_some(()) }).await;
    }

    /// Stops the writers, and answers what was accepted.
    pub async fn end(self) -> Ledger {
        self.stop.cancel();
        for writer in self.writers {
            writer.await.expect("a writer that did not panic");
        }
        self.ledger
    }
}

/// Appends the `n`-th event of a counter, again and again until it is in the log.
async fn append(ports: &Ports, key: &str, n: u64) {
    let event = counted(ports, key, n);
    let append = Append { key: event.key.clone(), expect: Expect::Version(n - 1), events: vec![event.clone()] };
    let commit = Commit { append: vec![append], ..Commit::default() };
    let end = Instant::now() + 2 * PATIENCE;
    let mut uncertain = false;
    loop {
        let error = match ports.store.commit(commit.clone()).await {
            Ok(_) => return,
            Err(error) => error,
        };
        assert!(Instant::now() < end, "{key} {n} was never accepted: {error}");
        match error {
            // An earlier try of ours came through, although its answer did not.
            StoreError::Conflict(_) if uncertain => {
                let found = ports.store.stream(&event.key, n - 1, 1).await;
                if let Ok(found) = found {
                    let id = found.first().map(|recorded| recorded.envelope.id.as_str());
                    assert_eq!(id, Some(event.id.as_str()), "somebody else counted {key}");
                    return;
                }
            }
            StoreError::Unknown(_) => uncertain = true,
            error if error.is_transient() => {}
            error => panic!("{key} {n} was refused: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until everything accepted has had its effects, then audits log, broker and inbox, and compares: every counter
/// was counted to exactly where it was accepted, in order and once.
pub async fn settle(ports: &Ports, ledger: &Ledger, consumer: &str) {
    let names = vec![Counted::TYPE.name().to_owned()];
    let total = ledger.total();
    within(2 * PATIENCE, "everything accepted has been handled", || async {
        let head = ports.store.head().await.ok()?;
        let left = ports.store.unhandled(consumer, &names, head, 1).await.ok()?;
        (head.0 >= total && left.is_empty()).then_some(())
    })
    .await;
    let parked = ports.store.parked_counts().await.expect("an answer");
    assert!(parked.is_empty(), "faults of servers park nothing: {parked:?}");
    let events = audit_ports(ports, &[(consumer.to_owned(), names)]).await;
    assert_eq!(events, total, "the log holds what was accepted, and nothing else");
    for (key, n) in ledger.counters() {
        assert_eq!(tallied(ports, consumer, &key).await, (1..=n).collect::<Vec<u64>>(), "{key}");
    }
}
