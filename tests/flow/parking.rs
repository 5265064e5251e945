//! Parking: one bad event holds up its key and nothing else, and comes back in order.

use tidewire::consume::ConsumeOptions;
use tidewire::store::ParkedQuery;
use tidewire::{EventType, HandlerError, Key, Service};

use crate::flow::on_every_ground;
use crate::support::event::counted;
use crate::support::eventually;
use crate::support::handlers::{Count, Switch, Tally, tallied};
use crate::support::world::{World, quick};

on_every_ground! {
    a_parked_key_comes_back_in_order_and_only_to_its_consumer,
    two_operators_redrive_nothing_twice,
    the_last_word_of_a_handler_counts_as_handled,
    a_newer_version_waits_for_the_build_that_knows_it,
    a_consumer_that_fails_at_everything_stops_parking_in_time,
    what_has_expired_is_passed_over,
}

async fn parked(world: &World) -> usize {
    world.ports.store.parked(&ParkedQuery { limit: 1_000, ..ParkedQuery::default() }).await.expect("read").len()
}

async fn a_parked_key_comes_back_in_order_and_only_to_its_consumer(world: World) {
    let (mended, others) = (Switch::default(), Count::default());
    let broken = {
        let mended = mended.clone();
        Tally::new("tally.broken").behaving(move |event, _| {
            match event.key == "bad" && event.n == 2 && !mended.is_on() {
                true => Err(HandlerError::permanent("test.refused", "no")),
                false => Ok(()),
            }
        })
    };
    let bystander = {
        let others = others.clone();
        Tally::new("tally.bystander").behaving(move |_, _| {
            others.up();
            Ok(())
        })
    };
    let life = world.run(vec![Service::new("tests").handler(broken).handler(bystander)]);
    for n in 1..=5 {
        world.append(vec![counted(&world.ports, "bad", n), counted(&world.ports, "good", n)]).await;
    }
    life.settled().await;
    assert_eq!(tallied(&world.ports, "tally.broken", "bad").await, vec![1]);
    assert_eq!(tallied(&world.ports, "tally.broken", "good").await, vec![1, 2, 3, 4, 5]);
    assert_eq!(parked(&world).await, 4, "the refused event and the three behind it");
    let before = others.get();

    let again = life.operator.redrive("tally.broken", None, 100).await.unwrap();
    assert_eq!(again.len(), 1, "the head fails again, so nothing behind it is tried: {again:?}");
    assert!(!again[0].handled);
    assert_eq!(parked(&world).await, 4);

    mended.turn_on();
    // What arrives during the redrive must not overtake what is parked.
    world.append((6..=9).map(|n| counted(&world.ports, "bad", n)).collect()).await;
    let key = Key::new("counter/bad").unwrap();
    life.operator.redrive("tally.broken", Some(&key), 1_000).await.unwrap();
    eventually("everything parked meanwhile is redriven as well", || async {
        life.operator.redrive("tally.broken", Some(&key), 1_000).await.ok()?;
        (parked(&world).await == 0 && tallied(&world.ports, "tally.broken", "bad").await.len() == 9).then_some(())
    })
    .await;
    assert_eq!(tallied(&world.ports, "tally.broken", "bad").await, (1..=9).collect::<Vec<u64>>());
    life.settled().await;
    assert_eq!(others.get(), before + 4, "the bystander saw the four new events and nothing again");
    life.end().await;
}

async fn two_operators_redrive_nothing_twice(world: World) {
    let mended = Switch::default();
    let broken = {
        let mended = mended.clone();
        Tally::new("tally.broken").behaving(move |_, _| match mended.is_on() {
            true => Ok(()),
            false => Err(HandlerError::permanent("test.refused", "no")),
        })
    };
    let life = world.run(vec![Service::new("tests").handler(broken)]);
    for n in 1..=10 {
        world.append((0..5).map(|key| counted(&world.ports, &key.to_string(), n)).collect()).await;
    }
    life.settled().await;
    assert_eq!(parked(&world).await, 50);
    mended.turn_on();
    let (one, other) = tokio::join!(
        life.operator.redrive("tally.broken", None, 1_000),
        life.operator.redrive("tally.broken", None, 1_000)
    );
    one.unwrap();
    other.unwrap();
    assert_eq!(parked(&world).await, 0);
    for key in 0..5 {
        assert_eq!(tallied(&world.ports, "tally.broken", &key.to_string()).await, (1..=10).collect::<Vec<u64>>());
    }
    life.end().await;
}

