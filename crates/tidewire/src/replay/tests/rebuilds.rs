use tidewire_core::{DocumentWrite, ExpectDocument, StoreError};

use super::*;

async fn damage(rig: &Rig) {
    let write = DocumentWrite {
        collection: "sum".into(),
        id: "a".into(),
        expect: ExpectDocument::Any,
        value: Some("99".into()),
    };
    rig.ports.store.commit(Commit { documents: vec![write], ..Commit::default() }).await.unwrap();
}

#[tokio::test]
async fn a_rebuilt_projection_takes_the_live_ones_place_and_goes_on() {
    let rig = Rig::new().await;
    for n in 1..=4 {
        rig.add("a", n).await;
        rig.add("b", n).await;
    }
    rig.live(SUMS).await;
    damage(&rig).await;
    let job = rig.rebuild(RebuildRequest::default()).await;
    assert_eq!((job.state, job.generation), (State::Done, Some(2)), "{job:?}");
    let compared = job.compared.unwrap();
    assert_eq!((compared.rows, compared.differing), (2, 1));
    assert_eq!(compared.first[0], Difference { collection: "sum".into(), id: "a".into(), what: "changed".into() });
    assert_eq!(rig.row("sum", "a").await, Some(10));
    // What is live now is written by the live handler.
    rig.add("a", 5).await;
    rig.live(SUMS).await;
    assert_eq!(rig.row("sum", "a").await, Some(15));
    let rows = rig.desk.projections().await.unwrap();
    assert_eq!((rows[0].generation, rows[0].rows, rows[0].behind), (2, 2, 0), "{rows:?}");
    assert_eq!(rows[0].previous.unwrap().generation, 1);
    assert_eq!(rig.events_of("operator.acted").await, 1);
}

#[tokio::test]
async fn a_rollback_goes_back_without_losing_what_came_since() {
    let rig = Rig::new().await;
    rig.add("a", 1).await;
    rig.live(SUMS).await;
    damage(&rig).await;
    rig.rebuild(RebuildRequest::default()).await;
    rig.add("a", 2).await;
    rig.live(SUMS).await;
    let back = RebuildRequest { rollback: true, ..RebuildRequest::default() };
    let job = rig.rebuild(back.clone()).await;
    assert_eq!((job.state, job.generation), (State::Done, Some(1)), "{job:?}");
    assert_eq!(rig.row("sum", "a").await, Some(101), "as it was, and the two that came since");
    // And forth again.
    rig.add("a", 3).await;
    let job = rig.rebuild(back).await;
    assert_eq!((job.state, job.generation), (State::Done, Some(2)));
    assert_eq!(rig.row("sum", "a").await, Some(6));
}

#[tokio::test]
async fn what_two_rebuilds_ago_was_live_is_removed() {
    let rig = Rig::new().await;
    rig.add("a", 1).await;
    rig.live(SUMS).await;
    for generation in 2..=4 {
        assert_eq!(rig.rebuild(RebuildRequest::default()).await.generation, Some(generation));
        assert_eq!(rig.row("sum", "a").await, Some(1));
    }
    let count = |name: &'static str| async { rig.raw.count(name, "").await.unwrap() };
    assert_eq!((count("sum").await, count("sum~2").await), (0, 0));
    assert_eq!((count("sum~3").await, count("sum~4").await), (1, 1));
}

#[tokio::test]
async fn a_writer_who_slept_through_a_swap_is_refused() {
    let rig = Rig::new().await;
    rig.add("a", 1).await;
    rig.live(SUMS).await;
    let (_, other) = process(&rig.raw).await;
    let sleeper = other.runner(SUMS).unwrap();
    let fence = sleeper.fence().await.unwrap();
    rig.add("a", 2).await;
    rig.rebuild(RebuildRequest::default()).await;
    let late = DocumentWrite {
        collection: "sum".into(),
        id: "a".into(),
        expect: ExpectDocument::Any,
        value: Some("7".into()),
    };
    let late = Commit { documents: vec![late], fence, ..Commit::default() };
    let refused = other.ports.store.commit(late).await.unwrap_err();
    assert!(matches!(refused, StoreError::Fenced { .. }), "{refused}");
    // Its next turn finds the new generation.
    sleeper.lost();
    rig.add("a", 4).await;
    live(&other, SUMS).await;
    assert_eq!(row(&other.ports, "sum", "a").await, Some(7), "1 + 2 + 4");
    assert_eq!(rig.row("sum", "a").await, Some(7));
}

