//! What it was measured on.

use std::process::Command;

use serde::Serialize;
use tidewire_core::{Clock, SystemClock};

use crate::clocks::cpu_seconds;
use crate::place::Place;

/// Everything a reader needs to doubt a number.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub date: String,
    pub cores: usize,
    pub cpu: String,
    pub memory_gib: f64,
    pub kernel: String,
    pub load_before: String,
    pub fdatasync_p50_us: f64,
    pub fdatasync_p99_us: f64,
    pub tidewire: String,
    pub sqlite: String,
    /// The servers that took part, with their versions.
    pub servers: Vec<String>,
    pub failpoints: bool,
}

impl Machine {
    pub fn look(place: &Place) -> anyhow::Result<Self> {
        let (p50, p99) = place.disk()?;
        let memory = line("/proc/meminfo", "MemTotal:").trim_end_matches(" kB").parse::<f64>().unwrap_or_default();
        let micros = |seconds: f64| (seconds * 1e6).round();
        Ok(Self {
            date: SystemClock.now().format("%Y-%m-%d %H:%M UTC").to_string(),
            cores: std::thread::available_parallelism()?.get(),
            cpu: line("/proc/cpuinfo", "model name").trim_start_matches([':', ' ', '\t']).to_owned(),
            memory_gib: (memory / 1024.0 / 1024.0 * 10.0).round() / 10.0,
            kernel: read("/proc/sys/kernel/osrelease"),
            load_before: read("/proc/loadavg"),
            fdatasync_p50_us: micros(p50),
            fdatasync_p99_us: micros(p99),
            tidewire: format!("{}{}", env!("CARGO_PKG_VERSION"), commit()),
            sqlite: rusqlite::version().to_owned(),
            servers: Vec::new(),
            failpoints: cfg!(feature = "under-test"),
        })
    }
}

/// How the processors' time was spent so far: user, nice, system, idle, iowait, irq, softirq, steal ticks of all processors, and our own part.
#[derive(Clone, Copy, Debug)]
pub struct Ticks {
    all: u64,
    idle: u64,
    stolen: u64,
    own_seconds: f64,
}

impl Ticks {
    pub fn now() -> Self {
        let line = line("/proc/stat", "cpu ");
        let ticks: Vec<u64> = line.split_whitespace().take(8).filter_map(|ticks| ticks.parse().ok()).collect();
        let tick = |at: usize| ticks.get(at).copied().unwrap_or_default();
        let idle = tick(3) + tick(4);
        Self { all: ticks.iter().sum(), idle, stolen: tick(7), own_seconds: cpu_seconds() }
    }

    /// The share of the time since `before` that another machine had.
    pub fn stolen_since(&self, before: &Self) -> f64 {
        (self.stolen - before.stolen) as f64 / (self.all - before.all).max(1) as f64
    }

    /// The share of the time since `before` that other processes had.
    pub fn others_since(&self, before: &Self, seconds: f64, cores: usize) -> f64 {
        let all = (self.all - before.all).max(1) as f64;
        let busy = 1.0 - (self.idle - before.idle) as f64 / all - self.stolen_since(before);
        (busy - (self.own_seconds - before.own_seconds) / (seconds * cores as f64)).max(0.0)
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn line(path: &str, name: &str) -> String {
    let text = read(path);
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
}

/// The commit that was built, where there is a repository to ask.
fn commit() -> String {
    let asked =
        Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    match asked {
        Ok(answer) if answer.status.success() => format!(" ({})", String::from_utf8_lossy(&answer.stdout).trim()),
        _ => String::new(),
    }
}
