//! Publishing through faults, on librdkafka's mock of a cluster: whatever happens, nothing is answered that is not
//! stored, and no key's events are stored out of order.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tidewire_core::{Broker, BrokerError, Envelope, SystemClock};

use crate::conformance::{event, within};
use crate::kafka::{KafkaBroker, KafkaOptions};

const KEYS: usize = 6;

struct Mock {
    cluster: MockCluster<'static, DefaultProducerContext>,
    broker: Arc<KafkaBroker>,
}

fn mock(publish_timeout: Duration) -> Mock {
    let cluster = MockCluster::new(1).expect("a mock cluster");
    cluster.create_topic("tidewire.mock", 4, 1).expect("a topic");
    let options = KafkaOptions {
        brokers: cluster.bootstrap_servers(),
        domain: "mock".into(),
        partitions: 4,
        publish_timeout,
        // Small batches, so that faults strike between them.
        extra: [("batch.num.messages".into(), "5".into()), ("retry.backoff.ms".into(), "10".into())].into(),
        ..KafkaOptions::default()
    };
    let broker = KafkaBroker::on_topic(options, Arc::new(SystemClock)).expect("a broker");
    Mock { cluster, broker }
}

fn events(from: usize, to: usize) -> Vec<Envelope> {
    (from..to).map(|n| event(&format!("k{}", n % KEYS), &format!("k{}-{}", n % KEYS, n / KEYS))).collect()
}

/// Publishes as the relay does: what failed, and all of its key that follows, again and in order. Returns how many calls
/// it took and what was answered with success so far.
async fn relay(broker: &KafkaBroker, mut left: Vec<Envelope>, mut before: impl FnMut(usize)) -> usize {
    let mut calls = 0;
    while !left.is_empty() {
        before(calls);
        let answers = within("an answer", broker.publish(left.clone())).await;
        assert_eq!(answers.len(), left.len());
        let mut failed = HashSet::new();
        let mut next = Vec::new();
        for (envelope, answer) in left.into_iter().zip(answers) {
            match answer {
                Ok(published) => {
                    assert!(!published.duplicate);
                    assert!(
                        !failed.contains(&envelope.key),
                        "{} was answered although one before it failed",
                        envelope.id
                    );
                }
                Err(error) => {
                    assert_eq!(
                        failed.contains(&envelope.key),
                        error == BrokerError::Behind,
                        "{}: {error}",
                        envelope.id
                    );
                    failed.insert(envelope.key.clone());
                    next.push(envelope);
                }
            }
        }
        left = next;
        calls += 1;
        assert!(calls < 200, "{} events are never stored", left.len());
    }
    calls
}

/// Everything is there, and what is there for the first time is in order.
async fn check(broker: &KafkaBroker, count: usize) {
    let (mut seen, mut next) = (HashSet::new(), HashMap::new());
    let mut cursor = None;
    loop {
        let (page, after) = within("a page", broker.scan(cursor, 500)).await.expect("scan succeeds");
        if page.is_empty() {
            break;
        }
        for envelope in page {
            if seen.insert(envelope.id.clone()) {
                let (key, number) = envelope.id.split_once('-').expect("an id of ours");
                let expected = next.entry(key.to_owned()).or_insert(0);
                assert_eq!(number.parse(), Ok(*expected), "of {key}");
                *expected += 1;
            }
        }
        cursor = after;
    }
    assert_eq!(seen.len(), count);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_fail_cost_neither_events_nor_their_order() {
    use RDKafkaRespErr::*;
    let mock = mock(Duration::from_secs(20));
    const FINE: RDKafkaRespErr = RD_KAFKA_RESP_ERR_NO_ERROR;
    let faults = [
        // What is tried again by the producer itself, in order.
        vec![FINE, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, FINE, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, FINE],
        vec![RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND; 3],
        // What is not.
        vec![FINE, FINE, RD_KAFKA_RESP_ERR_INVALID_RECORD],
        vec![FINE, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, FINE, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE],
        vec![RD_KAFKA_RESP_ERR_POLICY_VIOLATION],
    ];
    let mut broken = 0;
    for (round, errors) in faults.iter().enumerate() {
        let batch = events(round * 120, round * 120 + 120);
        let calls = relay(&mock.broker, batch, |call| {
            if call == 0 {
                mock.cluster.request_errors(RDKafkaApiKey::Produce, errors);
            }
        });
        broken += calls.await - 1;
    }
    assert!(broken >= 3, "the faults did not strike: {broken}");
    check(&mock.broker, faults.len() * 120).await;
    mock.broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_away_is_waited_for_as_long_as_said() {
    let mock = mock(Duration::from_secs(2));
    relay(&mock.broker, events(0, 60), |_| ()).await;
    let calls = relay(&mock.broker, events(60, 120), |call| {
        let done = if call == 0 { mock.cluster.broker_down(1) } else { mock.cluster.broker_up(1) };
        done.expect("the mock does as told");
    });
    assert!(calls.await > 1);
    check(&mock.broker, 120).await;
    mock.broker.close().await;
    let answers = mock.broker.publish(events(0, 1)).await;
    assert_eq!(answers, [Err(BrokerError::Closed)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_told_from_an_outage() {
    let mock = mock(Duration::from_secs(20));
    relay(&mock.broker, events(0, 6), |_| ()).await;
    mock.cluster
        .request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 4]);
    let answers = within("an answer", mock.broker.publish(events(6, 7))).await;
    assert!(matches!(answers[..], [Err(BrokerError::Denied(_))]), "{answers:?}");
    mock.broker.close().await;
}
