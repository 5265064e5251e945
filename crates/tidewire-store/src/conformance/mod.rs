//! What every store must do, as cases that any backend can be run against: one per promise of the ports.
//!
//! A case gets a [`Rig`] with an empty store of its own and panics when the promise is broken.
//!
//! ```ignore
//! for (name, case) in tidewire_store::conformance::CASES {
//!     println!("{name}");
//!     case(fresh_rig().await).await;
//! }
//! ```

mod commit;
mod documents;
mod fences;
mod inbox;
mod log;
mod parking;
mod retire;
mod schedule;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tidewire_core::store::StoreInfo;
use tidewire_core::{
    Append, Clock, Commit, Committed, Envelope, EventType, Expect, Key, Mark, Position, Seen, Store, StoreError,
};

/// Lets the store's own time pass: a manual clock is moved, a real one is waited for.
pub type Pass = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// What a case runs on.
#[derive(Clone)]
pub struct Rig {
    /// A store with nothing in it.
    pub store: Arc<dyn Store>,
    /// Draws ids; its time need not be the store's.
    pub clock: Arc<dyn Clock>,
    /// Lets the store's time pass.
    pub pass: Pass,
}

/// A case.
pub type Case = fn(Rig) -> BoxFuture<'static, ()>;

macro_rules! cases {
    ($($module:ident::$name:ident),+ $(,)?) => {
        /// Every case, by name.
        pub const CASES: &[(&str, Case)] = &[
            $((concat!(stringify!($module), "::", stringify!($name)), |rig| Box::pin($module::$name(rig)))),+
        ];
    };
}

cases![
    log::starts_empty,
    log::keeps_every_attribute,
    log::positions_are_gapless_under_concurrent_writers,
    log::one_of_many_equal_expectations_wins,
    log::expectations_are_exact,
    log::streams_are_read_from_a_version,
    log::reading_forward_misses_nothing_while_writing,
    log::selections_select,
    log::a_flow_is_found_by_its_correlation,
    log::an_event_is_in_the_log_once,
    log::waiting_ends_with_the_next_event,
    log::types_are_counted,
    log::it_says_how_it_is_doing,
    commit::all_or_nothing,
    commit::a_duplicate_mark_writes_nothing,
    commit::conflicts_are_decided_one_by_one,
    commit::an_empty_commit_applies,
    commit::nonsense_is_refused,
    commit::a_dropped_future_still_commits,
    commit::many_rows_at_once,
    documents::revisions_guard_writes,
    documents::are_listed_by_id,
    documents::racing_writers_lose_no_update,
    inbox::knows_what_was_handled_or_parked,
    inbox::counts_starts_until_handled,
    inbox::finds_what_is_unhandled,
    inbox::racing_commits_handle_once,
    parking::keeps_the_order_of_a_key,
    parking::followers_park_only_behind_others,
    parking::an_event_is_taken_out_once,
    parking::an_event_is_parked_or_handled_not_both,
    parking::an_event_takes_the_place_of_another,
    parking::envelopes_come_back_byte_for_byte,
    retire::the_log_begins_later_and_is_gapless_from_there,
    retire::the_last_event_stays,
    retire::a_commit_of_many_events_is_retired,
    retire::streams_keep_their_versions_and_say_what_is_gone,
    retire::what_was_handled_stays_handled,
    retire::writers_and_readers_go_on_meanwhile,
    schedule::a_timer_fires_once,
    schedule::timers_move_and_are_cancelled,
    schedule::effects_are_tried_until_settled,
    schedule::effects_given_up_are_found_and_begin_anew,
    schedule::an_effect_is_asked_for_once,
    fences::a_lease_has_one_holder,
    fences::an_expired_lease_is_taken_with_a_higher_epoch,
    fences::a_released_lease_is_free_at_once,
    fences::an_old_epoch_writes_nothing,
    fences::snapshots_keep_the_newest,
    fences::a_closed_store_refuses,
];

/// What a backend that passed every case can do, for the page that compares backends.
pub fn column(info: &StoreInfo, multi_process: bool) -> Vec<(String, String)> {
    let declared = [
        ("a commit survives (disk: power loss, os: a killed process)", info.durability.clone()),
        ("several processes share it", if multi_process { "yes" } else { "no" }.to_owned()),
    ];
    let declared = declared.into_iter().map(|(what, how)| (what.to_owned(), how));
    let case = |name: &str| (name.replace("::", ": ").replace('_', " "), "yes".to_owned());
    declared.chain(CASES.iter().map(|(name, _)| case(name))).collect()
}

/// An event of `key` with a fresh id.
fn event(rig: &Rig, key: &str) -> Envelope {
    Envelope {
        id: rig.clock.id().to_string(),
        source: "/conformance".into(),
        ty: EventType::new("thing.happened", 1),
        subject: None,
        time: rig.clock.now(),
        key: Key::new(key).unwrap(),
        datacontenttype: None,
        dataschema: None,
        data: Some(Bytes::from_static(br#"{"n":1.10}"#)),
        sequence: None,
        correlationid: None,
        causationid: None,
        traceparent: None,
        recordedtime: None,
        expirytime: None,
        dataref: None,
        extensions: Default::default(),
    }
}

fn append(expect: Expect, events: Vec<Envelope>) -> Commit {
    Commit { append: vec![Append { key: events[0].key.clone(), expect, events }], ..Commit::default() }
}

fn seen(consumer: &str, envelope: &Envelope) -> Seen {
    Seen { consumer: consumer.into(), mark: Mark::of(envelope) }
}

/// Appends one event and returns it.
async fn put(rig: &Rig, key: &str) -> Envelope {
    let envelope = event(rig, key);
    applied(rig, append(Expect::Any, vec![envelope.clone()])).await;
    envelope
}

async fn applied(rig: &Rig, commit: Commit) -> Position {
    match rig.store.commit(commit).await {
        Ok(Committed::Applied { last }) => last,
        other => panic!("expected to be applied: {other:?}"),
    }
}

async fn duplicate(rig: &Rig, commit: Commit) {
    let found = rig.store.commit(commit).await;
    assert!(matches!(found, Ok(Committed::Duplicate)), "expected a duplicate: {found:?}");
}

async fn conflict(rig: &Rig, commit: Commit) -> tidewire_core::store::Conflict {
    match rig.store.commit(commit).await {
        Err(StoreError::Conflict(conflict)) => conflict,
        other => panic!("expected a conflict: {other:?}"),
    }
}

async fn head(rig: &Rig) -> u64 {
    rig.store.head().await.unwrap().0
}
