//! Replays and rebuilds while live traffic goes on.

use std::time::Duration;

use tidewire::operate::Actor;
use tidewire::replay::{Asked, Job, ProjectionRow, RebuildRequest, Replays, Request, State, Target, Wanted};
use tidewire::{Envelope, Projection, Service};

use crate::flow::on_every_ground;
use crate::support::event::Counting;
use crate::support::handlers::{Tally, tallied};
use crate::support::load::Load;
use crate::support::world::World;
use crate::support::{PATIENCE, within};

on_every_ground! {
    a_rebuild_under_load_neither_loses_nor_doubles_anything,
    a_replay_while_live_leaves_live_traffic_alone,
}

/// What every counter counted, in order.
struct Lists;

impl Projection for Lists {
    const NAME: &'static str = "tests.lists";
    const COLLECTION: &'static str = "lists";
    type Event = Counting;
    type Row = Vec<u64>;
    fn rows(Counting::Counted(counted): &Counting, _: &Envelope) -> Vec<String> {
        vec![counted.key.clone()]
    }
    fn apply(row: &mut Option<Vec<u64>>, _: &str, Counting::Counted(counted): &Counting, _: &Envelope) {
        row.get_or_insert_default().push(counted.n);
    }
}

fn asked() -> Asked {
    Asked { actor: Actor::house(), reason: "a test".into(), with_effects: false }
}

async fn ended(replays: &Replays, job: &Job) -> Job {
    within(2 * PATIENCE, "the replay ends", || async {
        let job = replays.job(&job.id).await.ok()?;
        (!job.state.is_open()).then_some(job)
    })
    .await
}

async fn row(replays: &Replays) -> ProjectionRow {
    replays.projections().await.expect("an answer").remove(0)
}

async fn a_rebuild_under_load_neither_loses_nor_doubles_anything(world: World) {
    let life = world.run(vec![Service::new("tests").projection(Lists)]);
    let replays = life.operator.replays();
    let load = Load::start(&world.ports, 2, Duration::from_millis(4));
    load.accepts(50).await;
    for generation in 2..=3 {
        let job = replays.rebuild(Lists::NAME, &RebuildRequest::default(), &asked()).await.expect("applied");
        let job = ended(&replays, &job).await;
        assert_eq!((job.state, job.generation), (State::Done, Some(generation)), "{job:?}");
        let compared = job.compared.expect("a comparison");
        assert_eq!(compared.differing, 0, "the same events make the same rows: {compared:?}");
        load.accepts(20).await;
    }
    let back = RebuildRequest { rollback: true, ..RebuildRequest::default() };
    let job = replays.rebuild(Lists::NAME, &back, &asked()).await.expect("applied");
    assert_eq!(ended(&replays, &job).await.state, State::Done);
    assert_eq!(row(&replays).await.generation, 2);
    load.accepts(20).await;
    let ledger = load.end().await;
    life.settled().await;
    for (key, n) in ledger.counters() {
        assert_eq!(tallied(&world.ports, Lists::COLLECTION, &key).await, (1..=n).collect::<Vec<u64>>(), "{key}");
    }
    life.end().await;
}

async fn a_replay_while_live_leaves_live_traffic_alone(world: World) {
    let live = Tally::new("tally.replayed");
    let life = world.run(vec![Service::new("tests").handler(live)]);
    let replays = life.operator.replays();
    let load = Load::start(&world.ports, 2, Duration::from_millis(4));
    load.accepts(60).await;
    // Nothing it has handled is handled again, and what it has not is handled once, whoever is first.
    let target = Target::Consumer { name: "tally.replayed".into(), again: false };
    let request = Request { events: Wanted::default(), target, with_effects: false, rate: None };
    for _ in 0..3 {
        let plan = replays.plan(&request).await.expect("a plan");
        let job = replays.apply(&plan.hash, &asked()).await.expect("applied");
        let job = ended(&replays, &job).await;
        assert_eq!(job.state, State::Done, "{job:?}");
        assert_eq!(job.counts.already + job.counts.handled, plan.report.events, "{job:?}");
    }
    let ledger = load.end().await;
    life.settled().await;
    for (key, n) in ledger.counters() {
        assert_eq!(tallied(&world.ports, "tally.replayed", &key).await, (1..=n).collect::<Vec<u64>>(), "{key}");
    }
    life.end().await;
}
