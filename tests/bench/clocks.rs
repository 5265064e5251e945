//! What a slice is measured with.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use rustix::param::clock_ticks_per_second;
use rustix::process::getpid;
use rustix::time::{ClockId, clock_gettime};

/// User and system time so far, in seconds, of everything that takes part: this process, its children that ended, and
/// those that run (servers, and what they started).
pub fn cpu_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let own = used.tv_sec as f64 + used.tv_nsec as f64 / 1e9;
    own + children_ticks() as f64 / clock_ticks_per_second() as f64
}

/// The times of one process as the system counts them.
struct Times {
    parent: i32,
    own: u64,
    /// Of its children that ended.
    ended: u64,
}

/// Ticks of all children, whether they run or ended.
fn children_ticks() -> u64 {
    let Ok(entries) = fs::read_dir("/proc") else { return 0 };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let all: HashMap<i32, Times> = pids.filter_map(|pid| Some((pid, times(pid)?))).collect();
    let us = getpid().as_raw_nonzero().get();
    let is_below = |pid: i32| {
        let mut above = all.get(&pid).map(|times| times.parent);
        while let Some(parent) = above.filter(|parent| *parent > 1) {
            if parent == us {
                return true;
            }
            above = all.get(&parent).map(|times| times.parent);
        }
        false
    };
    let ended = all.get(&us).map_or(0, |times| times.ended);
    let running = all.iter().filter(|(pid, _)| is_below(**pid)).map(|(_, times)| times.own + times.ended);
    ended + running.sum::<u64>()
}

fn times(pid: i32) -> Option<Times> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before may hold anything, but no bracket follows it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let [utime, stime, ended_utime, ended_stime] = [11, 12, 13, 14].map(number);
    Some(Times { parent: fields.get(1)?.parse().ok()?, own: utime? + stime?, ended: ended_utime? + ended_stime? })
}

/// A measured stretch of time.
pub struct Watch {
    started: Instant,
    cpu: f64,
}

impl Watch {
    pub fn start() -> Self {
        let cpu = cpu_seconds();
        Self { started: Instant::now(), cpu }
    }

    /// Wall and processor seconds since the start.
    pub fn read(&self) -> (f64, f64) {
        (self.seconds(), cpu_seconds() - self.cpu)
    }

    /// Wall seconds since the start: cheap.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}

/// How long a slice is, and how much of its beginning does not count.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub settle: Duration,
    pub slice: Duration,
}
