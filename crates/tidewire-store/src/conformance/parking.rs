//! Parked events.

use bytes::Bytes;
use tidewire_core::commit::Place;
use tidewire_core::store::{Conflict, Parked, ParkedQuery};
use tidewire_core::{Attribute, Commit, Envelope, Key, Park, StoreError, Unpark};

use super::inbox::park;
use super::{Rig, applied, conflict, duplicate, put, seen};

fn parking(park: Vec<Park>) -> Commit {
    Commit { park, ..Commit::default() }
}

async fn parked(rig: &Rig) -> Vec<Parked> {
    rig.store.parked(&ParkedQuery { limit: 100, ..Default::default() }).await.unwrap()
}

fn take_out(parked: &Parked) -> Commit {
    Commit {
        unpark: vec![Unpark { consumer: parked.consumer.clone(), ordinal: parked.ordinal }],
        seen: vec![seen(&parked.consumer, &parked.envelope)],
        ..Commit::default()
    }
}

pub(super) async fn keeps_the_order_of_a_key(rig: Rig) {
    let mut sent = Vec::new();
    for n in 0..6 {
        let envelope = put(&rig, if n % 2 == 0 { "a" } else { "b" }).await;
        applied(&rig, parking(vec![park("h", &envelope, n > 1)])).await;
        sent.push(envelope);
    }
    let elsewhere = put(&rig, "a").await;
    applied(&rig, parking(vec![park("other", &elsewhere, false)])).await;
    let query = |consumer: Option<&str>, key: Option<&str>, after: u64, limit: usize| {
        let (consumer, key) = (consumer.map(str::to_owned), key.map(|key| Key::new(key).unwrap()));
        let store = rig.store.clone();
        async move { store.parked(&ParkedQuery { consumer, key, after, limit }).await.unwrap() }
    };
    let of_a = query(Some("h"), Some("a"), 0, 9).await;
    let ids: Vec<_> = of_a.iter().map(|parked| &parked.envelope.id).collect();
    assert_eq!(ids, [&sent[0].id, &sent[2].id, &sent[4].id]);
    assert!(of_a.is_sorted_by_key(|parked| parked.ordinal));
    assert_eq!(query(None, None, 0, 100).await.len(), 7);
    assert_eq!(query(None, None, of_a[1].ordinal, 2).await.len(), 2);
    assert_eq!(query(Some("nobody"), None, 0, 9).await, []);
    let keys: Vec<Key> = ["a", "b", "c"].iter().map(|key| Key::new(*key).unwrap()).collect();
    let found = rig.store.parked_keys("h", &keys).await.unwrap();
    assert_eq!(found.iter().map(Key::as_str).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(rig.store.parked_keys("other", &keys).await.unwrap().len(), 1);
    assert_eq!(rig.store.parked_counts().await.unwrap(), [("h".to_owned(), 6), ("other".to_owned(), 1)]);
}

pub(super) async fn followers_park_only_behind_others(rig: Rig) {
    let (a, b, c) = (put(&rig, "k").await, put(&rig, "k").await, put(&rig, "k").await);
    let found = conflict(&rig, parking(vec![park("h", &b, true)])).await;
    assert!(matches!(found, Conflict::NotParked { .. }), "{found:?}");
    // The first of a key and its followers may come in one commit.
    applied(&rig, parking(vec![park("h", &a, false), park("h", &b, true)])).await;
    conflict(&rig, parking(vec![park("other", &c, true)])).await;
    applied(&rig, take_out(&parked(&rig).await[0])).await;
    applied(&rig, parking(vec![park("h", &c, true)])).await;
    for entry in parked(&rig).await {
        applied(&rig, take_out(&entry)).await;
    }
    let late = put(&rig, "k").await;
    conflict(&rig, parking(vec![park("h", &late, true)])).await;
    assert!(rig.store.parked_keys("h", std::slice::from_ref(&late.key)).await.unwrap().is_empty());
    assert!(!rig.store.seen("h", &[seen("h", &late).mark]).await.unwrap()[0]);
}

pub(super) async fn an_event_is_taken_out_once(rig: Rig) {
    let envelope = put(&rig, "k").await;
    applied(&rig, parking(vec![park("h", &envelope, false)])).await;
    let entry = parked(&rig).await.remove(0);
    let by_another = Unpark { consumer: "other".into(), ordinal: entry.ordinal };
    duplicate(&rig, Commit { unpark: vec![by_another], ..Commit::default() }).await;
    applied(&rig, take_out(&entry)).await;
    duplicate(&rig, Commit { seen: vec![], ..take_out(&entry) }).await;
    assert!(parked(&rig).await.is_empty());
    assert_eq!(rig.store.handled("h").await.unwrap(), 1);
    // Numbers are not used again.
    let next = put(&rig, "k").await;
    applied(&rig, parking(vec![park("h", &next, false)])).await;
    assert!(parked(&rig).await[0].ordinal > entry.ordinal);
}

pub(super) async fn an_event_is_parked_or_handled_not_both(rig: Rig) {
    let (a, b) = (put(&rig, "k").await, put(&rig, "k").await);
    applied(&rig, parking(vec![park("h", &a, false)])).await;
    duplicate(&rig, parking(vec![park("h", &a, false)])).await;
    duplicate(&rig, Commit { seen: vec![seen("h", &a)], ..Commit::default() }).await;
    applied(&rig, Commit { seen: vec![seen("h", &b)], ..Commit::default() }).await;
    duplicate(&rig, parking(vec![park("h", &b, true)])).await;
    assert_eq!(parked(&rig).await.len(), 1);
    // Tried again and failed again: parked in its own place.
    let entry = parked(&rig).await.remove(0);
    let again = Commit { seen: vec![], park: vec![park("h", &a, false)], ..take_out(&entry) };
    applied(&rig, again).await;
    assert_eq!(parked(&rig).await.len(), 1);
}

pub(super) async fn an_event_takes_the_place_of_another(rig: Rig) {
    let (a, b, other) = (put(&rig, "k").await, put(&rig, "k").await, put(&rig, "other").await);
    applied(&rig, parking(vec![park("h", &a, false), park("h", &b, true), park("h", &other, false)])).await;
    let before = parked(&rig).await;
    let edited = Envelope { id: "edited".into(), data: Some(Bytes::from_static(b"{}")), ..a.clone() };
    let place = Some(Place { ordinal: before[0].ordinal, since: before[0].since });
    let instead = |ordinal: u64| Commit {
        unpark: vec![Unpark { consumer: "h".into(), ordinal }],
        seen: vec![seen("h", &a)],
        park: vec![Park { place, attempts: 7, code: "x.y".into(), ..park("h", &edited, false) }],
        ..Commit::default()
    };
    let wrong = rig.store.commit(instead(before[1].ordinal)).await;
    assert!(matches!(wrong, Err(StoreError::Invalid(_))), "{wrong:?}");
    applied(&rig, instead(before[0].ordinal)).await;
    // The one that was there is dealt with; what follows still does.
    duplicate(&rig, instead(before[0].ordinal)).await;
    let after = parked(&rig).await;
    let first = &after[0];
    assert_eq!((first.ordinal, first.since, first.attempts), (before[0].ordinal, before[0].since, 7));
    assert_eq!((first.envelope.id.as_str(), first.code.as_str()), ("edited", "x.y"));
    assert_eq!(after[1..], before[1..]);
    // And the next one comes behind all of them.
    let late = put(&rig, "k").await;
    applied(&rig, parking(vec![park("h", &late, true)])).await;
    assert!(parked(&rig).await[3].ordinal > before[2].ordinal);
    assert_eq!(rig.store.parked_counts().await.unwrap(), [("h".to_owned(), 4)]);
}

pub(super) async fn envelopes_come_back_byte_for_byte(rig: Rig) {
    let mut odd = put(&rig, "k").await;
    odd.data = Some(Bytes::from_static(b" not json \xff"));
    odd.extensions.insert("n".into(), Attribute::Integer(1));
    odd.sequence = Some(7);
    odd.recordedtime = Some(odd.time);
    let bare = Envelope { id: "bare".into(), data: None, ..odd.clone() };
    let empty = Envelope { id: "empty".into(), data: Some(Bytes::new()), ..odd.clone() };
    let sent = [odd, bare, empty];
    applied(&rig, parking(sent.iter().map(|envelope| park("h", envelope, false)).collect())).await;
    let found = parked(&rig).await;
    assert_eq!(found.iter().map(|parked| &parked.envelope).collect::<Vec<_>>(), sent.iter().collect::<Vec<_>>());
    let first = &found[0];
    assert_eq!((first.code.as_str(), first.reason.as_str(), first.attempts), ("handler.failed", "ü", 2));
}
