//! The consume loop: exactly once in effect, in order per key, whatever handlers do.

use tidewire::handler::Run;
use tidewire::{Consumer, Context, Envelope, EventType, Handler, HandlerError, Service, async_trait};

use crate::flow::on_every_ground;
use crate::support::event::counted;
use crate::support::handlers::{Count, Tally, tallied};
use crate::support::world::World;

on_every_ground! {
    every_event_reaches_every_consumer_once_and_in_order,
    a_consumer_that_comes_late_gets_everything,
    transient_failures_change_neither_order_nor_count,
    a_panic_takes_nobody_with_it,
    what_was_read_ahead_and_has_changed_since_is_read_again,
}

const KEYS: u64 = 20;
const EACH: u64 = 30;

async fn fill(world: &World) {
    for n in 1..=EACH {
        world.append((0..KEYS).map(|key| counted(&world.ports, &key.to_string(), n)).collect()).await;
    }
}

async fn assert_complete(world: &World, name: &str) {
    let expected: Vec<u64> = (1..=EACH).collect();
    for key in 0..KEYS {
        assert_eq!(tallied(&world.ports, name, &key.to_string()).await, expected, "key {key} of {name}");
    }
}

async fn every_event_reaches_every_consumer_once_and_in_order(world: World) {
    let mut batch = Tally::new("tally.batch");
    batch.run = Run::Batch;
    let services = vec![Service::new("tests").handler(Tally::new("tally.keys")).handler(batch)];
    let life = world.run(services);
    fill(&world).await;
    life.settled().await;
    assert_complete(&world, "tally.keys").await;
    assert_complete(&world, "tally.batch").await;
    life.end().await;
}

async fn a_consumer_that_comes_late_gets_everything(world: World) {
    let life = world.run(vec![Service::new("tests").handler(Tally::new("tally.early"))]);
    fill(&world).await;
    life.settled().await;
    life.end().await;
    let world = world.again().await;
    let life =
        world.run(vec![Service::new("tests").handler(Tally::new("tally.early")).handler(Tally::new("tally.late"))]);
    life.settled().await;
    assert_complete(&world, "tally.early").await;
    assert_complete(&world, "tally.late").await;
    life.end().await;
}

async fn transient_failures_change_neither_order_nor_count(world: World) {
    let failures = Count::default();
    let flaky = {
        let failures = failures.clone();
        Tally::new("tally.flaky").behaving(move |event, attempt| {
            if event.n % 7 == 0 && attempt == 1 {
                failures.up();
                return Err(HandlerError::transient("not yet"));
            }
            Ok(())
        })
    };
    let life = world.run(vec![Service::new("tests").handler(flaky)]);
    fill(&world).await;
    life.settled().await;
    assert_complete(&world, "tally.flaky").await;
    assert!(failures.get() >= KEYS, "the test did make it fail");
    assert!(life.operator.consumers().await.unwrap().iter().all(|consumer| consumer.parked == 0));
    life.end().await;
}

async fn a_panic_takes_nobody_with_it(world: World) {
    let panicky = Tally::new("tally.panicky").behaving(|event, _| {
        assert!(event.key != "3" || event.n != 5, "this event is poison");
        Ok(())
    });
    let life = world.run(vec![Service::new("tests").handler(panicky)]);
    fill(&world).await;
    life.settled().await;
    let expected: Vec<u64> = (1..=EACH).collect();
    for key in (0..KEYS).filter(|key| *key != 3) {
        assert_eq!(tallied(&world.ports, "tally.panicky", &key.to_string()).await, expected);
    }
    assert_eq!(tallied(&world.ports, "tally.panicky", "3").await, vec![1, 2, 3, 4], "and nothing behind the poison");
    let parked =
        life.operator.parked(&tidewire::store::ParkedQuery { limit: 100, ..Default::default() }).await.unwrap();
    assert_eq!(parked.len() as u64, EACH - 4, "the poison and all behind it");
    assert_eq!(parked[0].code, "handler.panicked");
    assert_eq!(parked[0].attempts, crate::support::world::quick().max_attempts);
    assert!(parked[1..].iter().all(|parked| parked.code == "parked.behind"));
    life.end().await;
}

/// Keys in parallel, all of which count in one document that is read ahead for several of them at once.
struct Total;

#[async_trait]
impl Handler for Total {
    fn consumer(&self) -> Consumer {
        Consumer::new("tally.total", vec![EventType::new("test.counted", 1)])
    }

    async fn prepare(&self, _: &[&Envelope], cx: &mut Context<'_>) -> Result<(), HandlerError> {
        cx.prefetch("total", &["all".to_owned()]).await
    }

    async fn handle(&self, _: &Envelope, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        let total: u64 = cx.get("total", "all").await?.unwrap_or(0);
        cx.put("total", "all", &(total + 1))
    }
}

async fn what_was_read_ahead_and_has_changed_since_is_read_again(world: World) {
    fill(&world).await;
    let life = world.run(vec![Service::new("tests").handler(Total)]);
    life.settled().await;
    let found = world.ports.store.documents("total", &["all".to_owned()]).await.unwrap();
    assert_eq!(found[0].as_ref().map(|total| total.value.to_vec()), Some((KEYS * EACH).to_string().into_bytes()));
    life.end().await;
}
