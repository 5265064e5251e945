//! What is known of a projection's generations: a document beside what they hold.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidewire_core::commit::ExpectDocument;
use tidewire_core::store::DocumentQuery;
use tidewire_core::{DocumentWrite, Position, Store, StoreError};

/// The collection of these documents; their ids are the names of consumers.
pub(crate) const COLLECTION: &str = "projection_generation";
/// The most projections of one store. Far more than a build has; one page.
const MAX_PROJECTIONS: usize = 1_000;

/// What the first generation's rows are asked for by; they lie under the plain name.
const FIRST: &str = "~1";

/// The name of `collection` in a generation, for a store behind [`Generations`](super::Generations).
pub(crate) fn physical(collection: &str, generation: u32) -> String {
    format!("{collection}~{generation}")
}

/// The collection that a name of the first generation stands for.
pub(crate) fn first_of(name: &str) -> Option<&str> {
    name.strip_suffix(FIRST)
}

/// The generations of one projection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The collections it keeps, by their plain names.
    pub collections: Vec<String>,
    /// The one that is read and written.
    pub live: u32,
    /// The number the next one gets. Numbers are never used twice.
    pub next: u32,
    /// The one that was live before, which a rollback goes back to: everything up to its position is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Kept>,
    /// The one that is being built, or was when somebody gave up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub building: Option<u32>,
    /// Generations whose rows nobody needs any more, to be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discarded: Vec<u32>,
}

/// A generation that is not live, and how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its number.
    pub generation: u32,
    /// Every event up to here is in it, and none after.
    pub position: Position,
}

impl Record {
    /// That of a projection which was never rebuilt.
    pub fn first(collections: &[String]) -> Self {
        Self {
            collections: collections.to_vec(),
            live: 1,
            next: 2,
            previous: None,
            building: None,
            discarded: Vec::new(),
        }
    }

    /// The record of `consumer`, with its revision; the first one where nothing is stored yet.
    pub async fn load(
        store: &dyn Store,
        consumer: &str,
        collections: &[String],
    ) -> Result<(Self, ExpectDocument), StoreError> {
        let found = store.documents(COLLECTION, &[consumer.to_owned()]).await?.into_iter().next().flatten();
        let Some(found) = found else { return Ok((Self::first(collections), ExpectDocument::Absent)) };
        Ok((decode(consumer, &found.value)?, ExpectDocument::Revision(found.revision)))
    }

    /// Every record there is, by consumer.
    pub async fn all(store: &dyn Store) -> Result<Vec<(String, Self)>, StoreError> {
        let query = DocumentQuery { collection: COLLECTION.into(), limit: MAX_PROJECTIONS, ..DocumentQuery::default() };
        let found = store.list(&query).await?;
        found.into_iter().map(|document| Ok((document.id.clone(), decode(&document.id, &document.value)?))).collect()
    }

    /// The write that puts it in the place of what was loaded.
    pub fn write(&self, consumer: &str, expect: ExpectDocument) -> Result<DocumentWrite, StoreError> {
        write(COLLECTION, consumer, self, expect)
    }
}

/// A document of ours as a write.
pub(crate) fn write<T: Serialize>(
    collection: &str,
    id: &str,
    value: &T,
    expect: ExpectDocument,
) -> Result<DocumentWrite, StoreError> {
    let json = serde_json::to_vec(value).map_err(|error| StoreError::Invalid(format!("{collection}/{id}: {error}")))?;
    Ok(DocumentWrite { collection: collection.into(), id: id.into(), expect, value: Some(Bytes::from(json)) })
}

fn decode(consumer: &str, value: &[u8]) -> Result<Record, StoreError> {
    serde_json::from_slice(value)
        .map_err(|error| StoreError::Corrupt(format!("document `{COLLECTION}/{consumer}`: {error}")))
}
