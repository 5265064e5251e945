//! The log.

use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use futures::future::join_all;
use tidewire_core::store::{Conflict, Selection};
use tidewire_core::{Attribute, Envelope, EventType, Expect, Key, Position};

use super::{Rig, append, applied, conflict, event, head, put};

pub(super) async fn starts_empty(rig: Rig) {
    assert_eq!(head(&rig).await, 0);
    assert!(rig.store.read(&Selection { limit: 10, ..Default::default() }).await.unwrap().is_empty());
    assert!(rig.store.stream(&Key::of("a", 1), 0, 10).await.unwrap().is_empty());
    let info = rig.store.info().await.unwrap();
    assert!(!info.log_id.is_empty() && info.head == Position(0));
    rig.store.ping().await.unwrap();
}

pub(super) async fn keeps_every_attribute(rig: Rig) {
    let plain = event(&rig, "a/1");
    let mut full = event(&rig, "a/ü €");
    full.id = "not a uuid".into();
    full.ty = EventType::new("thing.happened", 65_535);
    full.subject = Some("subject".into());
    full.time = DateTime::parse_from_rfc3339("9999-12-31T23:59:59.123456789Z").unwrap().to_utc();
    full.datacontenttype = Some("application/octet-stream".into());
    full.dataschema = Some("https://example.com/schema".into());
    full.data = Some(vec![0, 159, 146, 150].into());
    full.correlationid = Some(plain.id.clone());
    full.causationid = Some("0198F2A0-0000-7000-8000-000000000001".into());
    full.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    full.expirytime = Some(full.time + TimeDelta::nanoseconds(1));
    full.dataref = Some("s3://bucket/object".into());
    for (name, value) in
        [("text", Attribute::from("ü")), ("n", Attribute::Integer(-7)), ("b", Attribute::Boolean(true))]
    {
        full.extensions.insert(name.into(), value);
    }
    let mut empty = event(&rig, "a/2");
    empty.correlationid = Some(empty.id.clone());
    empty.data = Some(Default::default());
    let mut none = event(&rig, "a/3");
    none.data = None;
    let sent = [plain, full, empty, none];
    for envelope in &sent {
        applied(&rig, append(Expect::Any, vec![envelope.clone()])).await;
    }
    let found = rig.store.read(&Selection { limit: 10, ..Default::default() }).await.unwrap();
    assert_eq!(found.len(), sent.len());
    for (found, sent) in found.into_iter().zip(sent) {
        assert!(found.envelope.recordedtime.is_some());
        let expected = Envelope { sequence: Some(1), recordedtime: found.envelope.recordedtime, ..sent };
        assert_eq!(found.envelope, expected);
    }
}

pub(super) async fn positions_are_gapless_under_concurrent_writers(rig: Rig) {
    const WRITERS: usize = 32;
    const EACH: usize = 20;
    let writer = |writer: usize| {
        let rig = rig.clone();
        async move {
            let mut written = 0;
            for n in 0..EACH {
                let own = format!("own/{writer}");
                let events = (0..1 + n % 3).map(|_| event(&rig, &own)).collect::<Vec<_>>();
                written += events.len();
                applied(&rig, append(Expect::Any, events)).await;
                // Never true: it must leave no hole.
                conflict(&rig, append(Expect::Version(1_000_000), vec![event(&rig, "shared")])).await;
            }
            written
        }
    };
    let tasks = (0..WRITERS).map(|n| tokio::spawn(writer(n)));
    let written: usize = join_all(tasks).await.into_iter().map(|task| task.unwrap()).sum();
    let found = rig.store.read(&Selection { limit: written + 1, ..Default::default() }).await.unwrap();
    let positions: Vec<u64> = found.iter().map(|recorded| recorded.position.0).collect();
    assert_eq!(positions, (1..=written as u64).collect::<Vec<_>>());
    assert_eq!(head(&rig).await, written as u64);
    for writer in 0..WRITERS {
        let stream = rig.store.stream(&Key::of("own", writer), 0, 1_000).await.unwrap();
        let versions: Vec<u64> = stream.iter().filter_map(|recorded| recorded.envelope.sequence).collect();
        assert_eq!(versions, (1..=versions.len() as u64).collect::<Vec<_>>());
        assert!(stream.is_sorted_by_key(|recorded| recorded.position));
    }
}

