//! How deliveries go: counted in each process, shown as one.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::breaker::Circuit;

/// The longest reason kept, in characters.
const MAX_REASON: usize = 500;

/// The last delivery that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastFailure {
    /// When.
    pub at: DateTime<Utc>,
    /// A stable code.
    pub code: String,
    /// What happened, for people.
    pub reason: String,
}

/// How the deliveries of one process go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    delivered: u64,
    failed: u64,
    consecutive_failures: u32,
    last_success: Option<DateTime<Utc>>,
    last_failure: Option<LastFailure>,
}

impl Tally {
    pub(super) fn count(&mut self, failure: Option<(&str, &str)>, now: DateTime<Utc>) {
        match failure {
            None => {
                self.delivered += 1;
                self.consecutive_failures = 0;
                self.last_success = Some(now);
            }
            Some((code, reason)) => {
                self.failed += 1;
                self.consecutive_failures = self.consecutive_failures.saturating_add(1);
                let reason = reason.chars().take(MAX_REASON).collect();
                self.last_failure = Some(LastFailure { at: now, code: code.to_owned(), reason });
            }
        }
    }
}

/// What one process reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Report {
    /// When it was written.
    pub at: DateTime<Utc>,
    pub circuit: Circuit,
    #[serde(flatten)]
    pub tally: Tally,
}

/// How a subscription's deliveries go, over all processes. Counts begin with each process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeliveryStatus {
    /// Requests that were answered well.
    pub delivered: u64,
    /// Requests that were not.
    pub failed: u64,
    /// Of these, since the last one that was answered well; of the process that is worst off.
    pub consecutive_failures: u32,
    /// How the endpoint's circuit stands; of the process that is worst off.
    pub circuit: Circuit,
    /// When a request was last answered well.
    pub last_success: Option<DateTime<Utc>>,
    /// The last one that was not.
    pub last_failure: Option<LastFailure>,
}

impl DeliveryStatus {
    pub(super) fn of(reports: impl IntoIterator<Item = Report>) -> Self {
        let mut all = Self::default();
        for Report { circuit, tally, .. } in reports {
            all.delivered += tally.delivered;
            all.failed += tally.failed;
            all.consecutive_failures = all.consecutive_failures.max(tally.consecutive_failures);
            all.last_success = all.last_success.max(tally.last_success);
            let at = |failure: &Option<LastFailure>| failure.as_ref().map(|failure| failure.at);
            if at(&tally.last_failure) > at(&all.last_failure) {
                all.last_failure = tally.last_failure;
            }
            all.circuit = match (all.circuit, circuit) {
                (Circuit::Open, _) | (_, Circuit::Open) => Circuit::Open,
                (Circuit::HalfOpen, _) | (_, Circuit::HalfOpen) => Circuit::HalfOpen,
                _ => Circuit::Closed,
            };
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processes_are_shown_as_one() {
        let at = |second| DateTime::from_timestamp(second, 0).unwrap();
        let mut tallies = [Tally::default(), Tally::default()];
        tallies[0].count(None, at(1));
        tallies[0].count(Some(("push.failed", "first")), at(2));
        tallies[1].count(Some(("push.failed", "last")), at(4));
        tallies[1].count(None, at(5));
        let [first, second] = tallies;
        let report = |tally, circuit| Report { at: at(9), circuit, tally };
        let all = DeliveryStatus::of([report(first, Circuit::HalfOpen), report(second, Circuit::Closed)]);
        assert_eq!((all.delivered, all.failed, all.consecutive_failures), (2, 2, 1));
        assert_eq!((all.last_success, all.last_failure.unwrap().reason.as_str()), (Some(at(5)), "last"));
        assert_eq!(all.circuit, Circuit::HalfOpen);
    }
}
