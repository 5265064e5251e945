//! Positions in HTTP: reading what one has just written.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tidewire_core::{Position, Store, StoreError};
use tokio::time::Instant;

use super::problem::Problem;

/// The header that carries a position: given with every accepted write, sent back with a read that must see it.
pub const TIDEWIRE_POSITION: HeaderName = HeaderName::from_static("tidewire-position");

/// The first and the longest wait between two looks: short, since a consumer is mostly milliseconds behind.
const LOOK: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));

/// The header for an answer to an accepted write.
pub fn position_header(position: Position) -> (HeaderName, HeaderValue) {
    (TIDEWIRE_POSITION, HeaderValue::from(position.0))
}

/// The position a client sent back, if any: 400 `http.invalid_position` when it is no number.
pub fn position_of(headers: &HeaderMap) -> Result<Option<Position>, Problem> {
    let Some(value) = headers.get(TIDEWIRE_POSITION) else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    number.map(|number| Some(Position(number))).ok_or_else(|| {
        let detail = "`Tidewire-Position` must be a position as an earlier answer gave it";
        Problem::new(StatusCode::BAD_REQUEST, "http.invalid_position", detail)
    })
}

/// Waits until `consumer` has handled (or parked) every event of these `names` up to `position`, at most for
/// `patience`. Answers whether it has: `false` means that what follows may be read too early.
pub async fn caught_up(
    store: &dyn Store,
    consumer: &str,
    names: &[String],
    position: Position,
    patience: Duration,
) -> Result<bool, StoreError> {
    let deadline = Instant::now() + patience;
    let mut wait = LOOK.0;
    loop {
        if store.unhandled(consumer, names, position, 1).await?.is_empty() {
            return Ok(true);
        }
        if Instant::now() + wait > deadline {
            return Ok(false);
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LOOK.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_comes_back_as_it_was_given() {
        let (name, value) = position_header(Position(u64::MAX));
        let headers = HeaderMap::from_iter([(name, value)]);
        assert_eq!(position_of(&headers), Ok(Some(Position(u64::MAX))));
        assert_eq!(position_of(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "-1", "1.0", "x", "18446744073709551616"] {
            let headers = HeaderMap::from_iter([(TIDEWIRE_POSITION, HeaderValue::from_static(bad))]);
            assert_eq!(position_of(&headers).map_err(|problem| problem.code), Err("http.invalid_position".into()));
        }
    }
}
