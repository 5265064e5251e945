//! Where in the log to begin: a position, a time, or so long ago.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use tidewire_core::store::Selection;
use tidewire_core::{Position, Store, StoreError};

/// Where in the log to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// With this position.
    Position(Position),
    /// With the first event recorded at this time or later.
    Time(DateTime<Utc>),
    /// With the first event recorded so long ago or later.
    Ago(std::time::Duration),
}

/// A beginning that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a position (4711), nor a time (2026-11-20T13:00:00Z), nor a duration (90m, 2d)")]
pub struct UnknownSince(String);

impl FromStr for Since {
    type Err = UnknownSince;

    fn from_str(text: &str) -> Result<Self, UnknownSince> {
        let text = text.trim();
        if let Ok(position) = text.parse() {
            return Ok(Self::Position(Position(position)));
        }
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self::Time(time.to_utc()));
        }
        crate::config::parse_span(text).map(Self::Ago).map_err(|_| UnknownSince(text.chars().take(80).collect()))
    }
}

impl Since {
    /// The position before its first event, but not before the first that is left in the log.
    pub(crate) async fn after(self, store: &dyn Store, now: DateTime<Utc>) -> Result<Position, StoreError> {
        let after = match self {
            Self::Position(position) => Position(position.0.saturating_sub(1)),
            Self::Time(time) => recorded_before(store, time).await?,
            Self::Ago(span) => recorded_before(store, ago(now, span)).await?,
        };
        Ok(after.max(Position(store.info().await?.first.0.saturating_sub(1))))
    }
}

/// So long before `now`; the beginning of time where that cannot be said.
pub(super) fn ago(now: DateTime<Utc>, span: std::time::Duration) -> DateTime<Utc> {
    let span = chrono::TimeDelta::from_std(span).unwrap_or(chrono::TimeDelta::MAX);
    now.checked_sub_signed(span).unwrap_or(DateTime::UNIX_EPOCH)
}

/// The last position recorded before `time`, found by halving the log. Clocks may have been put back in
/// between, so it is as exact as they were.
pub(super) async fn recorded_before(store: &dyn Store, time: DateTime<Utc>) -> Result<Position, StoreError> {
    let (mut before, mut end) = (0, store.head().await?.0);
    while before < end {
        let middle = before + (end - before) / 2;
        let selection = Selection { after: Position(middle), limit: 1, ..Selection::default() };
        let early = match store.read(&selection).await?.first() {
            Some(found) => found.envelope.recordedtime.unwrap_or(found.envelope.time) < time,
            None => false,
        };
        if early {
            before = middle + 1;
        } else {
            end = middle;
        }
    }
    Ok(Position(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_a_position_a_time_or_a_duration() {
        let time = "2026-11-20T13:00:00Z";
        for (text, since) in [
            ("4711", Some(Since::Position(Position(4711)))),
            (time, Some(Since::Time(time.parse().unwrap()))),
            ("2026-11-20T14:00:00+01:00", Some(Since::Time(time.parse().unwrap()))),
            (" 90m ", Some(Since::Ago(std::time::Duration::from_secs(5_400)))),
            ("yesterday", None),
            ("-3", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<Since>().ok(), since, "{text}");
        }
    }
}
