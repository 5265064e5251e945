//! Which backend stands behind each port. The only place that names concrete ones.

mod broker;
mod domains;
mod store;

pub use domains::OtherDomains;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use tidewire::config::{Config, ServiceUrl};
use tidewire::replay::Generations;
use tidewire::{Clock, Ports, Store};

use crate::contracts;
use crate::exit::Exit;
use crate::failure::Failure;

/// Opens what the configuration names.
pub async fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<Ports, Failure> {
    // All are checked before either is opened: half a start leaves files behind.
    let (store, broker) = (store::Choice::of(config)?, broker::Choice::of(config)?);
    let foreign = contracts::foreign(config)?;
    if !is_shared(config) {
        make_private(&config.data_dir)?;
    }
    let store = store.open(config, &foreign, clock.clone()).await?;
    let store: Arc<dyn Store> = Arc::new(Generations::over(store).await?);
    match broker.open(config, clock.clone()).await {
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

fn unsupported(key: &str, url: &ServiceUrl, server: &str, cure: &str) -> Failure {
    let message = format!("this build has no {server}, which {key} = {url} names");
    Failure::new(Exit::Invalid, "backend.unsupported", message).hint(cure)
}

/// What is kept here is nobody else's business: documents, events, tokens.
pub fn make_private(dir: &Path) -> Result<(), Failure> {
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

    #[cfg(not(feature = "kafka"))]
    #[tokio::test]
    async fn a_backend_this_build_lacks_is_named_with_its_feature_and_nothing_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let pairs = [("data_dir", data.to_str().unwrap()), ("broker.url", "kafka://me:canary7@localhost:9092")];
        let secret: tidewire::config::Env = [("TIDEWIRE_BROKER_URL", pairs[1].1)].into_iter().collect();
        let flags = vec![tidewire::config::Flag::new("data_dir", "--data-dir", pairs[0].1)];
        let sources = tidewire::config::Sources { env: secret, flags, ..Default::default() };
        let config = Config::load(sources).unwrap();
        let Err(failure) = open(&config, Arc::new(SystemClock)).await else { panic!("it was opened") };
        assert_eq!((failure.exit, failure.code.as_str()), (Exit::Invalid, "backend.unsupported"));
        let text = failure.for_people();
        assert!(text.contains("Apache Kafka") && text.contains("--features kafka"), "{text}");
        assert!(!text.contains("canary7"), "{text}");
        assert!(!data.exists());
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_unavailable_and_not_a_mistake() {
        tidewire::install_tls();
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        for (key, url) in [("store.url", "postgres://127.0.0.1:1/x"), ("broker.url", "nats://127.0.0.1:1")] {
            let config = Config::with([("data_dir", data.to_str().unwrap()), (key, url)]).unwrap();
            let Err(failure) = open(&config, Arc::new(SystemClock)).await else { panic!("{url} was opened") };
            assert_eq!(failure.exit, Exit::Unavailable, "{url}: {failure:?}");
        }
    }

    #[test]
    fn only_two_servers_can_be_shared() {
        for (store, broker, shared) in [
            ("sqlite:", "embedded:", false),
            ("postgres://h/d", "embedded:", false),
            ("sqlite:", "nats://h", false),
            ("postgres://h/d", "nats://h", true),
        ] {
            let config = Config::with([("store.url", store), ("broker.url", broker)]).unwrap();
            assert_eq!(is_shared(&config), shared, "{store} {broker}");
        }
    }
}
