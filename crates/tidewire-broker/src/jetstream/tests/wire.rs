//! What others see and send, and what the server must be like.

use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use tidewire_core::bytes::Bytes;
use tidewire_core::{Attribute, Broker, BrokerError, SystemClock};

use super::{Arc, JetStreamBroker, JetStreamOptions, PATIENCE, fresh, open, server};
use crate::conformance::{consume, event, group, join, publish, until_lag};

async fn raw(url: &str) -> async_nats::Client {
    async_nats::connect(url).await.expect("a raw connection")
}

async fn api(client: &async_nats::Client, subject: &str, body: Value) -> Value {
    let answer = client.request(format!("$JS.API.{subject}"), body.to_string().into()).await.expect("an answer");
    serde_json::from_slice(&answer.payload).expect("JSON")
}

#[tokio::test]
async fn a_stream_that_is_otherwise_is_refused_difference_by_difference() {
    let Some(server) = server().await else { return };
    let options = fresh(server.url());
    let client = raw(server.url()).await;
    let name = format!("TW_{}", options.domain);
    let config = json!({
        "name": name, "subjects": [format!("tw.{}.>", options.domain)], "storage": "file", "retention": "limits",
        "discard": "old", "num_replicas": 1, "max_bytes": 1 << 20, "max_msgs": -1, "max_msgs_per_subject": -1,
        "allow_rollup_hdrs": true, "duplicate_window": 120_000_000_000_u64,
    });
    assert!(api(&client, &format!("STREAM.CREATE.{name}"), config).await["error"].is_null());
    let refused = JetStreamBroker::open(options.clone(), Arc::new(SystemClock)).await;
    let Err(BrokerError::Misconfigured(reason)) = refused else { panic!("it opened") };
    for part in [
        "discard is \"old\" there and must be \"new\"",
        "max_bytes is 1048576 there and must be 33554432",
        "duplicate_window is 120000000000 there and must be 600000000000",
        "deny_purge is",
        "max_age is 0 there",
        "allow_rollup_hdrs is true there and must be off",
        "tw_buckets is null there",
        "it was not made by Tidewire",
    ] {
        assert!(reason.contains(part), "`{part}` is missing in: {reason}");
    }
    assert!(!reason.contains("storage"), "what is right is not named: {reason}");
    // Ours, then changed by hand.
    api(&client, &format!("STREAM.DELETE.{name}"), json!({})).await;
    open(&options).await.close().await;
    let mut config = api(&client, &format!("STREAM.INFO.{name}"), json!({})).await["config"].clone();
    config["discard"] = "old".into();
    assert!(api(&client, &format!("STREAM.UPDATE.{name}"), config).await["error"].is_null());
    let refused = JetStreamBroker::open(options, Arc::new(SystemClock)).await;
    let Err(BrokerError::Misconfigured(reason)) = refused else { panic!("it opened") };
    assert!(reason.contains("it was changed on the server after it was made"), "{reason}");
}

#[tokio::test]
async fn who_cannot_connect_is_told_why() {
    let Some(_) = server().await else { return };
    let strict = servers::NatsOptions {
        config: "authorization { user: tide, password: \"s3cr@t\" }".into(),
        ..Default::default()
    };
    let strict = servers::Nats::start(strict).await.expect("a server");
    let at = |login: &str| JetStreamOptions {
        url: strict.url().replace("nats://", &format!("nats://{login}")),
        ..fresh("")
    };
    for login in ["", "tide:wrong@", "token@"] {
        let refused = JetStreamBroker::open(at(login), Arc::new(SystemClock)).await.err();
        assert!(matches!(refused, Some(BrokerError::Denied(_))), "{login}: {refused:?}");
    }
    JetStreamBroker::open(at("tide:s3cr%40t@"), Arc::new(SystemClock)).await.expect("the right password").close().await;
    let nobody = JetStreamOptions { url: "nats://127.0.0.1:1".into(), ..fresh("") };
    let refused = JetStreamBroker::open(nobody, Arc::new(SystemClock)).await.err();
    assert!(matches!(refused, Some(BrokerError::Unavailable(_))), "{refused:?}");
}

