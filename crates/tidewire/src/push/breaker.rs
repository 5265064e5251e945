//! The circuit breaker of an endpoint: who fails again and again is left alone for a while.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How an endpoint's circuit stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Circuit {
    /// Requests go out.
    #[default]
    Closed,
    /// No request goes out for a while.
    Open,
    /// One request is out to see whether the endpoint is back.
    HalfOpen,
}

/// Whether a request may go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// It may.
    Go,
    /// It may, and decides whether others may: nothing else goes out meanwhile.
    Probe,
    /// Not before this time has passed.
    Wait(Duration),
}

/// Counts failures in a row. Of time it knows what it is told.
#[derive(Debug)]
pub(super) struct Breaker {
    failures: u32,
    first: Duration,
    max: Duration,
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        failed: u32,
    },
    Open {
        until: Instant,
        wait: Duration,
    },
    /// A probe is out; if it says nothing by then, another may go.
    HalfOpen {
        until: Instant,
        wait: Duration,
    },
}

impl Breaker {
    /// One that opens after so many `failures` in a row, for `first`, then twice as long each time up to `max`. A probe
    /// that has not ended after `patience` is taken for lost.
    pub(super) fn new(failures: u32, first: Duration, max: Duration, patience: Duration) -> Self {
        let state = Mutex::new(State::Closed { failed: 0 });
        Self { failures: failures.max(1), first, max: max.max(first), patience, state }
    }

    /// Asks to send a request.
    pub(super) fn enter(&self, now: Instant) -> Entry {
        let mut state = self.state();
        match *state {
            State::Closed { .. } => Entry::Go,
            State::Open { until, .. } | State::HalfOpen { until, .. } if now < until => {
                // Whoever waits for a probe looks again soon; it ends long before it is taken for lost.
                let is_open = matches!(*state, State::Open { .. });
                Entry::Wait(if is_open { until - now } else { (until - now).min(self.first) })
            }
            State::Open { wait, .. } | State::HalfOpen { wait, .. } => {
                *state = State::HalfOpen { until: now + self.patience, wait };
                Entry::Probe
            }
        }
    }

    /// A request went well: everything may go out again. Whether that is news.
    pub(super) fn succeeded(&self) -> bool {
        let mut state = self.state();
        let was_open = !matches!(*state, State::Closed { .. });
        *state = State::Closed { failed: 0 };
        was_open
    }

    /// A request failed. How long the circuit is open now, if this opened it. What was on its way when it opened
    /// changes nothing more.
    pub(super) fn failed(&self, entry: Entry, now: Instant) -> Option<Duration> {
        let mut state = self.state();
        let wait = match *state {
            State::Closed { failed } if failed + 1 < self.failures => {
                *state = State::Closed { failed: failed + 1 };
                return None;
            }
            State::Closed { .. } => self.first,
            State::HalfOpen { wait, .. } if entry == Entry::Probe => (wait * 2).min(self.max),
            State::Open { .. } | State::HalfOpen { .. } => return None,
        };
        *state = State::Open { until: now + wait, wait };
        Some(wait)
    }

    /// How it stands now.
    pub(super) fn circuit(&self) -> Circuit {
        match *self.state() {
            State::Closed { .. } => Circuit::Closed,
            State::Open { .. } => Circuit::Open,
            State::HalfOpen { .. } => Circuit::HalfOpen,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every state of it is a valid one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn breaker() -> (Breaker, Instant) {
        (Breaker::new(3, SECOND, SECOND * 5, SECOND * 10), Instant::now())
    }

    #[test]
    fn it_opens_after_so_many_failures_in_a_row_and_not_before() {
        let (breaker, now) = breaker();
        assert_eq!((breaker.failed(Entry::Go, now), breaker.failed(Entry::Go, now)), (None, None));
        assert!(!breaker.succeeded());
        assert_eq!((breaker.failed(Entry::Go, now), breaker.failed(Entry::Go, now)), (None, None));
        assert_eq!(breaker.failed(Entry::Go, now), Some(SECOND));
        assert_eq!((breaker.circuit(), breaker.enter(now)), (Circuit::Open, Entry::Wait(SECOND)));
        // What was under way when it opened does not keep it open.
        assert_eq!(breaker.failed(Entry::Go, now), None);
        assert_eq!(breaker.enter(now + SECOND), Entry::Probe);
    }

    #[test]
    fn one_probe_decides_and_each_wait_is_longer_up_to_the_longest() {
        let (breaker, mut now) = breaker();
        (0..3).for_each(|_| {
            breaker.failed(Entry::Go, now);
        });
        for wait in [2, 4, 5, 5] {
            now += SECOND * 5;
            assert_eq!(breaker.enter(now), Entry::Probe);
            assert_eq!((breaker.circuit(), breaker.enter(now)), (Circuit::HalfOpen, Entry::Wait(SECOND)));
            assert_eq!(breaker.failed(Entry::Probe, now), Some(SECOND * wait));
        }
        now += SECOND * 5;
        assert_eq!(breaker.enter(now), Entry::Probe);
        assert!(breaker.succeeded());
        assert_eq!((breaker.circuit(), breaker.enter(now)), (Circuit::Closed, Entry::Go));
    }

    #[test]
    fn a_probe_that_never_ends_is_followed_by_another() {
        let (breaker, now) = breaker();
        (0..3).for_each(|_| {
            breaker.failed(Entry::Go, now);
        });
        assert_eq!(breaker.enter(now + SECOND), Entry::Probe);
        assert!(matches!(breaker.enter(now + SECOND * 10), Entry::Wait(_)));
        assert_eq!(breaker.enter(now + SECOND * 11), Entry::Probe);
    }
}
