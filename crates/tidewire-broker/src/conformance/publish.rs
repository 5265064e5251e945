//! What goes in.

use std::collections::HashSet;
use std::sync::Arc;

use tidewire_core::bytes::Bytes;
use tidewire_core::chrono::{DateTime, TimeDelta};
use tidewire_core::{Attribute, Broker, BrokerError, EventType};
use tokio::task::JoinSet;

use super::{Bench, OrderCheck, consume, event, group, join, publish, receive, within};

pub(super) async fn what_goes_in_comes_out_unchanged(bench: Arc<dyn Bench>) {
    let broker = bench.broker().await;
    let mut full = event("a \"b\" ü/%.>*", "full");
    full.ty = EventType::new("conformance.happened-twice", 65_535);
    full.subject = Some("the subject".into());
    full.time = DateTime::UNIX_EPOCH + TimeDelta::nanoseconds(1_234_567_890_123_456_789);
    full.dataschema = Some("https://example.org/schemas/a.json?x=1&y=2".into());
    full.data =
        Some(Bytes::from_static(br#"{ "price": 1.10, "n": 1e2, "big": 12345678901234567890123, "u": "\u00fc" }"#));
    full.sequence = Some(i64::MAX as u64);
    full.correlationid = Some("c".into());
    full.causationid = Some("b".into());
    full.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    full.recordedtime = Some(DateTime::UNIX_EPOCH);
    full.expirytime = Some(DateTime::UNIX_EPOCH + TimeDelta::days(40_000));
    full.dataref = Some("s3://bucket/a%20b".into());
    full.extensions.insert("sagaepoch".into(), Attribute::Integer(-7));
    full.extensions.insert("flag".into(), Attribute::Boolean(true));
    full.extensions.insert("text".into(), Attribute::Text("50% ü \"quoted\"".into()));
    let mut binary = event("b", "binary");
    binary.datacontenttype = Some("application/octet-stream".into());
    binary.data = Some(Bytes::from_static(&[0, 159, 146, 150, 255, 10, 13]));
    let mut empty = event("c", "empty");
    empty.data = None;
    let sent = vec![full, binary, empty];

    publish(&*broker, sent.clone()).await;
    let mut seat = join(&*broker, group("all")).await;
    let mut received: Vec<_> = receive(&mut *seat, 3).await.into_iter().map(|delivery| delivery.envelope).collect();
    received.sort_by_key(|envelope| sent.iter().position(|event| event.id == envelope.id));
    assert_eq!(received, sent);
}

pub(super) async fn an_event_published_again_is_recognised(bench: Arc<dyn Bench>) {
    let broker = bench.broker().await;
    let remembers = remembers(&*broker);
    publish(&*broker, vec![event("k", "e-0")]).await;
    let mut other_source = event("k", "e-0");
    other_source.source = "/other".into();
    let again = broker.publish(vec![event("k", "e-0"), other_source, event("k", "e-1")]).await;
    let duplicates: Vec<_> = again.into_iter().map(|answer| answer.expect("published").duplicate).collect();
    assert_eq!(duplicates, [remembers, false, false]);
    let broker = bench.reopen(broker).await;
    let again = broker.publish(vec![event("k", "e-0")]).await;
    assert!(matches!(&again[..], [Ok(published)] if published.duplicate == remembers), "{again:?}");
    let mut seat = join(&*broker, group("all")).await;
    let expected = if remembers { &["e-0", "e-0", "e-1"][..] } else { &["e-0", "e-0", "e-0", "e-1", "e-0"] };
    assert_eq!(consume(&mut *seat, expected.len()).await, expected);
}

/// Whether an event that is published again is recognised; else it is stored again, and the inbox drops it.
fn remembers(broker: &dyn Broker) -> bool {
    broker.features().dedupe_window_events > 0
}

pub(super) async fn an_event_repeated_in_one_call_is_recognised(bench: Arc<dyn Bench>) {
    let broker = bench.broker().await;
    let remembers = remembers(&*broker);
    let answers = broker.publish(vec![event("k", "a"), event("k", "a"), event("k", "b")]).await;
    let duplicates: Vec<_> = answers.into_iter().map(|answer| answer.expect("published").duplicate).collect();
    assert_eq!(duplicates, [false, remembers, false]);
    let mut seat = join(&*broker, group("all")).await;
    let expected = if remembers { &["a", "b"][..] } else { &["a", "a", "b"] };
    assert_eq!(consume(&mut *seat, expected.len()).await, expected);
}

pub(super) async fn what_is_too_large_is_refused_and_what_follows_on_its_key_waits(bench: Arc<dyn Bench>) {
    let broker = bench.broker().await;
    let limit = broker.features().max_event_bytes;
    let mut large = event("k", "large");
    large.data = Some(Bytes::from(format!("\"{}\"", "x".repeat(limit))));
    let answers = broker.publish(vec![event("k", "a"), large, event("k", "b"), event("other", "c")]).await;
    assert!(answers[0].is_ok() && answers[3].is_ok(), "{answers:?}");
    assert!(matches!(answers[1], Err(BrokerError::TooLarge { .. })), "{answers:?}");
    assert_eq!(answers[2], Err(BrokerError::Behind));
    publish(&*broker, vec![event("k", "b")]).await;
    let mut seat = join(&*broker, group("all")).await;
    let mut received = consume(&mut *seat, 3).await;
    received.retain(|id| id != "c");
    assert_eq!(received, ["a", "b"]);
}

pub(super) async fn scanning_sees_everything_in_order(bench: Arc<dyn Bench>) {
    let broker = bench.broker().await;
    assert_eq!(broker.scan(None, 10).await.expect("scan").0, []);
    let sent: Vec<_> = (0..25).map(|n| event("k", &format!("k-{n}"))).collect();
    publish(&*broker, sent.clone()).await;
    let (mut seen, mut cursor, mut pages) = (Vec::new(), None, 0);
    loop {
        let (page, next) = within("a scan", broker.scan(cursor, 10)).await.expect("scan succeeds");
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 10);
        seen.extend(page);
        cursor = next;
        pages += 1;
    }
    assert_eq!(seen, sent);
    assert!(pages >= 3);
    assert!(super::is_invalid(broker.scan(Some("no cursor of ours".into()), 10).await));
}

pub(super) async fn the_extent_goes_up_and_never_down(bench: Arc<dyn Bench>) {
    let broker = bench.broker().await;
    let mut before = broker.extent().await.expect("an extent");
    assert!(!before.incarnation.is_empty());
    for n in 0..3 {
        publish(&*broker, vec![event("k", &format!("k-{n}")), event("l", &format!("l-{n}"))]).await;
        let after = broker.extent().await.expect("an extent");
        assert_eq!(after.incarnation, before.incarnation);
        assert!(after.last >= before.last + 2, "{after:?} after {before:?}");
        before = after;
    }
    if broker.features().dedupe_window_events > 0 {
        broker.publish(vec![event("k", "k-0")]).await.remove(0).expect("published");
        assert_eq!(broker.extent().await, Ok(before.clone()), "nothing was stored");
    }
    let broker = bench.reopen(broker).await;
    let after = broker.extent().await.expect("an extent");
    assert_eq!(after.incarnation, before.incarnation, "the same record");
    assert!(after.last >= before.last, "{after:?} after {before:?}");
}

pub(super) async fn nothing_is_lost_under_concurrent_load(bench: Arc<dyn Bench>) {
    const PRODUCERS: usize = 16;
    const EACH: usize = 100;
    const MEMBERS: usize = 3;
    let broker = bench.broker().await;
    let mut producers = JoinSet::new();
    for producer in 0..PRODUCERS {
        let broker = broker.clone();
        producers.spawn(async move {
            for number in 0..EACH {
                let key = format!("p{producer}");
                publish(&*broker, vec![event(&key, &format!("{key}-{number}"))]).await;
            }
        });
    }
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let mut members = JoinSet::new();
    for _ in 0..MEMBERS {
        let (mut seat, sender) = (join(&*broker, group("all")).await, sender.clone());
        members.spawn(async move {
            while let Ok(deliveries) = seat.next(10, usize::MAX).await {
                for delivery in deliveries {
                    // Recorded before the acknowledgement, which is what lets the next of the key go elsewhere.
                    let _ = sender.send(delivery.envelope.clone());
                    delivery.ack();
                }
            }
        });
    }
    let (mut order, mut seen) = (OrderCheck::default(), HashSet::new());
    while seen.len() < PRODUCERS * EACH {
        let envelope = within("a delivery", receiver.recv()).await.expect("a member");
        order.see(&envelope);
        assert!(seen.insert(envelope.id.clone()), "{} came twice without cause", envelope.id);
    }
    while let Some(producer) = producers.join_next().await {
        producer.expect("a producer succeeds");
    }
    members.shutdown().await;
}
