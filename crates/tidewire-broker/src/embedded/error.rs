//! What SQLite's failures mean to a caller of the broker.

use tidewire_core::BrokerError;

/// SQLite's primary result codes that ask for a reaction of their own.
const BUSY: u32 = 5;
const LOCKED: u32 = 6;
const CORRUPT: u32 = 11;
const FULL: u32 = 13;
const NOT_A_DATABASE: u32 = 26;

/// Translates a failure of the database.
pub(super) fn from_sqlx(error: sqlx::Error) -> BrokerError {
    let code = match &error {
        sqlx::Error::PoolClosed => return BrokerError::Closed,
        sqlx::Error::Database(database) => database.code().and_then(|code| code.parse::<u32>().ok()),
        // A stored value of another type than the one written there.
        sqlx::Error::ColumnDecode { .. } => Some(CORRUPT),
        _ => None,
    };
    match code.map(|code| code & 0xff) {
        Some(CORRUPT | NOT_A_DATABASE) => BrokerError::Corrupt(error.to_string()),
        Some(FULL) => BrokerError::Full("the disk has no room left".into()),
        Some(BUSY | LOCKED) => BrokerError::Unavailable("the file is busy".into()),
        _ => BrokerError::Unavailable(error.to_string()),
    }
}

/// Translates a failure of the file system.
pub(super) fn from_io(what: &str, error: &std::io::Error) -> BrokerError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            BrokerError::Full(format!("{what}: {error}"))
        }
        _ => BrokerError::Unavailable(format!("{what}: {error}")),
    }
}
