//! The gauges that nobody could keep up to date by counting along: read from the store and the broker.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::ports::Ports;
use crate::roster::Roster;
use crate::telemetry::metrics;

/// How often they are read: more often than metrics are scraped, and cheap enough for that.
const EVERY: Duration = Duration::from_secs(5);

/// Reads them until `stop`, for the consumers that are or were on the roster and for whatever other groups the broker
/// knows.
pub(crate) async fn keep_reading(roster: Roster, stop: CancellationToken) {
    // Who has gone since: his gauges would keep their last value.
    let mut consumers = BTreeSet::new();
    while !stop.is_cancelled() {
        consumers.extend(roster.consumers());
        read(roster.ports(), &consumers).await;
        let _ = tokio::time::timeout(EVERY, stop.cancelled()).await;
    }
}

/// What cannot be read now keeps its last value: whoever is away is reported by the loops that need him.
async fn read(ports: &Ports, consumers: &BTreeSet<String>) {
    if let Ok(head) = ports.store.head().await {
        metrics::head(head.0);
    }
    if let Ok(lags) = ports.broker.lag().await {
        let pending = lags.into_iter().map(|lag| (lag.group, lag.pending)).collect();
        for (consumer, pending) in with_zeroes(pending, consumers) {
            metrics::consumer_lag(&consumer, pending);
        }
    }
    if let Ok(counts) = ports.store.parked_counts().await {
        for (consumer, count) in with_zeroes(counts.into_iter().collect(), consumers) {
            metrics::parked_events(&consumer, count);
        }
    }
}

/// Consumers of which nothing is counted count as zero: a gauge that is no longer set would keep its last value.
fn with_zeroes(mut counts: HashMap<String, u64>, consumers: &BTreeSet<String>) -> HashMap<String, u64> {
    for consumer in consumers {
        counts.entry(consumer.clone()).or_default();
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_without_a_count_has_none() {
        let counts = HashMap::from([("a".to_owned(), 3)]);
        let all = with_zeroes(counts, &BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        assert_eq!(all, HashMap::from([("a".to_owned(), 3), ("b".to_owned(), 0)]));
    }
}
