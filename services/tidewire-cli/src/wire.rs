//! Which backend stands behind each port. The only place that names concrete ones.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use tidewire::config::{Config, ServiceUrl};
use tidewire::telemetry::metrics;
use tidewire::{Broker, Clock, Ports, Store};
use tidewire_broker::{EmbeddedBroker, EmbeddedOptions};
use tidewire_store::{SqliteOptions, SqliteStore};

use crate::exit::Exit;
use crate::failure::Failure;

/// Opens what the configuration names.
pub async fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<Ports, Failure> {
    // Both are checked before either is opened: half a start leaves files behind.
    let log = config.sqlite_dir().ok_or_else(|| unsupported("store.url", &config.store.url, "sqlite:"))?;
    let carrier =
        config.embedded_broker_dir().ok_or_else(|| unsupported("broker.url", &config.broker.url, "embedded:"))?;
    make_private(&config.data_dir)?;
    let store = open_store(config, &log, clock.clone()).await?;
    match open_broker(config, &carrier, clock.clone()).await {
        Ok(broker) => Ok(Ports { store, broker, clock }),
        Err(failure) => {
            store.close().await;
            Err(failure)
        }
    }
}

/// Whether several processes can run on these backends at once.
pub fn is_shared(config: &Config) -> bool {
    config.sqlite_dir().is_none() && config.embedded_broker_dir().is_none()
}

async fn open_store(config: &Config, dir: &Path, clock: Arc<dyn Clock>) -> Result<Arc<dyn Store>, Failure> {
    let options = SqliteOptions {
        readers: u32::try_from(config.store.readers).unwrap_or(u32::MAX),
        group_commits: config.store.group_commits_max,
        queue: config.store.queue,
        on_flush: Some(|commits, took| {
            metrics::commit_group(commits);
            metrics::commit_seconds(took);
        }),
        ..SqliteOptions::new(dir)
    };
    Ok(Arc::new(SqliteStore::open(options, clock).await?))
}

async fn open_broker(config: &Config, dir: &Path, clock: Arc<dyn Clock>) -> Result<Arc<dyn Broker>, Failure> {
    let broker = &config.broker;
    let options = EmbeddedOptions {
        dir: dir.to_owned(),
        max_bytes: broker.retention_bytes,
        max_age: broker.retention_age,
        max_event_bytes: usize::try_from(broker.max_event_bytes).unwrap_or(usize::MAX),
        dedupe_window: broker.dedupe_window,
        ..EmbeddedOptions::default()
    };
    Ok(EmbeddedBroker::open(options, clock).await?)
}

fn unsupported(key: &str, url: &ServiceUrl, embedded: &str) -> Failure {
    let server = match url.scheme() {
        "postgres" | "postgresql" => "PostgreSQL",
        "nats" | "tls" => "NATS JetStream",
        "kafka" => "Apache Kafka",
        other => other,
    };
    Failure::new(Exit::Invalid, "backend.unsupported", format!("this build has no {server} ({key} names one)"))
        .hint(format!("{key} = \"{embedded}\" needs no server"))
}

/// What is kept here is nobody else's business: documents, events, tokens.
fn make_private(dir: &Path) -> Result<(), Failure> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| {
        let code =
            if error.kind() == std::io::ErrorKind::PermissionDenied { "store.read_only" } else { "store.unavailable" };
        Failure::new(Exit::Unavailable, code, format!("the data directory {} cannot be made: {error}", dir.display()))
            .hint("name another with --data-dir or TIDEWIRE_DATA_DIR")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire::SystemClock;

    #[tokio::test]
    async fn a_backend_this_build_lacks_is_named_and_nothing_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        for (key, url, named) in [
            ("store.url", "postgres://localhost/x", "PostgreSQL"),
            ("broker.url", "nats://localhost:4222", "NATS JetStream"),
            ("broker.url", "kafka://localhost:9092", "Apache Kafka"),
        ] {
            let config = Config::with([("data_dir", data.to_str().unwrap()), (key, url)]).unwrap();
            let Err(failure) = open(&config, Arc::new(SystemClock)).await else { panic!("{url} was opened") };
            assert_eq!((failure.exit, failure.code.as_str()), (Exit::Invalid, "backend.unsupported"), "{url}");
            assert!(failure.message.contains(named), "{}", failure.message);
        }
        assert!(!data.exists());
    }
}
