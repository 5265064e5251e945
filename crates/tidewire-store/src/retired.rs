//! What may not be read as if nothing were missing.

use tidewire_core::{Key, StoreError};

/// Refuses a page of a stream that begins later than it should: at `first`, where `after` + 1 was asked for.
pub(crate) fn check_start(key: &Key, after: u64, first: Option<u64>) -> Result<(), StoreError> {
    match first {
        Some(first) if first > after + 1 => Err(retired(key, after, first - 1)),
        _ => Ok(()),
    }
}

/// Refuses an empty page of a stream after `after`, if events up to the version `retired` are gone.
pub(crate) fn check_end(key: &Key, after: u64, retired: u64) -> Result<(), StoreError> {
    if retired > after { Err(self::retired(key, after, retired)) } else { Ok(()) }
}

fn retired(key: &Key, after: u64, last: u64) -> StoreError {
    StoreError::Retired(format!("versions {} to {last} of `{key}`", after.saturating_add(1)))
}
