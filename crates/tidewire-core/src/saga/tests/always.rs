//! What is true of every transition, whatever comes in.

use std::collections::BTreeSet;

use super::trip::{Journey, State};
use crate::saga::history::MAX_HISTORY;
use crate::saga::*;

/// `ordered`: a person may have turned the saga's way.
pub(super) fn check(before: &Journey, after: &Advanced<State>, ordered: bool) {
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

    steps(before, log, ordered);
    undos_in_reverse(before, after);
    if matches!(log.status, Status::Running | Status::Compensating) {
        log.due().expect("a saga that is under way waits for something");
    } else if log.status != Status::Stuck {
        assert_eq!((log.due(), log.timer), (None, None), "{:?}", log.status);
    }
    // A stuck saga may wait for what others of its group still do.
    match log.due() {
        Some(due) => assert!(log.timer.expect("what waits has a timer") <= due, "the timer is too late"),
        None => assert_eq!(log.timer, None),
    }
    assert!(log.history.entries.len() <= MAX_HISTORY);
}

/// What an outlook says is what the change does.
pub(super) fn outlook(before: &Journey, after: &Advanced<State>) {
    let outlook = before.definition.outlook(&before.log, after);
    assert_eq!((outlook.from, outlook.to), (before.log.status, after.log.status));
    assert_eq!(outlook.emits.len(), after.drafts.len());
    if after.log.heading() == Direction::Do {
        assert!(outlook.undos.is_empty() && outlook.without_undo.is_empty(), "{outlook:?}");
    } else {
        assert!(outlook.remaining.is_empty(), "{outlook:?}");
    }
    for draft in after.drafts.iter().filter(|draft| draft.ty.name().ends_with(".undo")) {
        let (step, _) = draft.ty.name().split_once('.').unwrap();
        assert!(outlook.undos.iter().any(|undo| undo == step), "{step} is not in {outlook:?}");
    }
}

fn steps(before: &Journey, log: &SagaLog<State>, ordered: bool) {
    let count = before.definition.step_names().count();
    let all = |allowed: &[StepStatus]| log.steps.iter().all(|step| allowed.contains(&step.status));
    match log.status {
        Status::Completed => assert!(all(&[StepStatus::Ok, StepStatus::Skipped]) && log.steps.len() == count),
        Status::Undone => assert!(all(&[StepStatus::Undone, StepStatus::Failed, StepStatus::Again])),
        Status::Stuck => assert!(log.stuck.as_ref().is_some_and(|failure| !failure.reason.is_empty())),
        Status::Running | Status::Compensating | Status::Stalled => assert_eq!(log.stuck, None),
    }
    let charged = log.steps.iter().any(|step| step.name == "charge" && step.status == StepStatus::Ok);
    let undone = |log: &SagaLog<State>| log.steps.iter().map(|step| step.undo_attempts).sum::<u32>();
    assert!(!charged || undone(log) == undone(&before.log), "undone past the pivot");
    let turned = log.heading() != before.log.heading();
    assert!(ordered || !turned || log.heading() == Direction::Undo, "only a person turns a saga forward");
}

fn undos_in_reverse(before: &Journey, after: &Advanced<State>) {
    for draft in after.drafts.iter().filter(|draft| draft.ty.name().ends_with(".undo")) {
        let (step, _) = draft.ty.name().split_once('.').unwrap();
        let at = after.log.steps.iter().position(|log| log.name == step).expect("undone without being asked for");
        // Those of one group are undone together.
        let group =
            |name: &str| std::ptr::eq(before.definition, super::trip::wide()) && matches!(name, "book" | "seat");
        let later = after.log.steps[at + 1..].iter().filter(|later| !(group(step) && group(&later.name)));
        let mut later = later.collect::<Vec<_>>();
        later.retain(|log| log.status != StepStatus::Again);
        assert!(
            later.iter().all(|log| matches!(log.status, StepStatus::Undone | StepStatus::Failed)),
            "{step} is undone before {later:?}; sent so far {:?}",
            before.sent.len()
        );
    }
}
