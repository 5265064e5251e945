//! Two generations side by side.

use serde_json::Value;
use tidewire_core::store::{Document, DocumentQuery};
use tidewire_core::{Store, StoreError};

use super::job::Difference;

/// Rows read at once from either side.
const PAGE: usize = 1_000;

/// One side of a comparison: the rows of a collection in the order of their ids.
struct Side<'a> {
    store: &'a dyn Store,
    query: DocumentQuery,
    page: std::iter::Peekable<std::vec::IntoIter<Document>>,
    ended: bool,
}

impl<'a> Side<'a> {
    fn of(store: &'a dyn Store, collection: &str) -> Self {
        let query = DocumentQuery { collection: collection.to_owned(), limit: PAGE, ..DocumentQuery::default() };
        Self { store, query, page: Vec::new().into_iter().peekable(), ended: false }
    }

    /// The id of the next row.
    async fn id(&mut self) -> Result<Option<String>, StoreError> {
        if self.page.peek().is_none() && !self.ended {
            let page = self.store.list(&self.query).await?;
            self.ended = page.len() < PAGE;
            if let Some(last) = page.last() {
                self.query.after = Some(last.id.clone());
            }
            self.page = page.into_iter().peekable();
        }
        Ok(self.page.peek().map(|document| document.id.clone()))
    }
}

/// Walks through two collections at once.
pub(super) struct Walk<'a> {
    collection: &'a str,
    live: Side<'a>,
    new: Side<'a>,
}

impl<'a> Walk<'a> {
    /// Through `collection` as it lies under `live` and under `new`.
    pub fn new(store: &'a dyn Store, collection: &'a str, live: &str, new: &str) -> Self {
        Self { collection, live: Side::of(store, live), new: Side::of(store, new) }
    }

    /// A stretch of rows: how many there were, and which of them differ. None: there are no more.
    pub async fn next(&mut self) -> Result<Option<(u64, Vec<Difference>)>, StoreError> {
        let (mut rows, mut found) = (0, Vec::new());
        for _ in 0..PAGE {
            let what = match (self.live.id().await?, self.new.id().await?) {
                (None, None) if rows == 0 => return Ok(None),
                (None, None) => break,
                (Some(live), Some(new)) if live == new => {
                    let (live, new) = (self.live.page.next(), self.new.page.next());
                    let id = live.as_ref().map(|row| row.id.clone()).unwrap_or_default();
                    let same = matches!((&live, &new), (Some(live), Some(new)) if is_same(&live.value, &new.value));
                    (id, (!same).then_some("changed"))
                }
                (Some(live), new) if new.as_ref().is_none_or(|new| live < *new) => {
                    self.live.page.next();
                    (live, Some("missing"))
                }
                (_, Some(new)) => {
                    self.new.page.next();
                    (new, Some("added"))
                }
                // The guard before takes whatever has a live row and no new one.
                (Some(_), None) => break,
            };
            rows += 1;
            if let (id, Some(what)) = what {
                found.push(Difference { collection: self.collection.to_owned(), id, what: what.to_owned() });
            }
        }
        Ok(Some((rows, found)))
    }
}

/// Which of these still differ, and how.
pub(super) async fn again(
    store: &dyn Store,
    suspected: &[Difference],
    live: impl Fn(&str) -> String,
    new: impl Fn(&str) -> String,
) -> Result<Vec<Difference>, StoreError> {
    let mut found = Vec::new();
    for stretch in suspected.chunk_by(|a, b| a.collection == b.collection) {
        for stretch in stretch.chunks(PAGE) {
            let collection = &stretch[0].collection;
            let ids: Vec<String> = stretch.iter().map(|difference| difference.id.clone()).collect();
            let live = store.documents(&live(collection), &ids).await?;
            let new = store.documents(&new(collection), &ids).await?;
            for ((live, new), id) in live.into_iter().zip(new).zip(ids) {
                let what = match (live, new) {
                    (Some(live), Some(new)) if !is_same(&live.value, &new.value) => "changed",
                    (Some(_), None) => "missing",
                    (None, Some(_)) => "added",
                    _ => continue,
                };
                found.push(Difference { collection: collection.clone(), id, what: what.to_owned() });
            }
        }
    }
    Ok(found)
}

/// Whether two rows say the same: as JSON, whatever the order of members.
pub(super) fn is_same(a: &[u8], b: &[u8]) -> bool {
    if a == b {
        return true;
    }
    let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
    read(a).is_some_and(|a| Some(a) == read(b))
}
