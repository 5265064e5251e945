//! The product's side: a store and a broker on fresh directories.

use std::sync::Arc;

use anyhow::bail;
use tempfile::TempDir;
use tidewire::{Broker, Clock, Ports, Store, SystemClock};
use tidewire_broker::{EmbeddedBroker, EmbeddedOptions};
use tidewire_store::{SqliteOptions, SqliteStore};

use crate::harness::rounds::Class;
use crate::place::Place;
use crate::raw;

/// A store and a broker that begin empty and vanish when dropped.
pub struct House {
    pub ports: Ports,
    place: Place,
    dir: TempDir,
}

impl House {
    pub async fn open(place: &Place) -> anyhow::Result<Self> {
        Self::open_in(place, place.fresh()?).await
    }

    /// Closes both and opens them again on what they wrote.
    pub async fn reopen(self) -> anyhow::Result<Self> {
        self.ports.broker.close().await;
        self.ports.store.close().await;
        let Self { ports, place, dir } = self;
        drop(ports);
        Self::open_in(&place, dir).await
    }

    async fn open_in(place: &Place, dir: TempDir) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = SqliteStore::open(SqliteOptions::new(dir.path()), clock.clone()).await?;
        let broker = EmbeddedBroker::open(
            EmbeddedOptions { dir: dir.path().to_owned(), ..EmbeddedOptions::default() },
            clock.clone(),
        )
        .await?;
        let (store, broker): (Arc<dyn Store>, Arc<dyn Broker>) = (Arc::new(store), broker);
        Ok(Self { ports: Ports { store, broker, clock }, place: place.clone(), dir })
    }

    /// What the store says it read back when it opened its file.
    pub async fn store_class(&self) -> anyhow::Result<Class> {
        Ok(self.place.class(class(&self.ports.store.info().await?.durability)?))
    }

    /// The same of the broker.
    pub fn broker_class(&self) -> anyhow::Result<Class> {
        Ok(self.place.class(class(self.ports.broker.features().durability)?))
    }

    /// Write transactions of the store so far.
    pub fn store_transactions(&self) -> anyhow::Result<u64> {
        raw::transactions(&self.dir.path().join("log.db"))
    }

    /// Write transactions of the broker so far.
    pub fn broker_transactions(&self) -> anyhow::Result<u64> {
        raw::transactions(&self.dir.path().join("broker.db"))
    }

    /// Closes both, in order.
    pub async fn close(self) {
        self.ports.broker.close().await;
        self.ports.store.close().await;
    }
}

fn class(durability: &str) -> anyhow::Result<Class> {
    Ok(match durability {
        "disk" => Class::Disk,
        "os" => Class::Os,
        "mem" => Class::Mem,
        other => bail!("unknown durability `{other}`"),
    })
}
