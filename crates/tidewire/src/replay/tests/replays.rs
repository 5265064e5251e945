use super::*;

fn request(target: Target) -> Request {
    Request { events: Wanted::default(), target, with_effects: false, rate: None }
}

fn again() -> Target {
    Target::Consumer { name: TELLER.into(), again: true }
}

async fn four(rig: &Rig) {
    rig.add_as(1, "a", 1, "us").await;
    rig.add("a", 2).await;
    rig.add("b", 3).await;
    rig.add("c", 4).await;
}

#[tokio::test]
async fn a_plan_says_what_would_happen_and_changes_nothing() {
    let rig = Rig::new().await;
    four(&rig).await;
    rig.live(TELLER).await;
    rig.park(SUMS, "b").await;
    let head = rig.ports.store.head().await.unwrap();
    let plan = rig.desk.plan(&request(again())).await.unwrap();
    let report = &plan.report;
    assert_eq!((report.events, report.handlers.clone()), (8, vec![TELLER.to_owned()]), "{report:?}");
    assert_eq!(report.types, [("sum.added.v1".to_owned(), 1), ("sum.added.v2".to_owned(), 7)].into());
    assert_eq!(report.upcasts, [("sum.added.v1 to v2".to_owned(), 1)].into());
    let trial = report.trial.clone().unwrap();
    assert_eq!((trial.effects["mail"], trial.emitted["sum.added.v2"], trial.timers, trial.failed), (8, 8, 8, 0));
    assert!(report.bytes > 0 && report.seconds > 0.0 && report.first.is_some() && plan.hash.len() == 32);
    // What is appended later is not in it, and the same wish has another name then.
    rig.add("d", 5).await;
    let kept = rig.desk.planned(&plan.hash).await.unwrap();
    // JSON may round the last digit of the seconds.
    assert_eq!((&kept.terms, &kept.report.types), (&plan.terms, &plan.report.types));
    assert_eq!(kept.terms.hash(), plan.hash);
    assert_ne!(rig.desk.plan(&request(again())).await.unwrap().hash, plan.hash);
    assert_eq!(rig.ports.store.head().await.unwrap(), Position(head.0 + 1));
    assert_eq!(rig.row("told", "a").await, Some(2));
}

