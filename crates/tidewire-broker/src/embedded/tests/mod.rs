//! The embedded broker on real files.

mod crash;
mod files;
mod limits;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tempfile::TempDir;
use tidewire_core::{Broker, SystemClock};

use super::{EmbeddedBroker, EmbeddedOptions};
use crate::conformance::{Bench, column, run_all};

pub(super) fn options(dir: &Path) -> EmbeddedOptions {
    EmbeddedOptions { dir: dir.to_owned(), ..EmbeddedOptions::default() }
}

pub(super) async fn open(options: EmbeddedOptions) -> Arc<EmbeddedBroker> {
    EmbeddedBroker::open(options, Arc::new(SystemClock)).await.unwrap()
}

struct Embedded {
    options: EmbeddedOptions,
    _dir: TempDir,
}

impl Embedded {
    fn new(change: fn(&mut EmbeddedOptions)) -> Self {
        let dir = TempDir::new().unwrap();
        let mut options = options(dir.path());
        change(&mut options);
        Self { options, _dir: dir }
    }
}

#[async_trait]
impl Bench for Embedded {
    async fn broker(&self) -> Arc<dyn Broker> {
        open(self.options.clone()).await
    }

    async fn reopen(&self, broker: Arc<dyn Broker>) -> Arc<dyn Broker> {
        broker.close().await;
        open(self.options.clone()).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_suite() {
    run_all(|| Embedded::new(|_| {})).await;
    let broker = Embedded::new(|_| {}).broker().await;
    servers::columns::keep("broker", "embedded", &column(&broker.features()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_suite_reading_everything_from_the_file() {
    run_all(|| Embedded::new(|options| options.tail_bytes = 0)).await;
}