#[tokio::test]
async fn other_clients_read_our_events_and_cannot_be_deceived() {
    let Some(server) = server().await else { return };
    let options = fresh(server.url());
    let broker = open(&options).await;
    let client = raw(server.url()).await;
    let mut seen = client.subscribe(format!("tw.{}.*.conformance.>", options.domain)).await.expect("a subscription");
    // Its answer follows the server's taking of the subscription.
    api(&client, "INFO", json!({})).await;
    let hostile = "x\r\nNats-Rollup: all\r\nNats-TTL: 1s\r\n\r\n";
    let mut envelope = event("k", "plain-0");
    envelope.subject = Some(hostile.into());
    envelope.datacontenttype = Some("application/json".into());
    envelope.extensions.insert("ext".into(), Attribute::Text(format!("100% {hostile}")));
    publish(&*broker, vec![envelope.clone()]).await;
    let message = tokio::time::timeout(PATIENCE, seen.next()).await.expect("in time").expect("an event");
    let headers = message.headers.expect("headers");
    let header = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
    assert_eq!(header("ce-id").as_deref(), Some("plain-0"));
    assert_eq!(header("ce-type").as_deref(), Some("conformance.happened.v1"));
    assert_eq!(header("ce-specversion").as_deref(), Some("1.0"));
    assert_eq!(header("content-type").as_deref(), Some("application/json"));
    assert_eq!(header("ce-datacontenttype").as_deref(), Some("application/json"));
    assert_eq!(header("ce-subject").as_deref(), Some("x%0D%0ANats-Rollup:%20all%0D%0ANats-TTL:%201s%0D%0A%0D%0A"));
    assert!(headers.get("Nats-Rollup").is_none() && headers.get("Nats-TTL").is_none());
    assert_eq!(message.payload, envelope.data.clone().unwrap());
    let mut seat = join(&*broker, group("all")).await;
    let delivery = crate::conformance::receive(&mut *seat, 1).await.remove(0);
    assert_eq!(delivery.envelope, envelope);
    broker.close().await;
}

#[tokio::test]
async fn what_others_send_is_taken_and_what_is_no_event_blocks_nobody() {
    let Some(server) = server().await else { return };
    let options = fresh(server.url());
    let broker = open(&options).await;
    let client = raw(server.url()).await;
    let send = async |subject: &str, headers: &[(&str, &str)], data: &'static str| {
        let mut map = async_nats::HeaderMap::new();
        headers.iter().for_each(|(name, value)| map.append(*name, *value));
        let subject = format!("tw.{}.{subject}", options.domain);
        let answer = client.request_with_headers(subject, map, Bytes::from_static(data.as_bytes())).await;
        assert!(String::from_utf8_lossy(&answer.expect("stored").payload).contains("seq"));
    };
    let good = [("ce-specversion", "1.0"), ("ce-id", "good"), ("ce-source", "/x"), ("ce-type", "a.b.v1")];
    send("07.a.b.v1", &[], "no headers").await;
    send("99.a.b.v1", &good, "1").await;
    send("nowhere.at.all", &[("ce-id", "1")], "").await;
    send("07.a.b.v1", &good, "{not json").await;
    send("07.a.b.v1", &good, "[1]").await;
    let structured = r#"{"specversion":"1.0","id":"structured","source":"/x","type":"a.b.v1","time":"2026-01-01T00:00:00Z","partitionkey":"k"}"#;
    send("07.a.b.v1", &[("Content-Type", "application/cloudevents+json")], structured).await;
    publish(&*broker, vec![event("k", "ours")]).await;
    let mut seat = join(&*broker, group("all")).await;
    let mut received = consume(&mut *seat, 3).await;
    received.sort();
    assert_eq!(received, ["good", "ours", "structured"]);
    until_lag(&*broker, "all", |lag| lag.pending == 0).await;
    let (page, _) = broker.scan(None, 100).await.expect("a scan");
    assert_eq!(page.len(), 3);
    broker.close().await;
}

#[tokio::test]
async fn a_full_stream_refuses_and_discards_nothing() {
    let Some(server) = server().await else { return };
    let options = JetStreamOptions { max_bytes: 300 << 10, max_event_bytes: 64 << 10, ..fresh(server.url()) };
    let broker = open(&options).await;
    let before = broker.extent().await.expect("an extent");
    let large = |n: usize| {
        let mut envelope = event("k", &format!("k-{n}"));
        envelope.data = Some(Bytes::from(format!("\"{}\"", "x".repeat(50 << 10))));
        envelope
    };
    let answers = broker.publish((0..10).map(large).collect()).await;
    let stored = answers.iter().take_while(|answer| answer.is_ok()).count();
    assert!((3..7).contains(&stored), "{answers:?}");
    assert!(matches!(answers[stored], Err(BrokerError::Full(_))), "{:?}", answers[stored]);
    assert!(answers[stored + 1..].iter().all(|answer| *answer == Err(BrokerError::Behind)));
    let (page, _) = broker.scan(None, 100).await.expect("a scan");
    assert_eq!(page.len(), stored);
    let after = broker.extent().await.expect("an extent");
    assert_eq!((after.incarnation, after.last), (before.incarnation, stored as u64));
    broker.close().await;
    assert_eq!(broker.publish(vec![large(11)]).await, [Err(BrokerError::Closed)]);
    let short = tokio::time::timeout(Duration::from_secs(5), broker.subscribe(group("late"))).await;
    assert!(matches!(short, Ok(Err(BrokerError::Closed))));
}
