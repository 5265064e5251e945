//! The store as a handler sees it while events are replayed to it beside its live rows.

use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tidewire_core::commit::ExpectDocument;
use tidewire_core::store::{Document, DocumentQuery, Documents, Leases, Log, Selection};
use tidewire_core::{Commit, Committed, Key, Position, Recorded, Store, StoreError};

use super::hand_on::hand_on;
use super::record::physical;

/// Rows kept in memory between batches, in bytes: all rows of most projections, and little beside a store's own cache.
const MAX_KEPT_BYTES: usize = 64 << 20;
/// What a kept row costs beside its value, in bytes, roughly.
const ROW_BYTES: usize = 160;

/// Ids remembered of a generation that began empty, eight bytes each: what is not among them is not there, and need not be
/// looked for. With more rows than this it is looked for again.
const MAX_IDS: usize = 4_000_000;

/// Any revision at all: nobody but the replay writes these rows, and its own commits are guarded by its place.
const UNGUARDED: u64 = 1;

/// A store whose plain collections are those of another generation, and which nobody can write through: only
/// [`View::onto`] makes a commit of what was asked for.
pub(super) struct View {
    store: Arc<dyn Store>,
    /// Plain name to the name in this generation.
    names: HashMap<String, String>,
    kept: Mutex<Rows>,
}

/// Rows by collection and id; `None` where there is none.
#[derive(Default)]
struct Rows {
    rows: HashMap<String, HashMap<String, Option<Bytes>>>,
    bytes: usize,
    /// Every id ever written, as a digest, where everything that was ever written is known.
    ids: Option<HashSet<u64>>,
}

impl View {
    /// `collections` as they are in `generation`; every other one as it is.
    pub fn of(store: Arc<dyn Store>, collections: &[String], generation: u32) -> Self {
        let name = |collection: &String| (collection.clone(), physical(collection, generation));
        Self { store, names: collections.iter().map(name).collect(), kept: Mutex::default() }
    }

    /// It begins empty, and nobody else writes it: what was not written through here is not there.
    pub fn empty(self) -> Self {
        self.kept().ids = Some(HashSet::new());
        self
    }

    /// `collections` under names that end in `suffix`.
    pub fn beside(store: Arc<dyn Store>, collections: &[String], suffix: &str) -> Self {
        let name = |collection: &String| (collection.clone(), format!("{collection}~{suffix}"));
        Self { store, names: collections.iter().map(name).collect(), kept: Mutex::default() }
    }

    /// A commit whose documents lie in this generation. A document of another collection is refused: it would be a live
    /// one.
    pub fn onto(&self, mut commit: Commit) -> Result<Commit, StoreError> {
        for write in &mut commit.documents {
            let Some(name) = self.names.get(&write.collection) else {
                return Err(StoreError::Invalid(format!(
                    "the handler writes `{}/{}`, and does not say that it keeps this collection",
                    write.collection, write.id
                )));
            };
            write.collection = name.clone();
            write.expect = ExpectDocument::Any;
        }
        Ok(commit)
    }

    /// Remembers what was committed: plain names, as the handler wrote them.
    pub fn keep(&self, written: &Commit) {
        let mut kept = self.kept();
        for write in &written.documents {
            if self.names.contains_key(&write.collection) {
                kept.write(&write.collection, &write.id);
                kept.put(&write.collection, &write.id, write.value.clone());
            }
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Rows> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }
}

impl Rows {
    fn put(&mut self, collection: &str, id: &str, value: Option<Bytes>) {
        let size = |value: &Option<Bytes>| ROW_BYTES + id.len() + value.as_ref().map_or(0, Bytes::len);
        if self.bytes > MAX_KEPT_BYTES {
            (self.rows, self.bytes) = Default::default();
        }
        self.bytes += size(&value);
        if !self.rows.contains_key(collection) {
            self.rows.insert(collection.to_owned(), HashMap::new());
        }
        let Some(rows) = self.rows.get_mut(collection) else { return };
        if let Some(before) = rows.insert(id.to_owned(), value) {
            self.bytes = self.bytes.saturating_sub(size(&before));
        }
    }

    fn write(&mut self, collection: &str, id: &str) {
        if let Some(ids) = &mut self.ids {
            ids.insert(digest(collection, id));
        }
        if self.ids.as_ref().is_some_and(|ids| ids.len() > MAX_IDS) {
            self.ids = None;
        }
    }

    fn get(&self, collection: &str, id: &str) -> Option<Option<Document>> {
        if self.ids.as_ref().is_some_and(|ids| !ids.contains(&digest(collection, id))) {
            return Some(None);
        }
        let value = self.rows.get(collection)?.get(id)?;
        Some(value.clone().map(|value| Document { id: id.to_owned(), revision: UNGUARDED, value }))
    }
}

fn digest(collection: &str, id: &str) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    (collection, id).hash(&mut hasher);
    hasher.finish()
}

fn refused() -> StoreError {
    StoreError::Denied("a replay hands out stores that cannot be written".into())
}

#[async_trait]
impl Log for View {
    async fn commit(&self, _: Commit) -> Result<Committed, StoreError> {
        Err(refused())
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
impl Documents for View {
    async fn documents(&self, collection: &str, ids: &[String]) -> Result<Vec<Option<Document>>, StoreError> {
        let Some(name) = self.names.get(collection) else { return self.store().documents(collection, ids).await };
        let mut found: Vec<Option<Option<Document>>> = {
            let kept = self.kept();
            ids.iter().map(|id| kept.get(collection, id)).collect()
        };
        let missing: Vec<String> =
            ids.iter().zip(&found).filter(|(_, found)| found.is_none()).map(|(id, _)| id.clone()).collect();
        if !missing.is_empty() {
            let mut read = self.store().documents(name, &missing).await?.into_iter();
            let mut kept = self.kept();
            for (id, place) in ids.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
                let document = read.next().flatten().map(|document| Document { revision: UNGUARDED, ..document });
                kept.put(collection, id, document.as_ref().map(|document| document.value.clone()));
                *place = Some(document);
            }
        }
        Ok(found.into_iter().map(Option::flatten).collect())
    }

    async fn list(&self, query: &DocumentQuery) -> Result<Vec<Document>, StoreError> {
        match self.names.get(&query.collection) {
            Some(name) => self.store().list(&DocumentQuery { collection: name.clone(), ..query.clone() }).await,
            None => self.store().list(query).await,
        }
    }

    async fn count(&self, collection: &str, prefix: &str) -> Result<u64, StoreError> {
        self.store().count(self.names.get(collection).map_or(collection, String::as_str), prefix).await
    }
}

#[async_trait]
impl Leases for View {
    async fn lease(&self, _: &str, _: &str, _: Duration) -> Result<Option<u64>, StoreError> {
        Err(refused())
    }

    async fn release(&self, _: &str, _: &str, _: u64) -> Result<(), StoreError> {
        Err(refused())
    }
}

hand_on!(View);
