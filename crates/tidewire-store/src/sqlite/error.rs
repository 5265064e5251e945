//! What SQLite's errors mean to a caller of the store.

use tidewire_core::StoreError;

/// `SQLITE_IOERR_FSYNC` and `SQLITE_IOERR_DIR_FSYNC`: the kernel may have dropped the pages it could not write,
/// and the next fsync would succeed without them. Never to be tried again.
const FSYNC_FAILED: [i32; 2] = [1034, 1290];
/// `SQLITE_IOERR_SHMSIZE`: the index of the write-ahead log could not grow.
const SHM_CANNOT_GROW: i32 = 4874;
/// `SQLITE_READONLY_DBMOVED`: the file was renamed or removed under us.
const FILE_MOVED: i32 = 1032;

fn extended_code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

/// Whether a unique index or a check refused the write.
pub(super) fn is_constraint(error: &sqlx::Error) -> bool {
    extended_code(error).is_some_and(|code| code & 0xff == 19)
}

/// Whether an fsync failed.
pub(super) fn is_fsync(error: &sqlx::Error) -> bool {
    extended_code(error).is_some_and(|code| FSYNC_FAILED.contains(&code))
}

/// The store error for `error`, which happened while doing nothing that could have become durable.
pub(super) fn classify(error: sqlx::Error) -> StoreError {
    let code = extended_code(&error);
    let text = error.to_string();
    match error {
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => StoreError::Unavailable("the store is closed".into()),
        sqlx::Error::PoolTimedOut => StoreError::Unavailable("every reader is busy".into()),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => corrupt(text),
        _ => match code {
            Some(FILE_MOVED) => corrupt("the file was moved or replaced while in use".into()),
            Some(SHM_CANNOT_GROW) => StoreError::Full(text),
            Some(code) => match code & 0xff {
                8 => StoreError::ReadOnly(text),
                11 | 26 => corrupt(text),
                13 => StoreError::Full(text),
                _ => StoreError::Unavailable(text),
            },
            None => StoreError::Unavailable(text),
        },
    }
}

fn corrupt(what: String) -> StoreError {
    StoreError::Corrupt(format!("{what}; keep the files, and restore the last backup into an empty directory"))
}

/// The same error once more, for everybody whose commits shared a transaction.
pub(super) fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::Full(text) => StoreError::Full(text.clone()),
        StoreError::ReadOnly(text) => StoreError::ReadOnly(text.clone()),
        StoreError::Unknown(text) => StoreError::Unknown(text.clone()),
        StoreError::Corrupt(text) => StoreError::Corrupt(text.clone()),
        StoreError::Unavailable(text) => StoreError::Unavailable(text.clone()),
        other => StoreError::Unavailable(other.to_string()),
    }
}

/// The store error for a file operation on `path`.
pub(super) fn file(what: &str, path: &std::path::Path, error: &std::io::Error) -> StoreError {
    use std::io::ErrorKind;
    let text = format!("cannot {what} {}: {error}", path.display());
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly(text),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full(text),
        _ => StoreError::Unavailable(text),
    }
}
