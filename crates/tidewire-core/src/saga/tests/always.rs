//! What is true of every transition, whatever comes in.

use std::collections::BTreeSet;

use super::trip::{Journey, State};
use crate::saga::history::MAX_HISTORY;
use crate::saga::*;

pub(super) fn check(before: &Journey, after: &Advanced<State>) {
    let log = &after.log;
    let stored: SagaLog<State> = serde_json::from_slice(&serde_json::to_vec(log).unwrap()).unwrap();
    assert_eq!(&stored, log, "the log is not what is stored of it");

    let drafts = before.sent.iter().chain(&after.drafts);
    let ids: BTreeSet<_> = drafts.clone().map(|draft| draft.id.clone().unwrap()).collect();
    assert_eq!(ids.len(), drafts.clone().count(), "two drafts share an id");
    assert!(drafts.clone().all(|draft| draft.correlationid.as_deref() == Some("start-1")));

    let ends = drafts.filter(|draft| matches!(draft.ty.name(), "trip.completed" | "trip.undone")).count();
    assert_eq!(ends, usize::from(log.status.is_over()), "one end, one event");
    if before.log.status.is_over() {
        assert_eq!(log.status, before.log.status, "what is over goes on");
        assert!(after.drafts.is_empty());
    }
    if after.ignored.is_some() {
        assert!(after.drafts.is_empty(), "an ignored input emits");
        assert_eq!((&log.steps, &log.state, log.status), (&before.log.steps, &before.log.state, before.log.status));
    }

    steps(log);
    undos_in_reverse(before, after);
    if matches!(log.status, Status::Running | Status::Compensating) {
        let due = log.due().expect("a saga that is under way waits for something");
        assert!(log.timer.expect("and has a timer") <= due, "the timer is too late");
    } else {
        assert_eq!((log.due(), log.timer), (None, None), "{:?}", log.status);
    }
    assert!(log.history.entries.len() <= MAX_HISTORY);
}

fn steps(log: &SagaLog<State>) {
    let all = |allowed: &[StepStatus]| log.steps.iter().all(|step| allowed.contains(&step.status));
    match log.status {
        Status::Completed => assert!(all(&[StepStatus::Ok]) && log.steps.len() == 5),
        Status::Undone => assert!(all(&[StepStatus::Undone, StepStatus::Failed])),
        Status::Stuck => assert!(log.stuck.as_ref().is_some_and(|failure| !failure.reason.is_empty())),
        Status::Running | Status::Compensating | Status::Stalled => assert_eq!(log.stuck, None),
    }
    let charged = log.steps.iter().any(|step| step.name == "charge" && step.status == StepStatus::Ok);
    let undone = log.steps.iter().any(|step| step.undo_attempts > 0);
    assert!(!(charged && undone), "undone past the pivot");
}

fn undos_in_reverse(before: &Journey, after: &Advanced<State>) {
    for draft in after.drafts.iter().filter(|draft| draft.ty.name().ends_with(".undo")) {
        let (step, _) = draft.ty.name().split_once('.').unwrap();
        let at = after.log.steps.iter().position(|log| log.name == step).expect("undone without being asked for");
        let later = &after.log.steps[at + 1..];
        assert!(
            later.iter().all(|log| matches!(log.status, StepStatus::Undone | StepStatus::Failed)),
            "{step} is undone before {later:?}; sent so far {:?}",
            before.sent.len()
        );
    }
}