pub(super) async fn one_of_many_equal_expectations_wins(rig: Rig) {
    const WRITERS: usize = 16;
    for version in 0..10 {
        let race = (0..WRITERS).map(|_| {
            let (store, envelope) = (rig.store.clone(), event(&rig, "race"));
            tokio::spawn(async move { store.commit(append(Expect::Version(version), vec![envelope])).await })
        });
        let won = join_all(race).await.into_iter().filter(|result| matches!(result, Ok(Ok(_)))).count();
        assert_eq!(won, 1, "at version {version}");
    }
    assert_eq!(head(&rig).await, 10);
}

pub(super) async fn expectations_are_exact(rig: Rig) {
    applied(&rig, append(Expect::Version(0), vec![event(&rig, "a"), event(&rig, "a")])).await;
    for wrong in [0, 1, 3, u64::MAX] {
        let found = conflict(&rig, append(Expect::Version(wrong), vec![event(&rig, "a")])).await;
        assert_eq!(found, Conflict::Version { key: Key::new("a").unwrap(), expected: wrong, found: 2 });
    }
    let last = applied(&rig, append(Expect::Version(2), vec![event(&rig, "a")])).await;
    assert_eq!(last, Position(3));
}

pub(super) async fn streams_are_read_from_a_version(rig: Rig) {
    for _ in 0..5 {
        put(&rig, "a").await;
        put(&rig, "b").await;
    }
    let found = rig.store.stream(&Key::new("a").unwrap(), 2, 2).await.unwrap();
    let places: Vec<_> = found.iter().map(|r| (r.position.0, r.envelope.sequence.unwrap())).collect();
    assert_eq!(places, [(5, 3), (7, 4)]);
    assert!(found.iter().all(|recorded| recorded.envelope.key.as_str() == "a"));
}

