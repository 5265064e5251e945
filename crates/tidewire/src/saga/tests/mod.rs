//! Sagas, participants and a real store, through every accident.

mod child;
mod desk;
mod house;
mod nowhere;
mod trial;
mod trip;
mod versions;
mod zombie;

use house::{Accident, House, handlers};
use tidewire_core::Clock;
use uuid::Uuid;

use super::*;

const REQUESTS: [&str; 4] = ["hotel.requested", "flight.requested", "pay.requested", "mail.requested"];
const UNDOS: [&str; 2] = ["hotel.undo", "flight.undo"];
const REPLIES: [&str; 8] = [
    "hotel.done",
    "flight.done",
    "pay.done",
    "mail.done",
    "hotel.undone",
    "flight.undone",
    "pay.failed",
    "hotel.undo_failed",
];

/// What every saga must end as, whatever happened to it.
async fn check(house: &House, trip: &str, id: Uuid) -> Status {
    let saga = house.view(id).await;
    let applied = house.applied(trip).await;
    let count = |name: &'static str| async move { house.emitted(name).await.len() };
    let ends = (count("trip.completed").await, count("trip.rejected").await);
    match saga.summary.status {
        Status::Completed => {
            assert!(applied.values().all(|times| *times == 1), "{trip} completed with {applied:?}");
            assert_eq!(ends, (1, 0), "{trip}");
        }
        Status::Undone => {
            assert!(applied.values().all(|times| *times == 0), "{trip} undone with {applied:?}");
            assert_eq!(ends, (0, 1), "{trip}");
            assert!(saga.summary.reason.is_some_and(|reason| !reason.is_empty()));
        }
        Status::Stuck => {
            assert_eq!(ends, (0, 0), "{trip}");
            assert!(saga.stuck.is_some_and(|failure| !failure.reason.is_empty()), "{trip} is stuck without a reason");
            assert!(count("trip.stuck").await > 0, "{trip}");
        }
        other => panic!("{trip} never ended: {other:?}"),
    }
    saga.summary.status
}

#[tokio::test]
async fn dying_at_any_commit_changes_nothing() {
    let mut house = House::open().await;
    for (path, fault, end) in
        [("good", &[][..], Status::Completed), ("bad", &[("pay.requested", 1, true)][..], Status::Undone)]
    {
        let id = house.plan(path, Accident::None, fault).await;
        house.live().await;
        assert_eq!(check(&house, path, id).await, end);
        for n in 1..=house.commits() {
            for accident in [Accident::BeforeCommit(n), Accident::AfterCommit(n)] {
                // The work of a run that dies is lost with it, so the fault must be there again.
                let again: Vec<_> = fault.iter().map(|(name, times, kind)| (*name, times + 1, *kind)).collect();
                let trip = format!("{path}-{accident:?}");
                let id = house.plan(&trip, accident, &again).await;
                house.live().await;
                assert_eq!(check(&house, &trip, id).await, end, "{trip}");
            }
        }
    }
}

#[tokio::test]
async fn whatever_fails_however_often_it_ends_sound() {
    let mut house = House::open().await;
    let mut stuck = 0;
    for request in REQUESTS.into_iter().chain(UNDOS) {
        for times in [1, 2, 3, 6, 1_000] {
            for permanent in [true, false] {
                // An undo is reached only when something after it fails.
                let mut faults = vec![(request, times, permanent)];
                if UNDOS.contains(&request) {
                    faults.push(("pay.requested", 1, true));
                }
                let trip = format!("{request}-{times}-{permanent}");
                let id = house.plan(&trip, Accident::None, &faults).await;
                house.live().await;
                stuck += u32::from(check(&house, &trip, id).await == Status::Stuck);
            }
        }
    }
    assert!((1..30).contains(&stuck), "{stuck} of 60 are stuck");
}

#[tokio::test]
async fn repeated_late_and_lost_events_do_no_harm() {
    let mut house = House::open().await;
    for name in REQUESTS.into_iter().chain(UNDOS).chain(REPLIES) {
        for accident in [Accident::Repeat(name), Accident::Late(name), Accident::Lost(name)] {
            for faults in
                [&[][..], &[("pay.requested", 1, true)], &[("pay.requested", 1, true), ("hotel.undo", 1, true)]]
            {
                let trip = format!("{accident:?}-{}", faults.len());
                let id = house.plan(&trip, accident, faults).await;
                house.live().await;
                let end = check(&house, &trip, id).await;
                if matches!(accident, Accident::Repeat(_)) {
                    let expected = if faults.is_empty() { Status::Completed } else { Status::Undone };
                    assert_eq!(end, expected, "{trip}");
                }
            }
        }
    }
}

#[tokio::test]
#[should_panic(expected = "is applied twice")]
async fn these_checks_notice_a_participant_that_forgets() {
    let mut house = House::open().await;
    let mut all = handlers::<1>(&house.faults);
    all[1] = std::sync::Arc::new(trip::Forgetful(trip::Hotel(house.faults.clone())));
    house.replace(all);
    house.plan("twice", Accident::Repeat("hotel.requested"), &[]).await;
    house.live().await;
}

