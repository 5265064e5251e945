//! How long to wait before trying again.

use std::time::Duration;

/// Exponential backoff with jitter: `first · 2^(attempt-1)`, at most `max`, each ± 20 %, so that what
/// failed together does not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub first: Duration,
    /// No wait is longer than this (before jitter).
    pub max: Duration,
}

impl Backoff {
    /// A backoff from `first` up to `max`.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max }
    }

    /// The wait after the `attempt`-th failure (from 1), with jitter taken from `random`.
    pub fn after(&self, attempt: u32, random: u64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(32);
        let plain = self.first.saturating_mul(2u32.saturating_pow(doublings)).min(self.max);
        // 80 % to 120 %.
        let percent = 80 + u32::try_from(random % 41).unwrap_or(20);
        plain.saturating_mul(percent) / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_its_limit_with_jitter() {
        let backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(300));
        assert_eq!(backoff.after(1, 20), Duration::from_millis(500));
        assert_eq!(backoff.after(3, 20), Duration::from_secs(2));
        assert_eq!(backoff.after(40, 20), Duration::from_secs(300));
        for random in 0..100 {
            let wait = backoff.after(2, random);
            assert!(wait >= Duration::from_millis(800) && wait <= Duration::from_millis(1200));
        }
    }
}