#[tokio::test]
async fn readers_in_other_processes_follow_soon_and_never_see_a_half() {
    let rig = Rig::new().await;
    for n in 0..50 {
        rig.add(&format!("s{n}"), 1).await;
    }
    rig.live(SUMS).await;
    let (other, _) = process(&rig.raw).await;
    let reading = async {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            assert_eq!(other.store.count("sum", "").await.unwrap(), 50, "a half");
            let seen = other.store.documents("sum", &["s0".to_owned()]).await.unwrap().remove(0);
            let moved =
                rig.raw.count("sum~2", "").await.unwrap() == 50 && seen.is_some_and(|row| &row.value[..] == b"3");
            if moved {
                return;
            }
            assert!(std::time::Instant::now() < end, "it never saw the swap");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let swapping = async {
        rig.rebuild(RebuildRequest::default()).await;
        rig.add("s0", 2).await;
        rig.live(SUMS).await;
    };
    tokio::join!(reading, swapping);
}

#[tokio::test]
async fn killed_anywhere_it_goes_on_where_it_was_and_counts_nothing_twice() {
    for kill_after in 1..5 {
        let rig = Rig::new().await;
        for n in 1..=20 {
            rig.add(&format!("s{}", n % 3), n).await;
        }
        rig.live(SUMS).await;
        let job = rig.desk.rebuild(SUMS, &RebuildRequest::default(), &by("test")).await.unwrap();
        steps(&rig.desk, &job.id, kill_after).await;
        rig.add("s0", 100).await;
        let (_, other) = process(&rig.raw).await;
        other.work(std::time::Duration::from_secs(20)).await.unwrap();
        let job = other.job(&job.id).await.unwrap();
        assert_eq!(job.state, State::Done, "{kill_after}: {job:?}");
        assert_eq!(job.compared.unwrap().differing, 0);
        live(&other, SUMS).await;
        let sums: u64 = [rig.row("sum", "s0").await, rig.row("sum", "s1").await, rig.row("sum", "s2").await]
            .into_iter()
            .flatten()
            .sum();
        assert_eq!(sums, 310, "{kill_after}");
    }
}

#[tokio::test]
async fn a_difference_keeps_it_from_swapping_if_that_was_asked_for() {
    let rig = Rig::new().await;
    rig.add("a", 1).await;
    rig.live(SUMS).await;
    damage(&rig).await;
    let asked = RebuildRequest { only_if_equal: true, ..RebuildRequest::default() };
    let job = rig.rebuild(asked.clone()).await;
    assert_eq!((job.state, job.compared.unwrap().differing), (State::Different, 1));
    assert_eq!(rig.row("sum", "a").await, Some(99), "what is live was left alone");
    // Live events go on meanwhile.
    rig.add("a", 1).await;
    rig.live(SUMS).await;
    assert_eq!(rig.row("sum", "a").await, Some(100));
}

#[tokio::test]
async fn parked_events_are_in_the_way() {
    let rig = Rig::new().await;
    rig.add("a", 1).await;
    rig.park(SUMS, "a").await;
    let plan = rig.desk.plan_rebuild(SUMS, &RebuildRequest::default()).await.unwrap();
    assert_eq!((plan.report.parked_events, plan.report.parked_keys), (1, 1));
    let job = rig.rebuild(RebuildRequest::default()).await;
    assert_eq!((job.state, job.trouble.unwrap().code.as_str()), (State::Failed, "replay.parked"));
    assert_eq!(rig.row("sum", "a").await, None);
}

#[tokio::test]
async fn what_is_retired_cannot_be_rebuilt() {
    let rig = Rig::new().await;
    for n in 0..4 {
        rig.add("a", n).await;
    }
    rig.live(SUMS).await;
    rig.ports.store.retire(Position(2), 10).await.unwrap();
    let refused = rig.desk.plan_rebuild(SUMS, &RebuildRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), "replay.retired");
    let back = RebuildRequest { rollback: true, ..RebuildRequest::default() };
    assert_eq!(rig.desk.plan_rebuild(SUMS, &back).await.unwrap_err().code(), "replay.no_previous");
}