pub(super) async fn reading_forward_misses_nothing_while_writing(rig: Rig) {
    const WRITERS: usize = 8;
    const EACH: usize = 40;
    let total = (WRITERS * EACH) as u64;
    let writers = (0..WRITERS).map(|n| {
        let rig = rig.clone();
        tokio::spawn(async move {
            for _ in 0..EACH {
                put(&rig, &format!("w/{n}")).await;
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut cursor = Position(0);
    while cursor.0 < total {
        rig.store.wait(cursor, Duration::from_secs(10)).await;
        let found = rig.store.read(&Selection { after: cursor, limit: 7, ..Default::default() }).await.unwrap();
        for recorded in found {
            assert_eq!(recorded.position.0, cursor.0 + 1, "a position was missed");
            cursor = recorded.position;
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
}

pub(super) async fn selections_select(rig: Rig) {
    let mut sent = Vec::new();
    for n in 0..20 {
        let mut envelope = event(&rig, &format!("k/{}", n % 4));
        envelope.ty = EventType::new(if n % 2 == 0 { "thing.happened" } else { "other.happened" }, 1 + n % 3);
        applied(&rig, append(Expect::Any, vec![envelope.clone()])).await;
        sent.push(envelope);
    }
    let positions = |selection: Selection| {
        let store = rig.store.clone();
        async move {
            let found = store.read(&selection).await.unwrap();
            found.iter().map(|recorded| recorded.position.0).collect::<Vec<u64>>()
        }
    };
    let all = || Selection { limit: 100, ..Default::default() };
    assert_eq!(positions(Selection { after: Position(17), ..all() }).await, [18, 19, 20]);
    assert_eq!(positions(Selection { until: Some(Position(2)), ..all() }).await, [1, 2]);
    assert_eq!(positions(Selection { backwards: true, limit: 3, ..all() }).await, [20, 19, 18]);
    assert_eq!(positions(Selection { limit: 0, ..all() }).await, [0u64; 0]);
    let odd = Selection { names: vec!["other.happened".into(), "never.happened".into()], ..all() };
    assert_eq!(positions(odd).await, (1..=10).map(|n| n * 2).collect::<Vec<u64>>());
    let key = Some(Key::new("k/1").unwrap());
    assert_eq!(positions(Selection { key: key.clone(), ..all() }).await, [2, 6, 10, 14, 18]);
    let newest = Selection { key, backwards: true, until: Some(Position(17)), limit: 2, ..all() };
    assert_eq!(positions(newest).await, [14, 10]);
    assert_eq!(positions(Selection { id: Some(sent[6].id.clone()), ..all() }).await, [7]);
    assert_eq!(positions(Selection { id: Some("nobody".into()), ..all() }).await, [0u64; 0]);
    let bucket = sent[0].key.bucket();
    let expected: Vec<u64> = (1..).zip(&sent).filter(|(_, e)| e.key.bucket() == bucket).map(|(n, _)| n).collect();
    assert_eq!(positions(Selection { buckets: Some((bucket, bucket)), ..all() }).await, expected);
    assert_eq!(positions(Selection { buckets: Some((0, 63)), ..all() }).await.len(), 20);
}

pub(super) async fn a_flow_is_found_by_its_correlation(rig: Rig) {
    let mut root = event(&rig, "a");
    root.correlationid = Some(root.id.clone());
    let mut caused = event(&rig, "b");
    caused.correlationid = Some(root.id.clone());
    let mut named = event(&rig, "c");
    named.correlationid = Some("order 7".into());
    for envelope in [&root, &event(&rig, "d"), &caused, &named] {
        applied(&rig, append(Expect::Any, vec![envelope.clone()])).await;
    }
    let flow =
        |correlationid: &str| Selection { correlationid: Some(correlationid.into()), limit: 9, ..Default::default() };
    let found = rig.store.read(&flow(&root.id)).await.unwrap();
    assert_eq!(found.iter().map(|r| &r.envelope.id).collect::<Vec<_>>(), [&root.id, &caused.id]);
    assert!(found.iter().all(|recorded| recorded.envelope.correlationid.as_ref() == Some(&root.id)));
    let backwards = rig.store.read(&Selection { backwards: true, ..flow(&root.id) }).await.unwrap();
    assert_eq!(backwards.iter().map(|r| r.position.0).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(rig.store.read(&flow("order 7")).await.unwrap().len(), 1);
    assert!(rig.store.read(&flow(&caused.id)).await.unwrap().is_empty());
}

pub(super) async fn an_event_is_in_the_log_once(rig: Rig) {
    let first = put(&rig, "a").await;
    let mut again = event(&rig, "b");
    again.id.clone_from(&first.id);
    let found = conflict(&rig, append(Expect::Any, vec![event(&rig, "b"), again.clone()])).await;
    assert_eq!(found, Conflict::Event { id: first.id.clone() });
    assert_eq!(head(&rig).await, 1);
    // The same id from another source is another event.
    again.source = "/elsewhere".into();
    applied(&rig, append(Expect::Any, vec![again])).await;
    // Twice at once: one of them.
    let twice = event(&rig, "c");
    let race = (0..8).map(|n| {
        let (store, mut envelope) = (rig.store.clone(), twice.clone());
        envelope.key = Key::of("c", n);
        tokio::spawn(async move { store.commit(append(Expect::Any, vec![envelope])).await.is_ok() })
    });
    let won = join_all(race).await.into_iter().filter(|result| matches!(result, Ok(true))).count();
    assert_eq!(won, 1);
    assert_eq!(head(&rig).await, 3);
}

pub(super) async fn waiting_ends_with_the_next_event(rig: Rig) {
    rig.store.wait(Position(0), Duration::from_millis(1)).await;
    let waiter = {
        let store = rig.store.clone();
        tokio::spawn(async move { store.wait(Position(0), Duration::from_secs(60)).await })
    };
    put(&rig, "a").await;
    tokio::time::timeout(Duration::from_secs(30), waiter).await.unwrap().unwrap();
}

pub(super) async fn it_says_how_it_is_doing(rig: Rig) {
    let health = rig.store.health().await.unwrap();
    assert!(health.schema > 0 && health.schema == health.known, "{health:?}");
    // A store that knows the time of its own knows about the right one.
    let now = tidewire_core::Clock::now(&tidewire_core::SystemClock);
    let skew = health.time.map(|time| (time - now).abs());
    assert!(skew.is_none_or(|skew| skew < chrono::TimeDelta::minutes(1)), "{health:?}");
    assert!(health.disk_free.is_none_or(|free| free > 0), "{health:?}");
}

pub(super) async fn types_are_counted(rig: Rig) {
    assert!(rig.store.types().await.unwrap().is_empty());
    put(&rig, "a").await;
    put(&rig, "b").await;
    let mut newer = event(&rig, "a");
    newer.ty = newer.ty.at(2);
    assert_eq!(rig.store.types().await.unwrap(), [(EventType::new("thing.happened", 1), 2)]);
    applied(&rig, append(Expect::Any, vec![newer])).await;
    let mut types = rig.store.types().await.unwrap();
    types.sort();
    assert_eq!(types, [(EventType::new("thing.happened", 1), 2), (EventType::new("thing.happened", 2), 1)]);
}
