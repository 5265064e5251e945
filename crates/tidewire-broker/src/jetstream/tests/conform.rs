//! The suite that every backend must pass.

use std::sync::Arc;

use async_trait::async_trait;
use tidewire_core::Broker;

use super::{fresh, open, server};
use crate::conformance::{Bench, CASES, column};
use crate::jetstream::JetStreamOptions;

struct OnServer(JetStreamOptions);

#[async_trait]
impl Bench for OnServer {
    async fn broker(&self) -> Arc<dyn Broker> {
        open(&self.0).await
    }

    async fn reopen(&self, broker: Arc<dyn Broker>) -> Arc<dyn Broker> {
        broker.close().await;
        open(&self.0).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_of_the_suite_passes() {
    let Some(server) = server().await else { return };
    let mut failed = Vec::new();
    for (name, case) in CASES {
        eprintln!("broker conformance on JetStream: {name}");
        let bench = Arc::new(OnServer(fresh(server.url())));
        if tokio::spawn(case(bench)).await.is_err() {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "failed: {failed:?}");
    let broker = open(&fresh(server.url())).await;
    servers::columns::keep("broker", "jetstream", &column(&broker.features()));
    broker.close().await;
}
