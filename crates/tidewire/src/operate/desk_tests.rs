//! The desk of parked events, effects and pauses, over a real store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use tidewire_core::cesql::Expression;
use tidewire_core::effect::{EffectOutcome, EffectQuery, EffectState};
use tidewire_core::handler::{Consumer, HandlerError};
use tidewire_core::store::{Parked, ParkedQuery, Selection};
use tidewire_core::{
    Append, Call, Clock as _, Commit, Context, Effect, Envelope, EventType, Expect, Handler, Key, Mark, Park,
};

use super::tests::House;
use super::{Actor, OPERATOR_ACTED, OperateError, Operator, ParkedSelection, Redrive, Word};

/// Fails at whatever has `"bad": true` in its data, until it is mended; writes down whatever it ran.
#[derive(Default)]
struct Picky {
    ran: Mutex<Vec<String>>,
    mended: AtomicBool,
}

#[async_trait]
impl Handler for Picky {
    fn consumer(&self) -> Consumer {
        Consumer::new("picky", vec![EventType::new("thing.happened", 1), EventType::new("other.happened", 1)])
    }

    async fn handle(&self, event: &Envelope, _: &mut Context<'_>) -> Result<(), HandlerError> {
        // Long enough for somebody else to come in between.
        tokio::task::yield_now().await;
        self.ran.lock().unwrap().push(event.id.clone());
        let data: Value = serde_json::from_slice(event.data.as_deref().unwrap()).unwrap();
        match data["bad"] == true && !self.mended.load(Ordering::Relaxed) {
            true => Err(HandlerError::permanent("test.refused", "it is bad")),
            false => Ok(()),
        }
    }
}

struct Desk {
    house: House,
    picky: Arc<Picky>,
    operator: Operator,
    actor: Actor,
}

impl Desk {
    async fn new() -> Self {
        let (house, picky) = (House::new().await, Arc::new(Picky::default()));
        let operator = Operator::new(&house.ports, vec![(picky.clone(), "/tests".into())], Default::default());
        Self { house, picky, operator, actor: Actor::of(None, &Default::default()) }
    }

    /// Appends an event, and parks it: for its own sake, or behind another one.
    async fn park(&self, name: &'static str, key: &str, bad: bool, code: &str) -> Envelope {
        let clock = self.house.clock.as_ref();
        let data = Some(json!({ "bad": bad }).to_string().into());
        let draft = tidewire_core::Draft {
            ty: EventType::new(name, 1),
            key: Key::new(key).unwrap(),
            data,
            datacontenttype: None,
            subject: None,
            id: None,
            correlationid: None,
            expirytime: None,
            dataref: None,
            extensions: Default::default(),
        };
        let envelope = draft.seal(clock, "/tests", None);
        let park = Park {
            consumer: "picky".into(),
            envelope: envelope.clone(),
            code: code.into(),
            reason: "as it was".into(),
            attempts: 8,
            follower: code == "parked.behind",
            place: None,
        };
        let append = vec![Append { key: envelope.key.clone(), expect: Expect::Any, events: vec![envelope.clone()] }];
        self.house.commit(Commit { append, park: vec![park], ..Commit::default() }).await;
        envelope
    }

    async fn parked(&self) -> Vec<Parked> {
        self.house.ports.store.parked(&ParkedQuery { limit: 100, ..Default::default() }).await.unwrap()
    }

    async fn redrive(&self, selection: ParkedSelection) -> Vec<(String, bool)> {
        let redrive = Redrive { consumer: "picky", selection, after: 0, limit: 100, dry_run: false };
        let report = self.operator.redrive_selected(&self.actor, "mended", &redrive).await.unwrap();
        report.items.into_iter().map(|one| (one.id, one.handled)).collect()
    }

    /// What operators did, in order: verb, target, and the details.
    async fn acted(&self) -> Vec<Value> {
        let selection = Selection { names: vec![OPERATOR_ACTED.name().to_owned()], limit: 1_000, ..Default::default() };
        let found = self.house.ports.store.read(&selection).await.unwrap();
        found.iter().map(|one| serde_json::from_slice(one.envelope.data.as_deref().unwrap()).unwrap()).collect()
    }
}

