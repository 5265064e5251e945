//! Time, ids and randomness: the one door to all three.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

/// The only source of time, ids and randomness. Everything else takes one, which is what makes tests and
/// simulations repeatable. Wall-clock time is data: order never depends on it.
pub trait Clock: Send + Sync {
    /// The current time.
    fn now(&self) -> DateTime<Utc>;
    /// A fresh UUIDv7. Within one process later ids sort after earlier ones.
    fn id(&self) -> Uuid;
    /// 64 random bits, for jitter and ownership; not for secrets.
    fn random(&self) -> u64;
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[allow(clippy::disallowed_methods)] // The one place that may.
impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn id(&self) -> Uuid {
        Uuid::now_v7()
    }

    fn random(&self) -> u64 {
        Uuid::new_v4().as_u64_pair().1
    }
}

/// A clock that moves only when told to, and whose ids and random bits follow from its seed.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<DateTime<Utc>>,
    drawn: AtomicU64,
    seed: u64,
}

impl ManualClock {
    /// Starts at `now`, with everything else derived from `seed`.
    pub fn new(now: DateTime<Utc>, seed: u64) -> Self {
        Self { now: Mutex::new(now), drawn: AtomicU64::new(0), seed }
    }

    /// Moves the clock forward (or back, for the tests that need it).
    pub fn advance(&self, by: TimeDelta) {
        let mut now = self.now.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *now += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        *self.now.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn id(&self) -> Uuid {
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
        let millis = u64::try_from(self.now().timestamp_millis()).unwrap_or_default();
        let mut random = [0u8; 10];
        random[2..].copy_from_slice(&drawn.to_be_bytes());
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    /// SplitMix64: enough spread for jitter, and the same for the same seed.
    fn random(&self) -> u64 {
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
        let mut z = self.seed.wrapping_add(drawn.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_in_the_order_drawn() {
        let clock = ManualClock::new(DateTime::UNIX_EPOCH, 7);
        let ids: Vec<Uuid> = (0..100).map(|_| clock.id()).collect();
        assert!(ids.is_sorted());
        let system: Vec<Uuid> = (0..100).map(|_| SystemClock.id()).collect();
        assert!(system.is_sorted());
    }
}
