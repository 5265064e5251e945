//! Where the process stands in its life, and what it depends on.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;

/// Where the process stands, for the probes. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: AtomicU8,
    checks: Mutex<Vec<Check>>,
}

const STARTING: u8 = 0;
const SERVING: u8 = 1;
const DRAINING: u8 = 2;

/// Something the process depends on beside its store and broker.
#[derive(Clone)]
pub struct Check {
    /// Its name in the answer.
    pub name: &'static str,
    ask: Arc<dyn Fn() -> BoxFuture<'static, Condition> + Send + Sync>,
}

/// How a dependency is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// As it should be. With a word on it, if there is one to say.
    Up(Option<String>),
    /// Works, and somebody should look.
    Degraded(String),
    /// Does not.
    Down(String),
}

impl Check {
    /// A check by its name. It is given up, and counts as down, when it has not answered within the time of a probe.
    /// What it says is shown to whoever reaches the probe: no addresses, no paths.
    pub fn new<F, R>(name: &'static str, ask: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Condition> + Send + 'static,
    {
        Self { name, ask: Arc::new(move || Box::pin(ask())) }
    }

    /// Asks.
    pub(crate) fn ask(&self) -> BoxFuture<'static, Condition> {
        (self.ask)()
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Health {
    /// Starting up.
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything runs: from now on the process is ready as long as its store is.
    pub fn started(&self) {
        // A shutdown that began during the start wins.
        let _ = self.0.state.compare_exchange(STARTING, SERVING, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Shutdown has begun: not ready any more.
    pub fn draining(&self) {
        self.0.state.store(DRAINING, Ordering::Release);
    }

    /// Whether the start is over.
    pub fn is_started(&self) -> bool {
        self.0.state.load(Ordering::Acquire) != STARTING
    }

    /// Whether shutdown has begun.
    pub fn is_draining(&self) -> bool {
        self.0.state.load(Ordering::Acquire) == DRAINING
    }

    /// Has the probes ask this, too. It is reported, and does not decide whether the process is ready.
    pub fn watch(&self, check: Check) {
        self.0.checks.lock().unwrap_or_else(PoisonError::into_inner).push(check);
    }

    /// Everything that is watched.
    pub(crate) fn checks(&self) -> Vec<Check> {
        self.0.checks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