fn only(change: impl FnOnce(&mut ParkedSelection)) -> ParkedSelection {
    let mut selection = ParkedSelection::default();
    change(&mut selection);
    selection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_parked_is_grouped_by_its_cause() {
    let desk = Desk::new().await;
    for (name, key, code) in [
        ("thing.happened", "a", "test.refused"),
        ("thing.happened", "b", "test.refused"),
        ("thing.happened", "a", "parked.behind"),
        ("other.happened", "c", "test.refused"),
        ("thing.happened", "b", "test.refused"),
    ] {
        desk.park(name, key, true, code).await;
    }
    let groups = desk.operator.parked_groups(&ParkedSelection::default()).await.unwrap();
    let shown: Vec<_> =
        groups.items.iter().map(|g| (g.code.as_str(), g.ty.as_str(), g.events, g.keys, g.ordinal)).collect();
    assert_eq!(
        shown,
        [
            ("test.refused", "thing.happened.v1", 3, 2, 1),
            ("parked.behind", "thing.happened.v1", 1, 1, 3),
            ("test.refused", "other.happened.v1", 1, 1, 4),
        ]
    );
    assert!(groups.complete);
    let of_other = only(|selection| selection.ty = Some("other.happened".into()));
    assert_eq!(desk.operator.parked_groups(&of_other).await.unwrap().items.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_selection_is_redriven_in_order_with_what_waits_behind_it() {
    let desk = Desk::new().await;
    let a1 = desk.park("thing.happened", "a", false, "test.refused").await;
    let b1 = desk.park("other.happened", "b", false, "test.refused").await;
    let a2 = desk.park("other.happened", "a", false, "parked.behind").await;
    let b2 = desk.park("thing.happened", "b", false, "test.refused").await;
    let c1 = desk.park("thing.happened", "c", true, "test.refused").await;
    let c2 = desk.park("thing.happened", "c", false, "parked.behind").await;
    // By its number alone, one that is not the first of its key does not overtake.
    let behind = desk.redrive(only(|selection| selection.ordinals = vec![4])).await;
    assert_eq!(behind, [(b2.id.clone(), false)]);
    assert!(desk.picky.ran.lock().unwrap().is_empty());
    let filter = Expression::filter("type = 'thing.happened.v1'").unwrap();
    let planned = Redrive {
        consumer: "picky",
        selection: only(|selection| selection.filter = Some(filter.clone())),
        after: 0,
        limit: 100,
        dry_run: true,
    };
    let planned = desk.operator.redrive_selected(&desk.actor, "", &planned).await.unwrap();
    let planned: Vec<_> = planned.items.into_iter().map(|one| one.id).collect();
    assert_eq!(planned, [&a1.id, &a2.id, &c1.id, &c2.id].map(Clone::clone), "as if all of it worked");
    assert!(desk.picky.ran.lock().unwrap().is_empty() && desk.acted().await.is_empty());
    let done = desk.redrive(only(|selection| selection.filter = Some(filter.clone()))).await;
    assert_eq!(done, [(a1.id.clone(), true), (a2.id, true), (c1.id.clone(), false)]);
    let left: Vec<_> = desk.parked().await.into_iter().map(|one| one.envelope.id).collect();
    assert_eq!(left, [b1.id, b2.id, c1.id.clone(), c2.id]);
    // The one that failed again is in its place, with what it failed of.
    let failed = desk.operator.parked_one(5).await.unwrap();
    assert_eq!((failed.attempts, failed.reason.as_str()), (9, "it is bad"));
    let history = desk.operator.parked_history(&c1).await.unwrap();
    assert_eq!((history.len(), history[0].error.as_deref()), (1, Some("it is bad")));
    let acted = desk.acted().await;
    assert_eq!(acted.len(), 3);
    assert_eq!((&acted[0]["verb"], &acted[0]["target"]), (&json!("parked redrive"), &json!("picky#1")));
    assert_eq!((&acted[0]["actor"], &acted[0]["reason"]), (&json!("local"), &json!("mended")));
    assert_eq!(acted[0]["details"]["event"], json!(a1.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn operators_at_once_run_nothing_twice() {
    let desk = Arc::new(Desk::new().await);
    for n in 0..40 {
        let key = format!("k{}", n % 4);
        desk.park("thing.happened", &key, false, if n < 4 { "test.refused" } else { "parked.behind" }).await;
    }
    let at_once = (0..4).map(|_| {
        let desk = desk.clone();
        tokio::spawn(async move { desk.redrive(ParkedSelection::default()).await.len() })
    });
    let tried: Vec<usize> = futures::future::join_all(at_once).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(tried.iter().sum::<usize>(), 40, "{tried:?}");
    let ran = desk.picky.ran.lock().unwrap().clone();
    assert_eq!(ran.len(), 40);
    assert_eq!(desk.acted().await.len(), 40);
    assert!(desk.parked().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redrive_in_parts_overtakes_nothing() {
    let desk = Desk::new().await;
    let mut ids = Vec::new();
    for n in 0..6 {
        let key = if n % 2 == 0 { "a" } else { "b" };
        // The first of `a` fails: all of `a` stays.
        ids.push(
            desk.park("thing.happened", key, n == 0, if n < 2 { "test.refused" } else { "parked.behind" }).await.id,
        );
    }
    let (mut after, mut handled) = (0, Vec::new());
    loop {
        let redrive = Redrive { consumer: "picky", selection: Default::default(), after, limit: 1, dry_run: false };
        let report = desk.operator.redrive_selected(&desk.actor, "", &redrive).await.unwrap();
        handled.extend(report.items.into_iter().filter(|one| one.handled).map(|one| one.id));
        let Some(next) = report.next else { break };
        after = next;
    }
    assert_eq!(handled, [&ids[1], &ids[3], &ids[5]].map(Clone::clone));
    assert_eq!(desk.picky.ran.lock().unwrap().len(), 4, "of `a` only the first was tried");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_event_keeps_its_place_and_its_history() {
    let desk = Desk::new().await;
    let bad = desk.park("thing.happened", "a", true, "test.refused").await;
    let behind = desk.park("thing.happened", "a", false, "parked.behind").await;
    let (parked, after) = desk.operator.edit_preview(1, Bytes::from_static(br#"{"bad":false}"#)).await.unwrap();
    let (again, other) = (parked.clone(), after.clone());
    let edited = desk.operator.edit(&desk.actor, "the flag is wrong", parked, after).await.unwrap();
    assert_eq!((&edited.before.id, edited.after.key.as_str()), (&bad.id, "a"));
    assert_ne!(edited.after.id, bad.id);
    assert_eq!(edited.after.extensions["editedfrom"].to_text(), bad.id);
    let second = desk.operator.edit(&desk.actor, "me too", again, other).await;
    assert!(matches!(second, Err(OperateError::Changed { ordinal: 1 })), "{second:?}");
    // Whatever the broker hands out again of the old one is known.
    assert_eq!(desk.house.ports.store.seen("picky", &[Mark::of(&bad)]).await.unwrap(), [true]);
    let done = desk.redrive(ParkedSelection::default()).await;
    assert_eq!(done, [(edited.after.id.clone(), true), (behind.id, true)]);
    let history = desk.operator.parked_history(&edited.after).await.unwrap();
    assert_eq!(history.iter().map(|one| one.verb.as_str()).collect::<Vec<_>>(), ["parked edit", "parked redrive"]);
    // The tree of the old one shows what was done to it.
    let selection = Selection { id: Some(bad.id), limit: 1, ..Default::default() };
    let root = desk.house.ports.store.read(&selection).await.unwrap().remove(0);
    let why = desk.operator.why(root, |_| true, true).await.unwrap();
    assert_eq!(why.tree.consumers[0].outcome, Word::Handled);
    let edit = &why.tree.followed[0];
    assert_eq!(edit.acted.as_ref().unwrap()["details"]["after"], json!(r#"{"bad":false}"#));
    assert_eq!(edit.followed[0].acted.as_ref().unwrap()["verb"], json!("parked redrive"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waited_behind_a_dropped_event_goes_on() {
    let desk = Desk::new().await;
    let bad = desk.park("thing.happened", "a", true, "test.refused").await;
    let behind = [
        desk.park("thing.happened", "a", false, "parked.behind").await.id,
        desk.park("thing.happened", "a", false, "parked.behind").await.id,
    ];
    let worse = desk.park("thing.happened", "a", true, "parked.behind").await;
    let last = desk.park("thing.happened", "a", false, "parked.behind").await;
    let dropped = desk.operator.drop_parked(&desk.actor, "nobody needs it", 1).await.unwrap();
    assert_eq!(dropped.id, bad.id);
    let followed: Vec<_> = dropped.followed.iter().map(|one| (one.id.as_str(), one.handled)).collect();
    assert_eq!(followed, [(behind[0].as_str(), true), (behind[1].as_str(), true), (worse.id.as_str(), false)]);
    let left = desk.parked().await;
    let left: Vec<_> = left.iter().map(|one| (one.envelope.id.as_str(), one.code.as_str())).collect();
    // What failed now has its own cause, and is no longer only behind something.
    assert_eq!(left, [(worse.id.as_str(), "test.refused"), (last.id.as_str(), "parked.behind")]);
    assert_eq!(desk.house.ports.store.seen("picky", &[Mark::of(&bad)]).await.unwrap(), [true]);
    let again = desk.operator.drop_parked(&desk.actor, "", 1).await;
    assert!(matches!(again, Err(OperateError::NotParked { ordinal: 1 })), "{again:?}");
    assert_eq!(desk.acted().await[0]["verb"], json!("parked drop"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn effects_given_up_are_tried_again_on_request() {
    let desk = Desk::new().await;
    let cause = desk.park("thing.happened", "a", false, "test.refused").await;
    let call = Call::Mail { to: "ana@example.com".into(), subject: "s".into(), text: "t".into() };
    let effect = Effect::new("picky", "/tests", &cause.id, 0, call);
    desk.house.commit(Commit { effects: vec![effect.clone()], ..Commit::default() }).await;
    let query = EffectQuery { limit: 10, ..Default::default() };
    assert!(desk.operator.retry_effects(&desk.actor, "", &query).await.unwrap().is_empty(), "it is still tried");
    let outcome = EffectOutcome { id: effect.id.clone(), state: EffectState::Failed, error: Some("no answer".into()) };
    desk.house.commit(Commit { settled: vec![outcome], ..Commit::default() }).await;
    let retried = desk.operator.retry_effects(&desk.actor, "the server is back", &query).await.unwrap();
    assert_eq!((retried[0].state, retried[0].target.as_str()), ("pending", "ana@example.com"));
    let due = desk.house.ports.store.due_effects(desk.house.clock.now(), 10).await.unwrap();
    assert_eq!((due.len(), due[0].attempts), (1, 0));
    let acted = desk.acted().await;
    assert_eq!((&acted[0]["verb"], &acted[0]["details"]["error"]), (&json!("effects retry"), &json!("no answer")));
    let selection = Selection { id: Some(cause.id), limit: 1, ..Default::default() };
    let root = desk.house.ports.store.read(&selection).await.unwrap().remove(0);
    let why = desk.operator.why(root.clone(), |_| true, true).await.unwrap();
    assert_eq!((why.tree.consumers[0].outcome, why.tree.consumers[0].ordinal), (Word::Parked, Some(1)));
    assert_eq!((why.tree.effects[0].kind, why.tree.effects[0].state), ("mail", "pending"));
    assert_eq!(why.tree.followed[0].ty, OPERATOR_ACTED.to_string());
    let events_only = desk.operator.why(root, |recorded| recorded.envelope.ty != OPERATOR_ACTED, false).await.unwrap();
    assert!(events_only.tree.consumers.is_empty() && events_only.tree.followed.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_is_kept_told_and_taken_back() {
    let desk = Desk::new().await;
    let paused = desk.operator.pause(&desk.actor, "the database is moved", "picky").await.unwrap();
    assert_eq!(paused.reason, "the database is moved");
    desk.house.clock.advance(chrono::TimeDelta::hours(1));
    let again = desk.operator.pause(&desk.actor, "me too", "picky").await.unwrap();
    assert_eq!(again, paused, "the first one holds");
    let row = desk.operator.consumers().await.unwrap().remove(0);
    assert_eq!(row.paused.as_ref(), Some(&paused));
    let nobody = desk.operator.pause(&desk.actor, "", "nobody").await;
    assert!(matches!(nobody, Err(OperateError::NoConsumer { .. })), "{nobody:?}");
    assert_eq!(desk.operator.resume(&desk.actor, "done", "picky").await.unwrap(), Some(paused));
    assert_eq!(desk.operator.resume(&desk.actor, "done", "picky").await.unwrap(), None);
    assert!(desk.operator.consumers().await.unwrap()[0].paused.is_none());
    let acted = desk.acted().await;
    let verbs: Vec<_> = acted.iter().map(|one| one["verb"].as_str().unwrap()).collect();
    assert_eq!(verbs, ["consumers pause", "consumers resume"]);
    assert_eq!(acted[1]["details"]["paused_seconds"], json!(3_600));
}
