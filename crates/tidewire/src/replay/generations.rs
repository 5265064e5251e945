//! The store as everybody sees it: a projection's collections are those of its live generation.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tidewire_core::store::{Document, DocumentQuery, Documents, Leases, Log, Selection};
use tidewire_core::{Commit, Committed, Key, Position, Recorded, Store, StoreError};

use super::hand_on::hand_on;
use super::record::{self, Record, first_of, physical};
use super::tenure::LEASE_PREFIX;

/// How long a process may read the generation that was live before, after another process swapped it. Writers never
/// do: their commits are fenced.
pub const MAX_STALE: Duration = Duration::from_secs(1);

/// A store in which a projection's plain collections (`follower`) stand for those of its live generation
/// (`follower~2`). Services read and write plain names and never notice a swap.
///
/// Looking a name up is a read of a map in memory. The map follows a swap at once in the process that swapped, before
/// the next commit in every process that writes the projection, and within [`MAX_STALE`] everywhere else: until then such
/// a process reads the generation before, whole, as it was when it was swapped.
#[derive(Clone)]
pub struct Generations(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    /// Plain name to the name in the live generation; only of those that are not the first.
    live: RwLock<HashMap<String, String>>,
    /// The epochs last seen of the leases that fence projections.
    epochs: Mutex<HashMap<String, u64>>,
    refreshed: Mutex<Instant>,
    refreshing: AtomicBool,
}

impl Generations {
    /// Over `store`. Every process whose services read or write projections has to put it between.
    pub async fn over(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let this = Self(Arc::new(Inner {
            store,
            live: RwLock::default(),
            epochs: Mutex::default(),
            refreshed: Mutex::new(Instant::now()),
            refreshing: AtomicBool::new(false),
        }));
        this.refresh().await?;
        Ok(this)
    }

    /// Reads which generations are live.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let begun = Instant::now();
        let records = Record::all(self.0.store.as_ref()).await?;
        let mut live = HashMap::new();
        for (_, record) in records.into_iter().filter(|(_, record)| record.live > 1) {
            for collection in record.collections {
                let name = physical(&collection, record.live);
                live.insert(collection, name);
            }
        }
        *self.0.live.write().unwrap_or_else(PoisonError::into_inner) = live;
        *self.0.refreshed.lock().unwrap_or_else(PoisonError::into_inner) = begun;
        Ok(())
    }

    /// The name that stands for `collection` now, if it is another.
    fn name(&self, collection: &str) -> Option<String> {
        if let Some(first) = first_of(collection) {
            return Some(first.to_owned());
        }
        self.keep_fresh();
        let live = self.0.live.read().unwrap_or_else(PoisonError::into_inner);
        if live.is_empty() { None } else { live.get(collection).cloned() }
    }

    /// Sees to it that what another process swapped is noticed, without making anybody wait for it.
    fn keep_fresh(&self) {
        let is_stale = {
            let refreshed = self.0.refreshed.lock().unwrap_or_else(PoisonError::into_inner);
            refreshed.elapsed() >= MAX_STALE
        };
        if !is_stale || self.0.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let this = self.clone();
        let refresh = async move {
            if let Err(error) = this.refresh().await {
                tracing::debug!(code = error.code(), %error, "cannot look which generations are live");
            }
            this.0.refreshing.store(false, Ordering::Release);
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(refresh)),
            Err(_) => self.0.refreshing.store(false, Ordering::Release),
        }
    }

    fn store(&self) -> &dyn Store {
        self.0.store.as_ref()
    }
}

#[async_trait]
impl Log for Generations {
    async fn commit(&self, mut commit: Commit) -> Result<Committed, StoreError> {
        let mut swaps = false;
        for write in &mut commit.documents {
            swaps |= write.collection == record::COLLECTION;
            if let Some(name) = self.name(&write.collection) {
                write.collection = name;
            }
        }
        let committed = self.store().commit(commit).await;
        // Also where the answer was lost: it may have been done.
        if swaps && !matches!(committed, Err(StoreError::Fenced { .. } | StoreError::Conflict(_))) {
            self.refresh().await?;
        }
        committed
    }

    async fn stream(&self, key: &Key, after: u64, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        self.store().stream(key, after, limit).await
    }

    async fn read(&self, selection: &Selection) -> Result<Vec<Recorded>, StoreError> {
        self.store().read(selection).await
    }

    async fn head(&self) -> Result<Position, StoreError> {
        self.store().head().await
    }

    async fn wait(&self, after: Position, patience: Duration) {
        self.store().wait(after, patience).await;
    }
}

#[async_trait]
impl Documents for Generations {
    async fn documents(&self, collection: &str, ids: &[String]) -> Result<Vec<Option<Document>>, StoreError> {
        match self.name(collection) {
            Some(name) => self.store().documents(&name, ids).await,
            None => self.store().documents(collection, ids).await,
        }
    }

    async fn list(&self, query: &DocumentQuery) -> Result<Vec<Document>, StoreError> {
        match self.name(&query.collection) {
            Some(collection) => self.store().list(&DocumentQuery { collection, ..query.clone() }).await,
            None => self.store().list(query).await,
        }
    }

    async fn count(&self, collection: &str, prefix: &str) -> Result<u64, StoreError> {
        match self.name(collection) {
            Some(name) => self.store().count(&name, prefix).await,
            None => self.store().count(collection, prefix).await,
        }
    }
}

#[async_trait]
impl Leases for Generations {
    async fn lease(&self, name: &str, owner: &str, ttl: Duration) -> Result<Option<u64>, StoreError> {
        let taken = self.store().lease(name, owner, ttl).await?;
        if let (Some(epoch), true) = (taken, name.starts_with(LEASE_PREFIX)) {
            let before = {
                let mut epochs = self.0.epochs.lock().unwrap_or_else(PoisonError::into_inner);
                epochs.insert(name.to_owned(), epoch)
            };
            // Somebody had it in between, and may have swapped: what is written under this epoch has to go where
            // that one left off.
            if before != Some(epoch) {
                self.refresh().await?;
            }
        }
        Ok(taken)
    }

    async fn release(&self, name: &str, owner: &str, epoch: u64) -> Result<(), StoreError> {
        self.store().release(name, owner, epoch).await
    }
}

hand_on!(Generations);
