//! Filling an index that is not whole, from what nothing but a disk fault can take: the streams of the documents
//! and their texts in the object store.
//!
//! It runs beside ingestion and needs no lock against it. What the index ought to hold of a document follows from
//! its stream alone, so putting it twice is no harm; and the request to take it out is committed before
//! anybody acts on it, so whoever looks at the stream *after* putting sees it, and takes out what came too late.

mod anew;
mod error;
mod place;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidewire::objects::{ObjectKey, Objects};
use tidewire::store::DocumentQuery;
use tidewire::{Clock, EventSet, Ports, Position, Projection};
use tokio_util::sync::CancellationToken;

use crate::index::{Coverage, Index, IndexError, IndexedDocument};
use crate::listing::{LISTING, Listed, Listing};
use crate::view::{DocumentView, Findable, life};

pub use anew::Search;
use error::RebuildError;
use place::Place;

/// Documents put at once, so that they share a flush. Less than the index lets wait, so that ingestion finds room.
const BATCH: usize = 32;
/// Text put at once, in bytes; one document may exceed it. It is held in memory.
const BATCH_BYTES: usize = 16 * 1024 * 1024;
/// Documents between two lines of progress in the log.
const PROGRESS_EVERY: u64 = 1_000;
/// How often it is looked whether the listing has caught up. Usually it has.
const LISTING_POLL: Duration = Duration::from_secs(1);
/// Wait after a failure that may pass.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Opens the index in a folder. One that cannot be used is set aside, and an empty one begun in its place.
///
/// # Errors
/// As for [`Index::open`], save that damage and age are no errors.
pub fn open(dir: &Path, clock: &dyn Clock) -> Result<Index, IndexError> {
    match Index::open(dir) {
        Err(error @ (IndexError::Corrupt { .. } | IndexError::Outdated { .. })) => {
            let aside = Index::set_aside(dir, clock.now())?;
            tracing::error!(
                code = error.code(),
                %error,
                aside = %aside.display(),
                "the search index cannot be used; it was set aside and is rebuilt in the background"
            );
            Index::open(dir)
        }
        opened => opened,
    }
}

/// Makes an index whole that is not known to be.
pub struct Rebuild {
    ports: Ports,
    objects: Objects,
    index: Arc<Index>,
    batch: usize,
}

impl Rebuild {
    /// A rebuild of `index` out of what `ports` and `objects` hold.
    pub fn new(ports: Ports, objects: Objects, index: Arc<Index>) -> Self {
        Self { ports, objects, index, batch: BATCH }
    }

