//! Sagas that outlive the build that began them.

use super::*;
use crate::saga::tests::trip::Trip;

fn with(house: &mut House, runner: std::sync::Arc<dyn tidewire_core::Handler>) {
    let mut all = handlers::<1>(&house.faults);
    all[0] = runner;
    house.replace(all);
}

#[tokio::test]
async fn several_versions_live_in_one_build() {
    let mut house = House::open().await;
    let old = house.plan("old", Accident::Late("flight.requested"), &[]).await;
    house.settle(false).await.unwrap();
    let runner = SagaRunner::new(Trip::<3>).unwrap().older(Trip::<1>).unwrap();
    assert_eq!(runner.survey(&house.ports(), "/test").await.unwrap(), Survey { as_is: 1, ..Survey::default() });
    with(&mut house, std::sync::Arc::new(runner.clone()));
    house.settle(true).await.unwrap();
    house.live().await;
    assert_eq!(check(&house, "old", old).await, Status::Completed);
    assert_eq!(house.view(old).await.definition, 1, "pinned to what it was begun with");
    let new = house.plan("new", Accident::None, &[]).await;
    house.live().await;
    assert_eq!(house.view(new).await.definition, 3);
    assert!(matches!(runner.clone().older(Trip::<3>), Err(NotOlder::Other { definition: 3, .. })));
}

#[tokio::test]
async fn a_survey_takes_over_stalls_and_resumes_before_anything_arrives() {
    let mut house = House::open().await;
    let faults = house.faults.clone();
    house.replace(handlers::<2>(&faults));
    let second = house.plan("second", Accident::Late("flight.requested"), &[]).await;
    house.settle(false).await.unwrap();

    // A build that neither knows definition 2 nor takes it over.
    let first = SagaRunner::new(Trip::<1>).unwrap();
    let found = first.survey(&house.ports(), "/test").await.unwrap();
    assert_eq!(found, Survey { stalled: 1, ..Survey::default() });
    let stalled = house.view(second).await;
    assert_eq!(stalled.summary.status, Status::Stalled);
    assert!(stalled.summary.reason.unwrap().contains("definition 2"));
    assert_eq!(first.survey(&house.ports(), "/test").await.unwrap(), found, "again changes nothing");

    // One that would put its steps among others' leaves it as it is.
    let fourth = SagaRunner::new(Trip::<4>).unwrap();
    assert_eq!(fourth.survey(&house.ports(), "/test").await.unwrap(), Survey { stalled: 1, ..Survey::default() });

    // One that takes it over goes on with it.
    let third = SagaRunner::new(Trip::<3>).unwrap();
    assert_eq!(third.survey(&house.ports(), "/test").await.unwrap(), Survey { resumed: 1, ..Survey::default() });
    with(&mut house, std::sync::Arc::new(third.clone()));
    house.settle(true).await.unwrap();
    house.live().await;
    assert_eq!(check(&house, "second", second).await, Status::Completed);
    let view = house.view(second).await;
    assert_eq!((view.definition, &view.state["replies"][1]), (3, &"taken over".into()));
    assert_eq!(third.survey(&house.ports(), "/test").await.unwrap(), Survey::default(), "what is over is left alone");
}
