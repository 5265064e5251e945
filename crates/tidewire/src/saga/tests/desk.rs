//! Operators and orchestrators at the same saga.

use serde_json::json;

use super::*;
use crate::operate::Actor;
use crate::saga::tests::trip::Trip;

fn desk(house: &House) -> SagaDesk {
    SagaDesk::new(&house.ports(), "/test").with(&SagaRunner::new(Trip::<1>).unwrap())
}

async fn act(house: &House, id: Uuid, verb: Verb) -> Result<Decision, DeskError> {
    let desk = desk(house);
    let order = Order { verb: verb.clone(), by: "ana".into(), reason: "test".into() };
    let revision = desk.rehearse(id, &order).await?.revision;
    desk.act(id, revision, verb, By { actor: &Actor::house(), reason: "test" }).await
}

#[tokio::test]
async fn a_stuck_undo_is_retried_or_counted_as_done() {
    for by_hand in [false, true] {
        let mut house = House::open().await;
        let id = house.plan("stuck", Accident::None, &[("pay.requested", 1, true), ("hotel.undo", 3, true)]).await;
        house.live().await;
        assert_eq!(house.view(id).await.summary.status, Status::Stuck);
        let verb = if by_hand { Verb::Done { step: None, output: None } } else { Verb::Retry { step: None } };
        let decision = act(&house, id, verb).await.unwrap();
        assert!(decision.done, "{decision:?}");
        house.live().await;
        assert_eq!(house.view(id).await.summary.status, Status::Undone);
        assert_eq!(house.applied("stuck").await["hotel"], i64::from(by_hand), "by hand it is not ours to undo");
        assert_eq!(house.emitted("operator.acted").await.len(), 1);
    }
}

#[tokio::test]
async fn an_undone_step_is_done_again_when_a_person_turns_the_saga_forward() {
    let mut house = House::open().await;
    let id = house.plan("forward", Accident::None, &[("pay.requested", 1, true), ("hotel.undo", 3, true)]).await;
    house.live().await;
    assert_eq!(house.applied("forward").await["flight"], 0);
    act(&house, id, Verb::Forward).await.unwrap();
    house.live().await;
    assert_eq!(check(&house, "forward", id).await, Status::Completed);
}

#[tokio::test]
async fn a_cancelled_saga_is_undone_wherever_it_was() {
    for request in REQUESTS {
        let mut house = House::open().await;
        let id = house.plan("cancel", Accident::Late(request), &[]).await;
        house.settle(false).await.unwrap();
        let cancelled = act(&house, id, Verb::Cancel).await;
        house.live().await;
        let expected = match request {
            "pay.requested" | "mail.requested" => {
                assert!(matches!(cancelled, Err(DeskError::Refused(_))), "{request}: {cancelled:?}");
                [Status::Completed, Status::Stuck]
            }
            _ => [Status::Undone; 2],
        };
        let end = check(&house, "cancel", id).await;
        assert!(expected.contains(&end), "{request}: {end:?}");
    }
}

#[tokio::test]
async fn of_an_order_and_a_reply_exactly_one_comes_first() {
    let mut house = House::open().await;
    let id = house.plan("race", Accident::Late("hotel.done"), &[]).await;
    house.settle(false).await.unwrap();
    let desk = desk(&house);
    let order = Order { verb: Verb::Cancel, by: "ana".into(), reason: "test".into() };
    let looked_at = desk.rehearse(id, &order).await.unwrap();
    // The reply comes while the operator thinks.
    house.settle(true).await.unwrap();
    let by = By { actor: &Actor::house(), reason: "test" };
    let refused = desk.act(id, looked_at.revision, Verb::Cancel, by).await.unwrap_err();
    assert!(matches!(refused, DeskError::Refused(_) | DeskError::Moved { .. }), "{refused:?}");
    assert!(house.emitted("operator.acted").await.is_empty(), "who did nothing is not on record");
    house.live().await;
    assert_eq!(check(&house, "race", id).await, Status::Completed);
    let over = desk.rehearse(id, &order).await.unwrap_err();
    assert_eq!(over.code(), "saga.order_refused");
}

#[tokio::test]
async fn a_saga_of_an_unknown_definition_takes_no_orders() {
    let mut house = House::open().await;
    let faults = house.faults.clone();
    house.replace(handlers::<2>(&faults));
    let id = house.plan("unknown", Accident::None, &[]).await;
    house.settle(false).await.unwrap();
    let unknown = act(&house, id, Verb::Retry { step: None }).await;
    assert!(unknown.is_err());
    let signalled = desk(&house)
        .signal(id, "hotel", json!({}).to_string().into(), true, By { actor: &Actor::house(), reason: "" })
        .await;
    assert!(signalled.is_err());
}
