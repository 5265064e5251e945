//! What an index holds, so that two can be compared.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use tantivy::TantivyDocument;
use tantivy::schema::{Document, Value};

use super::{Index, IndexError, Opened};

/// Blocks of stored text kept unpacked while everything is read once, one after the other.
const CACHED_BLOCKS: usize = 1;

/// Every document of an index, with a digest of all its chunks: text, title, media type, time.
pub type Holdings = BTreeMap<String, u64>;

impl Index {
    /// Everything that is in it. Reads all of its stored text: long work, some 100 bytes of memory per document.
    ///
    /// # Errors
    /// As for [`search`](Self::search).
    pub async fn holdings(&self) -> Result<Holdings, IndexError> {
        self.read(Holdings::new(), holdings).await
    }
}

fn holdings(opened: &Opened) -> tantivy::Result<Holdings> {
    let (searcher, schema) = (opened.reader.searcher(), opened.engine.schema());
    let mut held = Holdings::new();
    for segment in searcher.segment_readers() {
        let stored = segment.get_store_reader(CACHED_BLOCKS)?;
        for doc in segment.doc_ids_alive() {
            let chunk: TantivyDocument = stored.get(doc)?;
            let id = chunk.get_first(opened.fields.document).and_then(|value| value.as_str()).unwrap_or_default();
            let mut hasher = DefaultHasher::new();
            chunk.to_json(&schema).hash(&mut hasher);
            // Chunks lie in any order.
            let digest = held.entry(id.to_owned()).or_default();
            *digest = digest.wrapping_add(hasher.finish());
        }
    }
    Ok(held)
}

/// The documents that two indexes do not hold alike: what is about each, as seen from the second.
pub fn differing(live: &Holdings, new: &Holdings) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    for (id, digest) in live {
        match new.get(id) {
            None => found.push((id.clone(), "missing")),
            Some(other) if other != digest => found.push((id.clone(), "changed")),
            Some(_) => {}
        }
    }
    found.extend(new.keys().filter(|id| !live.contains_key(*id)).map(|id| (id.clone(), "added")));
    found
}
