//! Which sources belong to somebody.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tidewire::identity::ApiKey;
use tidewire::store::DocumentQuery;
use tidewire::{Ports, StoreError};

use super::{KEYS, REREAD_AFTER};

/// Keys read at once.
const PAGE: usize = 500;

/// The sources that good keys were made for, as they were read a moment ago. Whoever has no source of his own may emit
/// as anybody, and as none of these: their events would pass for the owner's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owned(pub Arc<HashSet<String>>);

/// Reads them, at most every few seconds.
pub(super) struct Owners {
    ports: Ports,
    read: Mutex<Option<(Instant, Owned)>>,
}

impl Owners {
    pub(super) fn new(ports: &Ports) -> Self {
        Self { ports: ports.clone(), read: Mutex::default() }
    }

    pub(super) async fn owned(&self) -> Result<Owned, StoreError> {
        // Every state of it is a valid one.
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, owned)) = read
            && at.elapsed() < REREAD_AFTER
        {
            return Ok(owned);
        }
        let owned = Owned(Arc::new(self.all().await?));
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), owned.clone()));
        Ok(owned)
    }

    async fn all(&self) -> Result<HashSet<String>, StoreError> {
        let now = self.ports.clock.now();
        let mut query = DocumentQuery { collection: KEYS.into(), limit: PAGE, ..Default::default() };
        let mut owned = HashSet::new();
        loop {
            let page = self.ports.store.list(&query).await?;
            let Some(last) = page.last() else { return Ok(owned) };
            query.after = Some(last.id.clone());
            let keys = page.iter().filter_map(|document| serde_json::from_slice::<ApiKey>(&document.value).ok());
            owned.extend(keys.filter(|key| super::keys::is_good(key, now)).filter_map(|key| key.of.source));
        }
    }
}
