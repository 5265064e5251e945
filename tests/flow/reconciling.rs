//! A broker that lost what it had acknowledged: everything not handled is delivered all the same.
//!
//! On the embedded broker only, whose files are the test's own. Servers are wiped under load in `tests/fault`: nobody
//! wipes one that other tests use.

use tidewire::Service;

use crate::support::event::counted;
use crate::support::handlers::{Tally, tallied};
use crate::support::world::{Place, World};

/// The same log, and a broker whose files are gone.
async fn without_its_broker(world: World) -> World {
    let Place::Folder(dir) = &world.place else { panic!("files are wiped only here") };
    std::fs::remove_dir_all(dir.path().join("broker")).expect("the broker's files were there");
    world.again().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_broker_gets_everything_again_and_nothing_is_handled_twice() {
    let world = World::embedded().await;
    let append = async |world: &World, from: u64, to: u64| {
        for n in from..=to {
            world.append((0..10).map(|key| counted(&world.ports, &key.to_string(), n)).collect()).await;
        }
    };
    let tally = || vec![Service::new("tests").handler(Tally::new("tally"))];
    let life = world.run(tally());
    append(&world, 1, 20).await;
    life.settled().await;
    life.end().await;

    // Published, and handled by nobody.
    let world = world.again().await;
    let life = world.run(Vec::new());
    append(&world, 21, 40).await;
    crate::support::eventually("the relay has published all of them", || async {
        let status = life.operator.status().await.ok()?;
        (status.extent.last == 400 && status.relays[0].behind == 0).then_some(())
    })
    .await;
    life.end().await;

    let world = without_its_broker(world).await;
    let life = world.run(tally());
    life.settled().await;
    append(&world, 41, 45).await;
    life.settled().await;
    for key in 0..10 {
        assert_eq!(tallied(&world.ports, "tally", &key.to_string()).await, (1..=45).collect::<Vec<u64>>());
    }
    let audit = life.operator.audit().await.unwrap();
    assert_eq!((audit.lost, audit.appended, audit.published), (0, 450, 450), "{audit:?}");
    life.end().await;
}
