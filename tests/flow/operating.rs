//! What operators do to a running installation.

use tidewire::Service;
use tidewire::operate::{Actor, Operator};

use crate::flow::on_every_ground;
use crate::support::event::counted;
use crate::support::eventually;
use crate::support::handlers::{Tally, tallied};
use crate::support::world::{Life, World};

on_every_ground! {
    a_pause_is_obeyed_by_every_process_until_it_is_taken_back,
}

fn process(world: &World) -> Life {
    world.run(vec![Service::new("tests").handler(Tally::new("tally.paused")).handler(Tally::new("tally.going"))])
}

/// Until nobody consumes for it any more, anywhere.
async fn nobody_consumes(operator: &Operator) {
    eventually("every process has stopped taking its events", || async {
        let rows = operator.consumers().await.ok()?;
        let row = rows.iter().find(|row| row.name == "tally.paused")?;
        (row.members == 0 && row.paused.is_some()).then_some(())
    })
    .await;
}

async fn going(world: &World, numbers: u64) {
    eventually("the other consumer goes on", || async {
        (tallied(&world.ports, "tally.going", "k").await.len() as u64 == numbers).then_some(())
    })
    .await;
}

async fn a_pause_is_obeyed_by_every_process_until_it_is_taken_back(world: World) {
    let (one, other) = (process(&world), process(&world));
    world.append((1..=3).map(|n| counted(&world.ports, "k", n)).collect()).await;
    one.settled().await;
    let actor = Actor::house();
    one.operator.pause(&actor, "its table is being moved", "tally.paused").await.unwrap();
    nobody_consumes(&one.operator).await;
    world.append((4..=6).map(|n| counted(&world.ports, "k", n)).collect()).await;
    going(&world, 6).await;
    assert_eq!(tallied(&world.ports, "tally.paused", "k").await, [1, 2, 3], "nothing was taken");
    let row = one.operator.consumers().await.unwrap().into_iter().find(|row| row.name == "tally.paused").unwrap();
    assert_eq!(row.pending, 3, "how far behind it is still shows");
    // A process that starts meanwhile obeys as well.
    other.running.stop_token().cancel();
    one.end().await;
    other.end().await;
    let world = world.again().await;
    let next = process(&world);
    world.append((7..=9).map(|n| counted(&world.ports, "k", n)).collect()).await;
    going(&world, 9).await;
    assert_eq!(tallied(&world.ports, "tally.paused", "k").await, [1, 2, 3]);
    next.operator.resume(&actor, "moved", "tally.paused").await.unwrap();
    next.settled().await;
    assert_eq!(tallied(&world.ports, "tally.paused", "k").await, (1..=9).collect::<Vec<u64>>(), "in order, once");
    next.end().await;
}