async fn the_last_word_of_a_handler_counts_as_handled(world: World) {
    let mut stubborn = Tally::new("tally.stubborn").behaving(|_, _| Err(HandlerError::transient("never")));
    stubborn.last_word = true;
    let life = world.run(vec![Service::new("tests").handler(stubborn)]);
    world.append(vec![counted(&world.ports, "a", 1), counted(&world.ports, "a", 2)]).await;
    life.settled().await;
    assert_eq!(parked(&world).await, 0);
    assert_eq!(tallied(&world.ports, "tally.stubborn", "a").await, Vec::<u64>::new(), "what failed left no trace");
    assert_eq!(world.ports.store.count("given_up", "").await.unwrap(), 2);
    life.end().await;
}

async fn a_newer_version_waits_for_the_build_that_knows_it(world: World) {
    let life = world.run(vec![Service::new("tests").handler(Tally::new("tally.versions"))]);
    let mut newer = counted(&world.ports, "a", 2);
    newer.ty = EventType::new("test.counted", 2);
    world.append(vec![counted(&world.ports, "a", 1), newer, counted(&world.ports, "a", 3)]).await;
    life.settled().await;
    let found = world.ports.store.parked(&ParkedQuery { limit: 10, ..ParkedQuery::default() }).await.unwrap();
    assert_eq!(
        found.iter().map(|parked| parked.code.as_str()).collect::<Vec<_>>(),
        ["event.newer_version", "parked.behind"]
    );
    life.end().await;

    // The next build knows version 2: it takes up what was parked, by itself and in order.
    let world = world.again().await;
    let mut tally = Tally::new("tally.versions");
    tally.version = 2;
    let life = world.run(vec![Service::new("tests").handler(tally)]);
    eventually("the parked events are taken up", || async { (parked(&world).await == 0).then_some(()) }).await;
    assert_eq!(tallied(&world.ports, "tally.versions", "a").await, vec![1, 2, 3]);
    life.end().await;
}

async fn a_consumer_that_fails_at_everything_stops_parking_in_time(world: World) {
    let broken = Tally::new("tally.hopeless").behaving(|_, _| Err(HandlerError::permanent("test.refused", "no")));
    let options = ConsumeOptions { parked_max: 10, batch: 4, ..quick() };
    let life = world.run_with(vec![Service::new("tests").handler(broken)], options, Vec::new());
    for n in 1..=40 {
        world.append(vec![counted(&world.ports, &n.to_string(), n)]).await;
    }
    eventually("it parks as much as it may, and the rest is with the broker", || async {
        let pending = life.operator.consumers().await.ok()?[0].pending as usize;
        let parked = parked(&world).await;
        (parked >= 10 && parked + pending == 40).then_some(())
    })
    .await;
    // What was in hand when the limit was reached may come on top: three batches at most.
    assert!(parked(&world).await <= 21, "{}", parked(&world).await);
    life.end().await;
}

async fn what_has_expired_is_passed_over(world: World) {
    let life = world.run(vec![Service::new("tests").handler(Tally::new("tally.timely"))]);
    let mut late = counted(&world.ports, "a", 1);
    late.expirytime = Some(world.ports.clock.now() - chrono::TimeDelta::seconds(1));
    let mut early = counted(&world.ports, "a", 2);
    early.expirytime = Some(world.ports.clock.now() + chrono::TimeDelta::hours(1));
    world.append(vec![late, early]).await;
    life.settled().await;
    assert_eq!(tallied(&world.ports, "tally.timely", "a").await, vec![2]);
    life.end().await;
}
