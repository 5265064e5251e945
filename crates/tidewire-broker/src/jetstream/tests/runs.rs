//! Events that go as one: whatever ends a run, a beginning of it is stored and nothing behind it.

use std::collections::HashMap;

use futures::StreamExt;
use serde_json::{Value, json};
use servers::{Close, Direction, Proxy};
use tidewire_core::broker::Published;
use tidewire_core::bytes::Bytes;
use tidewire_core::{Broker, BrokerError, Envelope};

use super::{Audit, JetStreamBroker, JetStreamOptions, fresh, open, publish_surely, rows, server};
use crate::conformance::publish;

async fn api(url: &str, subject: String, body: Value) -> Value {
    let client = async_nats::connect(url).await.expect("a raw connection");
    let answer = client.request(format!("$JS.API.{subject}"), body.to_string().into()).await.expect("an answer");
    serde_json::from_slice(&answer.payload).expect("JSON")
}

/// Changes one setting of the stream by hand.
async fn set(options: &JetStreamOptions, setting: &str, value: Value) {
    let name = format!("TW_{}", options.domain);
    let mut config = api(&options.url, format!("STREAM.INFO.{name}"), json!({})).await["config"].clone();
    config[setting] = value;
    let answer = api(&options.url, format!("STREAM.UPDATE.{name}"), config).await;
    assert!(answer["error"].is_null(), "{answer}");
}

/// What is stored, which must be in order and there once.
async fn stored(broker: &JetStreamBroker) -> Vec<String> {
    let (mut ids, mut cursor, mut audit) = (Vec::new(), None, Audit::default());
    loop {
        let (page, next) = broker.scan(cursor, 1_000).await.expect("a scan");
        if page.is_empty() {
            break;
        }
        for envelope in page {
            audit.see(&envelope);
            ids.push(envelope.id);
        }
        cursor = next;
    }
    assert_eq!(audit.inversions, [""; 0]);
    assert_eq!(audit.duplicates(), 0);
    ids
}

/// Of each key: answers that are good, then one that is not, then only those behind it.
fn check_answers(batch: &[Envelope], answers: &[Result<Published, BrokerError>]) -> HashMap<String, BrokerError> {
    let mut failed: HashMap<String, BrokerError> = HashMap::new();
    for (envelope, answer) in batch.iter().zip(answers) {
        let key = envelope.key.as_str().to_owned();
        match (failed.get(&key), answer) {
            (None, Ok(_)) => {}
            (None, Err(error)) => drop(failed.insert(key, error.clone())),
            (Some(_), answer) => assert_eq!(*answer, Err(BrokerError::Behind), "{}", envelope.id),
        }
    }
    failed
}