#[tokio::test]
async fn an_undo_that_overtakes_its_step_refuses_it() {
    let mut house = House::open().await;
    let id = house.plan("overtaken", Accident::Late("hotel.requested"), &[]).await;
    house.live().await;
    assert_eq!(check(&house, "overtaken", id).await, Status::Undone);
    let refusals = house.emitted("hotel.failed").await;
    assert_eq!(refusals.len(), 2, "one for each late request");
    let ignored =
        house.view(id).await.history.iter().filter(|view| view.entry.reason.as_deref() == Some("late")).count();
    assert_eq!(ignored, 2);
}

#[tokio::test]
async fn requests_and_replies_say_where_they_belong() {
    let mut house = House::open().await;
    let id = house.plan("chain", Accident::None, &[]).await;
    house.live().await;
    let start = &house.emitted("trip.planned").await[0];
    let request = &house.emitted("flight.requested").await[0];
    let reply = &house.emitted("flight.done").await[0];
    let end = &house.emitted("trip.completed").await[0];
    for event in [request, reply, end] {
        assert_eq!(event.correlationid, start.correlationid);
    }
    assert_eq!(reply.causationid.as_deref(), Some(request.id.as_str()));
    let at = SagaRef { id, step: "flight".into(), epoch: 1 };
    assert_eq!((SagaRef::of(request), SagaRef::of(reply)), (Some(at.clone()), Some(at)));
}

#[tokio::test]
async fn a_request_outside_any_saga_is_served() {
    let mut house = House::open().await;
    house.plan("saga", Accident::None, &[("mail.requested", 1, true)]).await;
    let request = trip::HotelRequested::new("by-hand");
    let draft = tidewire_core::Draft::of(&request).unwrap();
    house.append(draft.seal(house.clock.as_ref(), "/somebody", None)).await;
    house.live().await;
    let replies = house.emitted("hotel.done").await;
    assert_eq!(replies.iter().filter(|reply| SagaRef::of(reply).is_none()).count(), 1);
    assert_eq!(house.applied("by-hand").await["hotel"], 1);
}

#[tokio::test]
async fn a_definition_that_is_not_known_stalls_and_goes_on_later() {
    let mut house = House::open().await;
    let id = house.plan("stalls", Accident::Late("hotel.requested"), &[]).await;
    house.settle(false).await.unwrap();
    // A build of another definition takes over, and sees the reply.
    let faults = house.faults.clone();
    house.replace(handlers::<2>(&faults));
    house.settle(true).await.unwrap();
    let stalled = house.view(id).await;
    assert_eq!((stalled.summary.status, stalled.waiting), (Status::Stalled, Some(1)));
    assert!(stalled.summary.reason.unwrap().contains("definition 1"));
    let listed = SagaFilter { status: Some(Status::Stalled), limit: 10, ..SagaFilter::default() };
    assert_eq!(house.query().list(&listed).await.unwrap().items.len(), 1);
    let timer = house.due().await.unwrap();
    house.fire(timer).await;
    assert_eq!(house.view(id).await.summary.status, Status::Stalled);
    // The build that knows it comes back.
    house.replace(handlers::<1>(&faults));
    house.live().await;
    assert_eq!(check(&house, "stalls", id).await, Status::Completed);
    assert_eq!(house.query().list(&listed).await.unwrap().items.len(), 0);
}

#[tokio::test]
async fn lists_are_in_order_filtered_and_paged() {
    let mut house = House::open().await;
    let mut started = Vec::new();
    for n in 0..7u32 {
        house.clock.advance(chrono::TimeDelta::seconds(1));
        let faults: &[_] = if n % 3 == 0 { &[("pay.requested", 1, true)] } else { &[] };
        started.push(house.plan(&format!("{n}"), Accident::None, faults).await.to_string());
        house.live().await;
    }
    started.reverse();
    let pages = async |filter: SagaFilter| {
        let (mut filter, mut ids, mut count) = (filter, Vec::new(), 0);
        loop {
            let page = house.query().list(&filter).await.unwrap();
            count += 1;
            ids.extend(page.items.into_iter().map(|saga| saga.id));
            match page.next {
                Some(next) => filter.after = Some(next),
                None => return (ids, count),
            }
        }
    };
    let two = SagaFilter { limit: 2, ..SagaFilter::default() };
    assert_eq!(pages(two.clone()).await, (started.clone(), 4));
    let undone: Vec<String> = started.iter().step_by(3).cloned().collect();
    assert_eq!(pages(SagaFilter { status: Some(Status::Undone), ..two.clone() }).await, (undone, 2));
    assert_eq!(pages(SagaFilter { saga: Some("trip".into()), ..two.clone() }).await.0, started);
    assert_eq!(pages(SagaFilter { saga: Some("other".into()), ..two }).await.0, Vec::<String>::new());
    let counts = house.query().counts().await.unwrap();
    assert!(counts.contains(&(Status::Completed, 4)) && counts.contains(&(Status::Undone, 3)), "{counts:?}");
    let open = house.query().open("trip").await.unwrap();
    assert_eq!(open, [Status::Running, Status::Compensating, Status::Stuck, Status::Stalled].map(|status| (status, 0)));
    assert_eq!(house.query().get(Uuid::nil()).await.unwrap(), None);
    let view = house.view(started[1].parse().unwrap()).await;
    let json = serde_json::to_value(&view).unwrap();
    assert_eq!((&json["type"], &json["status"]), (&"trip".into(), &"completed".into()));
    assert_eq!((view.steps.len(), view.history[0].entry.at <= house.clock.now()), (4, true));
}
