//! What a slice is measured with.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// User and system time of this process so far, in seconds: both sides run in it.
pub fn cpu_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

/// A measured stretch of time.
pub struct Watch {
    started: Instant,
    cpu: f64,
}

impl Watch {
    pub fn start() -> Self {
        Self { started: Instant::now(), cpu: cpu_seconds() }
    }

    /// Wall and processor seconds since the start.
    pub fn read(&self) -> (f64, f64) {
        (self.started.elapsed().as_secs_f64(), cpu_seconds() - self.cpu)
    }
}

/// How long a slice is, and how much of its beginning does not count.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub settle: Duration,
    pub slice: Duration,
}