#[tokio::test]
async fn a_plan_is_of_what_was_asked_for() {
    let rig = Rig::new().await;
    four(&rig).await;
    let of = |events: Wanted| {
        let desk = rig.desk.clone();
        async move { desk.plan(&Request { events, ..request(Target::File) }).await.map(|plan| plan.report.events) }
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(of(Wanted { from: some("2"), to: some("3"), ..Wanted::default() }).await.unwrap(), 2);
    assert_eq!(of(Wanted { key: some("sum/a"), ..Wanted::default() }).await.unwrap(), 2);
    assert_eq!(of(Wanted { filter: some("partitionkey = 'sum/c'"), ..Wanted::default() }).await.unwrap(), 1);
    assert_eq!(of(Wanted { types: vec!["sum.*".into()], ..Wanted::default() }).await.unwrap(), 4);
    assert_eq!(of(Wanted { from: some("1h"), ..Wanted::default() }).await.unwrap(), 4);
    assert_eq!(of(Wanted { to: some("1h"), ..Wanted::default() }).await.unwrap(), 0);
    for (wanted, code) in [
        (Wanted { types: vec!["sum.lost".into()], ..Wanted::default() }, "replay.invalid"),
        (Wanted { from: some("yesterday"), ..Wanted::default() }, "replay.invalid"),
        (Wanted { filter: some("type ="), ..Wanted::default() }, "filter.invalid"),
        (Wanted { key: some(""), ..Wanted::default() }, "replay.invalid"),
    ] {
        assert_eq!(of(wanted.clone()).await.unwrap_err().code(), code, "{wanted:?}");
    }
}

#[tokio::test]
async fn a_replay_mutes_effects_events_and_timers_by_construction() {
    let rig = Rig::new().await;
    four(&rig).await;
    let now = rig.ports.clock.now() + chrono::TimeDelta::days(1);
    let effects = || async { rig.ports.store.due_effects(now, 100).await.unwrap().len() };
    let plan = rig.desk.plan(&request(again())).await.unwrap();
    rig.desk.apply(&plan.hash, &by("test")).await.unwrap();
    let job = rig.carry_out(&plan.hash).await;
    assert_eq!((job.state, job.counts.handled), (State::Done, 4), "{job:?}");
    assert_eq!((job.counts.muted_effects, job.counts.muted_events, job.counts.muted_timers), (4, 4, 4));
    assert_eq!((effects().await, rig.events_of("sum.added").await), (0, 4));
    assert!(rig.ports.store.due_timers(&[TELLER.to_owned()], now, 10).await.unwrap().is_empty());
    assert_eq!(rig.row("told", "a").await, Some(2));
    // The same plan again is done already; the same wish again is another generation.
    let again_job = rig.desk.apply(&plan.hash, &by("test")).await.unwrap();
    assert_eq!((again_job.state, again_job.counts.handled), (State::Done, 4));
    assert_eq!(rig.row("told", "a").await, Some(2));
    let mut wish = request(again());
    wish.events.to = Some("4".into());
    let next = rig.desk.plan(&wish).await.unwrap();
    assert_eq!(next.terms.generation, 2);
    rig.desk.apply(&next.hash, &by("test")).await.unwrap();
    rig.carry_out(&next.hash).await;
    assert_eq!(rig.row("told", "a").await, Some(4));
}

#[tokio::test]
async fn effects_are_carried_out_again_only_if_everybody_says_so() {
    let rig = Rig::new().await;
    rig.add("a", 1).await;
    rig.live(TELLER).await;
    let later = rig.ports.clock.now() + chrono::TimeDelta::days(1);
    let due = || async { rig.ports.store.due_effects(later, 100).await.unwrap().len() };
    assert_eq!(due().await, 1);
    let wish = Request { with_effects: true, ..request(again()) };
    let wish = Request { events: Wanted { to: Some("1".into()), ..Wanted::default() }, ..wish };
    let plan = rig.desk.plan(&wish).await.unwrap();
    for (with_effects, reason) in [(false, "why not"), (true, " ")] {
        let asked = Asked { actor: Actor::house(), reason: reason.into(), with_effects };
        assert_eq!(rig.desk.apply(&plan.hash, &asked).await.unwrap_err().code(), "replay.unconfirmed");
    }
    let asked = Asked { actor: Actor::house(), reason: "the letters were lost".into(), with_effects: true };
    rig.desk.apply(&plan.hash, &asked).await.unwrap();
    let job = rig.carry_out(&plan.hash).await;
    assert_eq!((job.state, job.counts.muted_effects), (State::Done, 0));
    assert_eq!(due().await, 2, "under another id than the first time");
}

#[tokio::test]
async fn what_was_handled_is_left_alone_unless_asked_again() {
    let rig = Rig::new().await;
    rig.add("a", 1).await;
    rig.live(TELLER).await;
    rig.add("b", 1).await;
    let target = Target::Consumer { name: TELLER.into(), again: false };
    let plan = rig.desk.plan(&request(target)).await.unwrap();
    assert_eq!((plan.report.events, plan.report.handled), (3, Some(1)));
    rig.desk.apply(&plan.hash, &by("test")).await.unwrap();
    let job = rig.carry_out(&plan.hash).await;
    assert_eq!((job.counts.already, job.counts.handled), (1, 2), "{job:?}");
    assert_eq!((rig.row("told", "a").await, rig.row("told", "b").await), (Some(1), Some(1)));
    let names = vec!["sum.added".to_owned()];
    let head = rig.ports.store.head().await.unwrap();
    assert!(rig.ports.store.unhandled(TELLER, &names, head, 1).await.unwrap().is_empty(), "it counts as handled");
}

#[tokio::test]
async fn under_another_name_nothing_live_is_touched() {
    let rig = Rig::new().await;
    four(&rig).await;
    rig.live(TELLER).await;
    let target = Target::New { name: "shadow".into(), handler: TELLER.into() };
    let mut wish = request(target);
    wish.events.to = Some("4".into());
    let plan = rig.desk.plan(&wish).await.unwrap();
    rig.desk.apply(&plan.hash, &by("test")).await.unwrap();
    assert_eq!(rig.carry_out(&plan.hash).await.state, State::Done);
    assert_eq!((rig.row("told", "a").await, rig.row("told~shadow", "a").await), (Some(2), Some(2)));
    let bad = Target::New { name: "1".into(), handler: TELLER.into() };
    assert_eq!(rig.desk.plan(&request(bad)).await.unwrap_err().code(), "replay.invalid");
}

#[tokio::test]
async fn of_two_operators_the_second_is_refused() {
    let rig = Rig::new().await;
    four(&rig).await;
    let plan = rig.desk.plan(&request(again())).await.unwrap();
    let mut other = request(again());
    other.events.to = Some("2".into());
    let other = rig.desk.plan(&other).await.unwrap();
    let asked = by("test");
    let (first, second) = tokio::join!(rig.desk.apply(&plan.hash, &asked), rig.desk.apply(&plan.hash, &asked));
    let refused: Vec<&str> = [first, second].iter().filter_map(|told| told.as_ref().err().map(|e| e.code())).collect();
    assert_eq!(refused, ["replay.busy"]);
    assert_eq!(rig.desk.apply(&other.hash, &asked).await.unwrap_err().code(), "replay.busy", "the same target");
    rig.carry_out(&plan.hash).await;
    rig.desk.apply(&other.hash, &asked).await.unwrap();
}

#[tokio::test]
async fn a_stopped_replay_goes_on_where_it_was() {
    let rig = Rig::new().await;
    four(&rig).await;
    let plan = rig.desk.plan(&request(again())).await.unwrap();
    rig.desk.apply(&plan.hash, &by("test")).await.unwrap();
    assert_eq!(rig.desk.stop(&plan.hash, &Actor::house(), "wait").await.unwrap().state, State::Stopped);
    assert_eq!(rig.carry_out(&plan.hash).await.counts.handled, 0);
    rig.desk.apply(&plan.hash, &by("test")).await.unwrap();
    assert_eq!(rig.carry_out(&plan.hash).await.state, State::Done);
    assert_eq!(rig.row("told", "a").await, Some(2));
}

#[tokio::test]
async fn an_event_that_fails_stops_it_right_there() {
    let rig = Rig::new().await;
    rig.add("a", 1).await;
    rig.add_as(2, "b", 1, "fails").await;
    rig.add("c", 1).await;
    let plan = rig.desk.plan(&request(again())).await.unwrap();
    assert_eq!(plan.report.trial.as_ref().unwrap().failed, 1);
    rig.desk.apply(&plan.hash, &by("test")).await.unwrap();
    let job = rig.carry_out(&plan.hash).await;
    assert_eq!((job.state, job.position, job.counts.handled), (State::Failed, Position(1), 1), "{job:?}");
    let trouble = job.trouble.unwrap();
    assert_eq!(trouble.code, "handler.failed");
    assert!(trouble.event.is_some());
    assert_eq!((rig.row("told", "a").await, rig.row("told", "c").await), (Some(1), None));
}

#[tokio::test]
async fn what_this_build_does_not_know_is_planned_and_not_applied() {
    let rig = Rig::new().await;
    rig.add_as(3, "a", 1, "us").await;
    let plan = rig.desk.plan(&request(again())).await.unwrap();
    assert_eq!(plan.report.newer, [("sum.added.v3".to_owned(), 1)].into());
    assert_eq!(rig.desk.apply(&plan.hash, &by("test")).await.unwrap_err().code(), "replay.newer_version");
}

#[tokio::test]
async fn handlers_that_cannot_be_muted_are_refused() {
    let rig = Rig::new().await;
    rig.add("a", 1).await;
    for (target, code) in [
        (Target::Consumer { name: "test.outsider".into(), again: true }, "replay.not_replayable"),
        (Target::Consumer { name: SUMS.into(), again: true }, "replay.not_replayable"),
        (Target::Projection { name: TELLER.into(), rollback: false, only_if_equal: false }, "replay.not_replayable"),
        (Target::Consumer { name: "nobody".into(), again: true }, "consumer.not_found"),
        (Target::Domain { name: "copy".into() }, "replay.no_domains"),
    ] {
        assert_eq!(rig.desk.plan(&request(target.clone())).await.unwrap_err().code(), code, "{target:?}");
    }
    assert_eq!(rig.desk.apply("none", &by("test")).await.unwrap_err().code(), "replay.not_found");
}

#[tokio::test]
async fn events_for_a_file_come_page_by_page() {
    let rig = Rig::new().await;
    four(&rig).await;
    let plan = rig.desk.plan(&request(Target::File)).await.unwrap();
    assert_eq!(rig.desk.apply(&plan.hash, &by("test")).await.unwrap_err().code(), "replay.invalid");
    let (first, after, last) = rig.desk.events(&plan.hash, Position(0), 3).await.unwrap();
    assert_eq!((first.len(), after, last), (3, Position(3), false));
    let (rest, _, last) = rig.desk.events(&plan.hash, after, 3).await.unwrap();
    assert_eq!((rest.len(), last), (1, true));
}
