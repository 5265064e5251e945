//! Failpoints: named places where a test can kill, fail or pause a real process.
//!
//! Compiled to nothing without the feature `failpoints`. With it, `TIDEWIRE_FAILPOINTS` holds a list such as
//! `relay.after_ack=kill9@3,consume.after_commit=pause@1`: what to do, and at which hit (every hit without
//! `@`). Actions: `kill9` (SIGKILL to itself), `err` (the place fails as its own errors do), `pause` (sleeps
//! for ever, for SIGSTOP-like stalls).

/// Every failpoint there is, so that a test can kill at each and prove that each is reached.
pub const ALL: &[&str] = &[
    "gateway.before_commit",
    "gateway.after_commit",
    "store.before_write",
    "store.before_sync",
    "store.after_sync",
    "relay.after_read",
    "relay.after_publish",
    "relay.after_cursor",
    "broker.before_sync",
    "broker.after_sync",
    "consume.before_handler",
    "consume.before_commit",
    "consume.after_commit",
    "consume.after_park",
    "saga.before_commit",
    "saga.after_commit",
    "participant.before_commit",
    "participant.after_commit",
    "effect.before_call",
    "effect.after_call",
    "project.before_commit",
    "project.after_commit",
    "replay.before_commit",
    "replay.after_commit",
    "replay.before_swap",
];

/// What a failpoint asks of the place it is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing: go on.
    Nothing,
    /// Fail, as the place's own errors do.
    Fail,
}

/// The place `name` is reached.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn reach(_name: &'static str) -> Asked {
    Asked::Nothing
}

/// The place `name` is reached.
#[cfg(feature = "failpoints")]
pub fn reach(name: &'static str) -> Asked {
    active::reach(name)
}

#[cfg(feature = "failpoints")]
mod active {
    use super::Asked;
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Mutex, OnceLock};

    struct Point {
        action: String,
        at: Option<u64>,
        hits: AtomicU64,
    }

    static POINTS: OnceLock<HashMap<String, Point>> = OnceLock::new();
    static REACHED: Mutex<Option<HashMap<&'static str, u64>>> = Mutex::new(None);

    #[allow(clippy::disallowed_methods)] // A test feature; there is no configuration to take it from.
    fn points() -> &'static HashMap<String, Point> {
        POINTS.get_or_init(|| {
            let list = std::env::var("TIDEWIRE_FAILPOINTS").unwrap_or_default();
            let parse = |item: &str| {
                let (name, action) = item.trim().split_once('=')?;
                assert!(super::ALL.contains(&name), "there is no failpoint `{name}`");
                let (action, at) = action.split_once('@').map_or((action, None), |(a, at)| (a, at.parse().ok()));
                Some((name.to_owned(), Point { action: action.to_owned(), at, hits: AtomicU64::new(0) }))
            };
            list.split(',').filter_map(parse).collect()
        })
    }

    pub(super) fn reach(name: &'static str) -> Asked {
        debug_assert!(super::ALL.contains(&name), "failpoint `{name}` is not in the list");
        if let Ok(mut reached) = REACHED.lock() {
            *reached.get_or_insert_with(HashMap::new).entry(name).or_default() += 1;
        }
        let Some(point) = points().get(name) else { return Asked::Nothing };
        let hit = point.hits.fetch_add(1, Ordering::SeqCst) + 1;
        if point.at.is_some_and(|at| at != hit) {
            return Asked::Nothing;
        }
        match point.action.as_str() {
            "kill9" => {
                let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
                loop {
                    std::thread::park();
                }
            }
            "pause" => loop {
                std::thread::park();
            },
            _ => Asked::Fail,
        }
    }
}
