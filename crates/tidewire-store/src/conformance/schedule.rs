//! Timers and effects.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use tidewire_core::effect::{EffectPhase, EffectQuery, EffectState};
use tidewire_core::{Call, Commit, Committed, Effect, EffectOutcome, Expect, Key, Timer, TimerWrite};

use super::{Rig, append, applied, duplicate, event};

fn timer(id: &str, due: DateTime<Utc>) -> Timer {
    Timer { owner: "h".into(), id: id.into(), key: Key::of("k", id), due, data: Bytes::from_static(b"data") }
}

fn timers(timers: Vec<TimerWrite>) -> Commit {
    Commit { timers, ..Commit::default() }
}

fn fire(id: &str) -> TimerWrite {
    TimerWrite::Fire { owner: "h".into(), id: id.into() }
}

pub(super) async fn a_timer_fires_once(rig: Rig) {
    let now = rig.clock.now();
    applied(&rig, timers(vec![TimerWrite::Set(timer("t", now))])).await;
    let race = (0..8).map(|n| {
        let commit = Commit { timers: vec![fire("t")], ..append(Expect::Any, vec![event(&rig, &format!("out/{n}"))]) };
        let store = rig.store.clone();
        tokio::spawn(async move { store.commit(commit).await.unwrap() })
    });
    let results = join_all(race).await.into_iter().map(|result| result.unwrap());
    assert_eq!(results.filter(|result| matches!(result, Committed::Applied { .. })).count(), 1);
    assert_eq!(rig.store.head().await.unwrap().0, 1);
    assert!(rig.store.due_timers(&["h".into()], now, 9).await.unwrap().is_empty());
    duplicate(&rig, timers(vec![fire("never set")])).await;
    // Fired and set again in one commit: it is set.
    applied(&rig, timers(vec![TimerWrite::Set(timer("t", now))])).await;
    applied(&rig, timers(vec![fire("t"), TimerWrite::Set(timer("t", now + TimeDelta::hours(1)))])).await;
    assert_eq!(rig.store.next_due(&["h".into()]).await.unwrap().0, Some(now + TimeDelta::hours(1)));
}

pub(super) async fn timers_move_and_are_cancelled(rig: Rig) {
    let now = rig.clock.now();
    let hour = TimeDelta::hours(1);
    let owners = ["h".to_owned(), "other".to_owned()];
    assert_eq!(rig.store.next_due(&owners).await.unwrap(), (None, None));
    let other = Timer { owner: "other".into(), ..timer("a", now + hour) };
    let set = [timer("a", now + hour * 3), timer("b", now + hour * 2), other.clone()];
    applied(&rig, timers(set.iter().cloned().map(TimerWrite::Set).collect())).await;
    assert_eq!(rig.store.next_due(&owners).await.unwrap().0, Some(now + hour));
    assert_eq!(rig.store.next_due(&owners[..1]).await.unwrap().0, Some(now + hour * 2));
    assert!(rig.store.due_timers(&owners, now, 9).await.unwrap().is_empty());
    let late = now + hour * 9;
    assert_eq!(rig.store.due_timers(&owners, late, 9).await.unwrap(), [other, set[1].clone(), set[0].clone()]);
    assert_eq!(rig.store.due_timers(&owners[..1], late, 1).await.unwrap(), [set[1].clone()]);
    assert!(rig.store.due_timers(&[], late, 9).await.unwrap().is_empty());
    applied(&rig, timers(vec![TimerWrite::Set(timer("b", now + hour * 5))])).await;
    applied(&rig, timers(vec![TimerWrite::Cancel { owner: "h".into(), id: "a".into() }])).await;
    applied(&rig, timers(vec![TimerWrite::Cancel { owner: "h".into(), id: "a".into() }])).await;
    assert_eq!(rig.store.due_timers(&owners[..1], late, 9).await.unwrap(), [timer("b", now + hour * 5)]);
}

fn effect(n: usize) -> Effect {
    let headers = BTreeMap::from([("x-a".to_owned(), "ü".to_owned())]);
    let call = Call::Http { method: "POST".into(), url: "https://example.com".into(), headers, body: n.to_string() };
    Effect::new("h", "/s", "event", n, call)
}

fn settle(n: usize, state: EffectState) -> Commit {
    let error = matches!(state, EffectState::Done).then(|| "no answer".to_owned());
    Commit { settled: vec![EffectOutcome { id: effect(n).id, state, error }], ..Commit::default() }
}

