//! Two orchestrators that both believe a saga is theirs.

use tidewire_core::store::Selection;
use tidewire_core::{Commit, Committed, Context, Envelope, Handler, Mark, Seen, StoreError, Unit};

use super::*;
use crate::saga::tests::trip::Trip;

/// What an orchestrator is about to commit for an event, when it is paused.
async fn paused(house: &House, event: &Envelope) -> Commit {
    let runner = SagaRunner::new(Trip::<1>).unwrap();
    let consumer = runner.consumer().name;
    let ports = house.ports();
    let mut unit = Unit::new(ports.store.clone(), ports.clock.clone(), &consumer, "/test");
    let mut cx: Context<'_> = unit.context(Some(event), 1);
    runner.handle(event, &mut cx).await.unwrap();
    cx.keep();
    let mut commit = unit.into_commit();
    commit.seen.push(Seen { consumer, mark: Mark::of(event) });
    commit
}

async fn events(house: &House) -> usize {
    let selection = Selection { limit: 1_000, ..Selection::default() };
    house.ports().store.read(&selection).await.unwrap().len()
}

#[tokio::test]
async fn one_that_wakes_up_after_another_went_on_changes_nothing() {
    for reply in ["hotel.done", "flight.done", "pay.done"] {
        let mut house = House::open().await;
        let id = house.plan("twice", Accident::Late(reply), &[]).await;
        house.settle(false).await.unwrap();
        let event = house.emitted(reply).await.remove(0);
        // It has decided, and stands still for longer than the broker waits for it.
        let commit = paused(&house, &event).await;
        assert!(!commit.append.is_empty(), "{reply}: it was about to ask for the next step");
        // The same event goes to another orchestrator, and the saga goes on.
        house.settle(true).await.unwrap();
        let before = (house.view(id).await, events(&house).await);
        let store = house.ports().store;
        assert_eq!(store.commit(commit.clone()).await.unwrap(), Committed::Duplicate, "{reply}: the inbox knows it");
        // Nor without the inbox: what it decided upon is no longer what is stored.
        let forgetful = Commit { seen: Vec::new(), ..commit };
        let refused = store.commit(forgetful).await;
        assert!(matches!(refused, Err(StoreError::Conflict(_))), "{reply}: {refused:?}");
        assert_eq!((house.view(id).await, events(&house).await), before, "{reply}");
        house.live().await;
        assert_eq!(check(&house, "twice", id).await, Status::Completed);
    }
}

#[tokio::test]
async fn of_a_deadline_and_a_reply_exactly_one_comes_first() {
    let mut house = House::open().await;
    let id = house.plan("late", Accident::Late("hotel.done"), &[]).await;
    house.settle(false).await.unwrap();
    let event = house.emitted("hotel.done").await.remove(0);
    let commit = paused(&house, &event).await;
    // The deadline passes while the reply is in hand.
    let timer = house.due().await.unwrap();
    assert!(matches!(house.fire(timer).await, Committed::Applied { .. }));
    let refused = house.ports().store.commit(commit).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    house.settle(true).await.unwrap();
    house.live().await;
    assert_eq!(check(&house, "late", id).await, Status::Completed);
}