    /// Runs until the index is whole, or until told to stop; then the next start goes on where this one ended.
    pub async fn run(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match self.make_whole(stop).await {
                Ok(()) => return,
                Err(error) if error.is_transient() => {
                    tracing::warn!(code = error.code(), %error, "the rebuild of the search index pauses");
                    let _ = tokio::time::timeout(RETRY_AFTER, stop.cancelled()).await;
                }
                Err(error) => {
                    tracing::error!(code = error.code(), %error, "the search index could not be rebuilt");
                    return;
                }
            }
        }
    }

    async fn make_whole(&self, stop: &CancellationToken) -> Result<(), RebuildError> {
        let whole = self.index.coverage() == Coverage::Whole;
        if whole && !self.index.was_new() {
            return Ok(());
        }
        // Whatever is indexed after this is put into this index by its own step.
        let head = self.ports.store.head().await?;
        if !whole && !self.listed(head, stop).await? {
            return Ok(());
        }
        if self.page(None, 1).await?.is_empty() {
            return if whole { Ok(()) } else { Ok(self.index.set_coverage(Coverage::Whole).await?) };
        }
        let mut place = self.begin().await?;
        while !stop.is_cancelled() {
            match self.advance(place).await? {
                Some(next) => place = next,
                None => return self.finish().await,
            }
        }
        Ok(())
    }

    /// Waits until the listing shows everything up to `head`. `false` if told to stop before.
    async fn listed(&self, head: Position, stop: &CancellationToken) -> Result<bool, RebuildError> {
        let names: Vec<String> = Listed::types().iter().map(|ty| ty.name().to_owned()).collect();
        while !stop.is_cancelled() {
            if self.ports.store.unhandled(Listing::NAME, &names, head, 1).await?.is_empty() {
                return Ok(true);
            }
            let _ = tokio::time::timeout(LISTING_POLL, stop.cancelled()).await;
        }
        Ok(false)
    }

    /// Where to go on: where the rebuild of this very index stopped, else at the beginning. A place that was
    /// reached in another index, set aside since, says nothing about this one.
    async fn begin(&self) -> Result<Place, RebuildError> {
        let total = self.ports.store.count(LISTING, "").await?;
        if let Coverage::Rebuilding { rebuild } = self.index.coverage()
            && let Some(place) = Place::load(&self.ports, &rebuild).await?
        {
            tracing::info!(looked_at = place.looked_at, total, "going on with the rebuild of the search index");
            return Ok(place);
        }
        tracing::warn!(total, "rebuilding the search index; until that is done, search misses documents");
        let place = Place::start(self.ports.clock.id().to_string());
        self.index.set_coverage(Coverage::Rebuilding { rebuild: place.rebuild.clone() }).await?;
        place.save(&self.ports).await?;
        Ok(place)
    }

    async fn finish(&self) -> Result<(), RebuildError> {
        // The other way round, a kill in between would leave the place behind.
        Place::remove(&self.ports).await?;
        self.index.set_coverage(Coverage::Whole).await?;
        tracing::info!("the search index is whole again");
        Ok(())
    }

    /// One batch further; `None` at the end of the listing.
    async fn advance(&self, mut place: Place) -> Result<Option<Place>, RebuildError> {
        let lines = self.page(place.after.clone(), self.batch).await?;
        if lines.is_empty() {
            return Ok(None);
        }
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for line in lines {
            let id = line.rsplit('/').next().unwrap_or_default();
            if let Some(document) = self.load(id).await? {
                bytes += document.text.len();
                batch.push(document);
            }
            place.step(line);
            if place.looked_at.is_multiple_of(PROGRESS_EVERY) {
                tracing::info!(looked_at = place.looked_at, "rebuilding the search index");
            }
            if bytes >= BATCH_BYTES {
                break;
            }
        }
        self.put(batch).await?;
        place.save(&self.ports).await?;
        Ok(Some(place))
    }

    async fn page(&self, after: Option<String>, limit: usize) -> Result<Vec<String>, RebuildError> {
        let query = DocumentQuery { collection: LISTING.into(), after, limit, ..DocumentQuery::default() };
        Ok(self.ports.store.list(&query).await?.into_iter().map(|line| line.id).collect())
    }

    /// What the index ought to hold of a document, if anything.
    async fn load(&self, id: &str) -> Result<Option<IndexedDocument>, RebuildError> {
        let Some(view) = self.view(id).await? else { return Ok(None) };
        match view.findable {
            // Its own step puts it where it belongs.
            Findable::NotYet => return Ok(None),
            Findable::Withdrawn => {
                // Put before a kill, and taken back before this start.
                if self.index.contains(id).await? {
                    self.index.remove(id).await?;
                }
                return Ok(None);
            }
            Findable::Indexed => {}
        }
        let text = match ObjectKey::of_document(id, "text") {
            Ok(key) => self.objects.get(&key).await,
            Err(error) => Err(error),
        };
        match text {
            Ok(text) => Ok(Some(view.entry(String::from_utf8_lossy(&text).into_owned()))),
            Err(error) if error.is_transient() => Err(error.into()),
            Err(error) => {
                tracing::error!(code = "index.text_missing", document = id, %error, "search cannot find a document");
                Ok(None)
            }
        }
    }

    /// A document by its stream. One that this build cannot read stays out, until a build that can indexes it.
    async fn view(&self, id: &str) -> Result<Option<DocumentView>, RebuildError> {
        let stream = life(self.ports.store.as_ref(), id).await?;
        DocumentView::fold(&stream, |_| String::new()).or_else(|error| {
            tracing::error!(code = error.code(), document = id, %error, "a document cannot be read, nor indexed");
            Ok(None)
        })
    }

    /// Puts one document again, if that is where it belongs.
    async fn again(&self, id: &str) -> Result<(), RebuildError> {
        match self.load(id).await? {
            Some(document) => self.put(vec![document]).await,
            None => Ok(()),
        }
    }

    async fn put(&self, batch: Vec<IndexedDocument>) -> Result<(), RebuildError> {
        let ids: Vec<String> = batch.iter().map(|document| document.id.clone()).collect();
        let puts = futures::future::join_all(batch.into_iter().map(|document| self.index.put(document))).await;
        for (id, put) in ids.iter().zip(puts) {
            match put {
                Err(error @ IndexError::Invalid { .. }) => {
                    tracing::error!(code = error.code(), document = id, %error, "search cannot find a document");
                }
                put => put?,
            }
        }
        for id in &ids {
            if self.view(id).await?.is_none_or(|view| view.findable == Findable::Withdrawn) {
                self.index.remove(id).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
