//! Against a real Kafka: the suite, and what only Kafka has. Against librdkafka's mock: faults.

mod faults;
mod rates;
mod sharing;
mod topic;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tidewire_core::{Broker, SystemClock};

use super::{KafkaBroker, KafkaOptions};
use crate::conformance::{Bench, CASES, column};

/// Options for a domain of its own on the shared server; `None` where the tests are to do without Kafka.
async fn fresh(partitions: u32) -> Option<KafkaOptions> {
    static DOMAINS: AtomicU32 = AtomicU32::new(0);
    if servers::left_out("kafka") {
        eprintln!("left out: kafka");
        return None;
    }
    let server = servers::kafka().await.unwrap_or_else(|missing| panic!("{missing}"));
    let number = DOMAINS.fetch_add(1, Ordering::Relaxed);
    Some(KafkaOptions {
        brokers: server.brokers().to_owned(),
        domain: format!("test-{}-{number}", std::process::id()),
        partitions,
        max_event_bytes: 64 << 10,
        publish_timeout: Duration::from_secs(20),
        ..KafkaOptions::default()
    })
}

async fn open(options: &KafkaOptions) -> Arc<KafkaBroker> {
    KafkaBroker::open(options.clone(), Arc::new(SystemClock)).await.expect("the broker opens")
}

struct Kafka {
    options: KafkaOptions,
}

#[async_trait]
impl Bench for Kafka {
    async fn broker(&self) -> Arc<dyn Broker> {
        open(&self.options).await
    }

    async fn reopen(&self, broker: Arc<dyn Broker>) -> Arc<dyn Broker> {
        broker.close().await;
        open(&self.options).await
    }
}

/// All cases are tried; the ones that fail are named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_suite() {
    let mut failed = Vec::new();
    for (name, case) in CASES {
        let Some(options) = fresh(4).await else { return };
        let started = tokio::time::Instant::now();
        let outcome = tokio::spawn(case(Arc::new(Kafka { options }))).await;
        eprintln!(
            "broker conformance: {name}: {} in {:?}",
            if outcome.is_ok() { "ok" } else { "FAILED" },
            started.elapsed()
        );
        if outcome.is_err() {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "{} of {} cases failed: {failed:?}", failed.len(), CASES.len());
    let Some(options) = fresh(1).await else { return };
    let broker = open(&options).await;
    servers::columns::keep("broker", "kafka", &column(&broker.features()));
    broker.close().await;
}
