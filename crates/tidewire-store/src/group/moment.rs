//! Moments that are compared in SQL.

use chrono::{DateTime, Utc};

/// Nanoseconds since 1970, at the end of what they hold beyond it (the year 2262).
pub(crate) fn nanos(time: &DateTime<Utc>) -> i64 {
    time.timestamp_nanos_opt().unwrap_or(if time.timestamp() < 0 { i64::MIN } else { i64::MAX })
}

/// The moment of [`nanos`].
pub(crate) fn from_nanos(nanos: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_nanos(nanos)
}
