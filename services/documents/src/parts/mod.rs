//! The steps of ingestion that documents take part in, each with its undo.
//!
//! Where things lie in the object store: `incoming/<id>` (as submitted, until the saga ends),
//! `extracted/<id>` (its text), `documents/<id>/original` and `documents/<id>/text` (both, once stored).

mod extraction;
mod indexing;
mod storage;

pub use extraction::Extraction;
pub use indexing::Indexing;
pub use storage::Storage;

use tidewire::HandlerError;
use tidewire::objects::{ObjectKey, ObjectsError};

use crate::index::IndexError;

/// Where a submitted original waits for its saga.
pub fn incoming(document: &str) -> Result<ObjectKey, ObjectsError> {
    ObjectKey::new(format!("incoming/{document}"))
}

fn extracted(document: &str) -> Result<ObjectKey, ObjectsError> {
    ObjectKey::new(format!("extracted/{document}"))
}

fn objects_error(error: ObjectsError) -> HandlerError {
    match error.is_transient() {
        true => HandlerError::transient(error),
        false => HandlerError::permanent("document.object", error),
    }
}

pub(crate) fn index_error(error: IndexError) -> HandlerError {
    match error.is_transient() {
        true => HandlerError::transient(error),
        false => HandlerError::permanent(error.code(), error),
    }
}
