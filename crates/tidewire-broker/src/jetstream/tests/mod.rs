//! On real servers.

mod conform;
mod doubt;
mod faults;
mod measure;
mod runs;
mod share;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use servers::Nats;
use tidewire_core::{Broker, Envelope, SystemClock};
use tokio::time::Instant;

use super::{JetStreamBroker, JetStreamOptions};
use crate::conformance::event;

/// How long a test waits for what must happen, servers that start again included.
const PATIENCE: Duration = Duration::from_secs(60);

static DOMAINS: AtomicU32 = AtomicU32::new(0);

/// The shared server; `None` when it is left out on purpose.
async fn server() -> Option<Arc<Nats>> {
    if servers::left_out("nats") {
        println!("NATS is left out: nothing was tested");
        return None;
    }
    Some(servers::nats().await.unwrap_or_else(|missing| panic!("{missing}")))
}

/// Options for a domain of its own.
fn fresh(url: &str) -> JetStreamOptions {
    let domain = format!("t{}-{}", std::process::id(), DOMAINS.fetch_add(1, Ordering::Relaxed));
    JetStreamOptions { url: url.into(), domain, max_bytes: 32 << 20, ..Default::default() }
}

async fn open(options: &JetStreamOptions) -> Arc<JetStreamBroker> {
    JetStreamBroker::open(options.clone(), Arc::new(SystemClock)).await.expect("the broker opens")
}

/// Publishes until it succeeds, as the relay does.
async fn publish_surely(broker: &JetStreamBroker, mut batch: Vec<Envelope>) {
    let began = Instant::now();
    while !batch.is_empty() {
        assert!(began.elapsed() < PATIENCE * 2, "{} events could not be published", batch.len());
        let answers = broker.publish(batch.clone()).await;
        let mut answers = answers.into_iter();
        batch.retain(|_| answers.next().is_some_and(|answer| answer.is_err()));
        if !batch.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// `count` events of each of `keys` keys, in turns: ids `key-number`.
fn rows(keys: usize, from: usize, count: usize) -> Vec<Envelope> {
    let one = |n: usize, key: usize| event(&format!("k{key}"), &format!("k{key}-{n}"));
    (from..from + count).flat_map(|n| (0..keys).map(move |key| one(n, key))).collect()
}

/// What was handled, and in what order: the first handling of every event must follow that of the one before it.
#[derive(Default)]
struct Audit {
    last: HashMap<String, i64>,
    handled: BTreeMap<String, u32>,
    inversions: Vec<String>,
}

impl Audit {
    fn see(&mut self, envelope: &Envelope) {
        let times = self.handled.entry(envelope.id.clone()).or_default();
        *times += 1;
        if *times > 1 {
            return;
        }
        let (key, number) = envelope.id.rsplit_once('-').expect("an id of a row");
        let number: i64 = number.parse().expect("an id of a row");
        let last = self.last.insert(key.to_owned(), number).unwrap_or(-1);
        if number != last + 1 {
            self.inversions.push(format!("{} after {last}", envelope.id));
        }
    }

    fn duplicates(&self) -> u32 {
        self.handled.values().map(|times| times - 1).sum()
    }
}
