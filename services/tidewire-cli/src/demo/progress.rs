//! What is going on, on one line of a terminal; nothing elsewhere.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::text::count;

/// How often the line moves while nothing else does.
const TICK: Duration = Duration::from_millis(100);
const TEMPLATE: &str = "{elapsed:>4} [{bar:24}] {msg}";

/// Counts, and the line that shows them.
pub struct Progress {
    bar: ProgressBar,
    follows: AtomicU64,
    activities: AtomicU64,
    found: AtomicU64,
    ended: AtomicU64,
}

impl Progress {
    /// Shown on standard error if that is a terminal and `wanted`. There are `others` things to do besides the
    /// documents, which are added as they are found.
    pub fn new(wanted: bool, others: u64) -> Self {
        let shown = wanted && std::io::stderr().is_terminal();
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(others), target);
        // The template is a constant; should it not parse, the default one serves.
        let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        if shown {
            bar.enable_steady_tick(TICK);
        }
        let none = || AtomicU64::new(0);
        Self { bar, follows: none(), activities: none(), found: none(), ended: none() }
    }

    /// So many follows more.
    pub fn followed(&self, more: u64) {
        self.follows.fetch_add(more, Ordering::Relaxed);
        self.show();
    }

    /// So many activities more.
    pub fn tracked(&self, more: u64) {
        self.activities.fetch_add(more, Ordering::Relaxed);
        self.show();
    }

    /// One document more was found.
    pub fn found(&self) {
        self.found.fetch_add(1, Ordering::Relaxed);
        self.bar.inc_length(1);
        self.show();
    }

    /// One document more has come to its end.
    pub fn ended(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        self.show();
    }

    /// Another phase.
    pub fn phase(&self, what: &'static str) {
        self.bar.set_message(what);
    }

    /// Takes the line away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn show(&self) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (follows, activities, ended) = (read(&self.follows), read(&self.activities), read(&self.ended));
        self.bar.set_position(follows + activities + ended);
        self.bar.set_message(format!(
            "{} follows, {} activities, {} of {} documents",
            count(follows),
            count(activities),
            count(ended),
            count(read(&self.found))
        ));
    }
}