pub(super) async fn effects_are_tried_until_settled(rig: Rig) {
    applied(&rig, Commit { effects: (0..4).map(effect).collect(), ..Commit::default() }).await;
    let now = rig.clock.now() + TimeDelta::minutes(1);
    let due = |at: DateTime<Utc>| {
        let store = rig.store.clone();
        async move {
            let found = store.due_effects(at, 9).await.unwrap();
            found.into_iter().map(|due| (due.effect, due.attempts)).collect::<Vec<_>>()
        }
    };
    assert_eq!(due(now).await, (0..4).map(|n| (effect(n), 0)).collect::<Vec<_>>());
    assert_eq!(rig.store.due_effects(now, 2).await.unwrap().len(), 2);
    let later = now + TimeDelta::hours(1);
    applied(&rig, settle(0, EffectState::Done)).await;
    applied(&rig, settle(1, EffectState::Failed)).await;
    applied(&rig, settle(2, EffectState::Pending(later))).await;
    assert_eq!(due(now).await, [(effect(3), 0)]);
    assert_eq!(due(later).await, [(effect(3), 0), (effect(2), 1)]);
    applied(&rig, settle(3, EffectState::Done)).await;
    assert_eq!(rig.store.next_due(&[]).await.unwrap(), (None, Some(later)));
}

pub(super) async fn effects_given_up_are_found_and_begin_anew(rig: Rig) {
    let other = Effect::new("other", "/s", "elsewhere", 0, effect(0).call);
    let asked = (0..3).map(effect).chain([other.clone()]).collect();
    applied(&rig, Commit { effects: asked, ..Commit::default() }).await;
    let failed = |n: usize| {
        let outcome =
            EffectOutcome { id: effect(n).id, state: EffectState::Failed, error: Some("no answer ü".into()) };
        Commit { settled: vec![outcome], ..Commit::default() }
    };
    let listed = |query: EffectQuery| {
        let store = rig.store.clone();
        async move { store.effects(&EffectQuery { limit: query.limit.max(1) * 9, ..query }).await.unwrap() }
    };
    let given_up = || EffectQuery { phase: Some(EffectPhase::Failed), ..Default::default() };
    assert!(listed(given_up()).await.is_empty());
    applied(&rig, failed(0)).await;
    applied(&rig, failed(1)).await;
    let found = listed(given_up()).await;
    assert!(found.len() == 2 && found.is_sorted_by(|a, b| a.effect.id < b.effect.id), "{found:?}");
    assert!(found.iter().all(|one| one.state == EffectState::Failed && one.attempts == 1));
    assert!(found.iter().all(|one| one.error.as_deref() == Some("no answer ü")));
    let after = EffectQuery { after: Some(found[0].effect.id.clone()), ..given_up() };
    assert_eq!(listed(after).await, found[1..]);
    let of_cause = EffectQuery { causes: vec!["elsewhere".into(), "nowhere".into()], ..Default::default() };
    assert_eq!(listed(of_cause).await[0].effect, other);
    let of_consumer = EffectQuery { consumer: Some("h".into()), ..Default::default() };
    assert_eq!(listed(of_consumer).await.len(), 3);
    let one = EffectQuery { id: Some(effect(2).id), ..Default::default() };
    assert_eq!(listed(one).await[0].state.phase(), EffectPhase::Pending);
    // A late word of whoever gave it up changes nothing; an operator's does, once and from the beginning.
    applied(&rig, settle(0, EffectState::Done)).await;
    assert_eq!(listed(given_up()).await.len(), 2);
    let now = rig.clock.now() + TimeDelta::minutes(1);
    applied(&rig, settle(0, EffectState::Pending(now))).await;
    assert_eq!(listed(given_up()).await.len(), 1);
    let due = rig.store.due_effects(now, 9).await.unwrap();
    assert!(due.iter().any(|due| due.effect.id == effect(0).id && due.attempts == 0), "{due:?}");
}

pub(super) async fn an_effect_is_asked_for_once(rig: Rig) {
    let ask = || Commit { effects: vec![effect(0)], ..Commit::default() };
    applied(&rig, ask()).await;
    applied(&rig, ask()).await;
    let now = rig.clock.now() + TimeDelta::minutes(1);
    assert_eq!(rig.store.due_effects(now, 9).await.unwrap().len(), 1);
    applied(&rig, settle(0, EffectState::Done)).await;
    applied(&rig, ask()).await;
    assert!(rig.store.due_effects(now, 9).await.unwrap().is_empty());
}