fn padded(mut envelope: Envelope, bytes: usize) -> Envelope {
    envelope.data = Some(Bytes::from(format!("\"{}\"", "x".repeat(bytes))));
    envelope
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_events_of_few_keys_go_as_one_and_those_known_before_are_counted() {
    let Some(server) = server().await else { return };
    let options = fresh(server.url());
    let broker = open(&options).await;
    let client = async_nats::connect(server.url()).await.expect("a raw connection");
    let mut seen = client.subscribe(format!("tw.{}.>", options.domain)).await.expect("a subscription");
    client.flush().await.expect("the subscription is known");
    publish(&*broker, rows(10, 0, 80)).await;
    let mut in_runs = 0;
    for _ in 0..800 {
        let sent = seen.next().await.expect("an event");
        in_runs += u32::from(sent.reply.is_some_and(|reply| reply.ends_with(".$FI")));
    }
    assert_eq!(in_runs, 800);
    assert_eq!(stored(&broker).await.len(), 800);
    let again = broker.publish(rows(10, 0, 100)).await;
    let known = again.iter().filter(|answer| **answer == Ok(Published { duplicate: true })).count();
    let new = again.iter().filter(|answer| **answer == Ok(Published { duplicate: false })).count();
    assert_eq!((known, new), (800, 200));
    // Nothing of it is new: the answer names no place.
    let again = broker.publish(rows(10, 0, 100)).await;
    assert!(again.iter().all(|answer| *answer == Ok(Published { duplicate: true })));
    assert_eq!(stored(&broker).await.len(), 1_000);
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_fills_up_in_a_run_takes_nothing_behind_what_it_refused() {
    let Some(server) = server().await else { return };
    let options = JetStreamOptions { max_bytes: 300 << 10, max_event_bytes: 64 << 10, ..fresh(server.url()) };
    let broker = open(&options).await;
    // Small ones would still fit where a large one does not.
    let sizes = [40, 9_000, 40, 3_000];
    let batch: Vec<_> =
        rows(10, 0, 40).into_iter().enumerate().map(|(n, envelope)| padded(envelope, sizes[n / 10 % 4])).collect();
    let answers = broker.publish(batch.clone()).await;
    let failed = check_answers(&batch, &answers);
    assert_eq!(failed.len(), 10);
    assert!(failed.values().all(|error| matches!(error, BrokerError::Full(_))), "{failed:?}");
    let good = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!(good > 20, "{good}");
    assert_eq!(stored(&broker).await.len(), good);
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_refused_within_a_run_holds_up_its_own_key_only() {
    let Some(server) = server().await else { return };
    for refused in [0, 57, 99] {
        let options = fresh(server.url());
        let broker = open(&options).await;
        set(&options, "max_msg_size", (8 << 10).into()).await;
        let mut batch = rows(10, 0, 10);
        batch[refused] = padded(batch[refused].clone(), 20 << 10);
        let answers = broker.publish(batch.clone()).await;
        let failed = check_answers(&batch, &answers);
        let key = batch[refused].key.as_str();
        assert!(
            matches!(failed.get(key), Some(BrokerError::TooLarge { .. } | BrokerError::Unavailable(_))),
            "{failed:?}"
        );
        let good = answers.iter().filter(|answer| answer.is_ok()).count();
        if refused < 99 {
            assert_eq!((failed.len(), good), (1, 100 - (10 - refused / 10)));
        } else {
            // The last one ends a run, and nothing behind it: nobody says how far the run got before.
            broker.extent().await.expect("a look");
            let answers = broker.publish(batch.clone()).await;
            let failed = check_answers(&batch, &answers);
            assert!(matches!(failed.get(key), Some(BrokerError::TooLarge { .. })), "{failed:?}");
            assert_eq!((failed.len(), answers.iter().filter(|answer| answer.is_ok()).count()), (1, 99));
        }
        assert_eq!(stored(&broker).await.len(), 100 - (10 - refused / 10));
        broker.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_takes_no_runs_is_allowed_to_and_works_without() {
    let Some(server) = server().await else { return };
    let options = fresh(server.url());
    open(&options).await.close().await;
    set(&options, "allow_batched", false.into()).await;
    let broker = open(&options).await;
    let info = api(&options.url, format!("STREAM.INFO.TW_{}", options.domain), json!({})).await;
    assert_eq!(info["config"]["allow_batched"], true, "{info}");
    publish(&*broker, rows(10, 0, 10)).await;
    // Somebody forbids it while we believe otherwise.
    set(&options, "allow_batched", false.into()).await;
    publish(&*broker, rows(10, 10, 10)).await;
    broker.extent().await.expect("a look");
    publish(&*broker, rows(10, 20, 100)).await;
    assert_eq!(stored(&broker).await.len(), 1_200);
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_cut_is_stored_up_to_there() {
    let Some(server) = server().await else { return };
    let proxy = Proxy::start(server.addr()).await.expect("a proxy");
    let options = fresh(&format!("nats://{}", proxy.addr()));
    let direct = open(&JetStreamOptions { url: server.url().into(), ..options.clone() }).await;
    let broker = open(&options).await;
    let batch = rows(4, 0, 200);
    for round in 0..8_u64 {
        let way = if round % 2 == 0 { Direction::Up } else { Direction::Down };
        proxy.cut_after(if way == Direction::Up { 20_011 * (round + 1) } else { 97 * (round + 1) }, way);
        let answers = broker.publish(batch.clone()).await;
        check_answers(&batch, &answers);
        proxy.cut(Close::Reset);
        proxy.heal();
        let there = stored(&direct).await;
        for (envelope, answer) in batch.iter().zip(&answers) {
            assert!(answer.is_err() || there.contains(&envelope.id), "{} was acknowledged and is gone", envelope.id);
        }
    }
    publish_surely(&broker, batch).await;
    assert_eq!(stored(&direct).await.len(), 800);
    broker.close().await;
    direct.close().await;
}
