//! What to measure, and how long.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::clocks::Timing;

/// What needs nothing but a directory.
pub const ONE_MACHINE: [&str; 9] = ["b2", "b9c", "b5", "b12", "b15", "up", "b11", "b20", "b21"];
/// What needs servers.
pub const REAL: [&str; 13] =
    ["b1", "b2-nats", "b3", "b4", "b5-real", "b6", "b7", "b8", "b9a", "b9b", "b16", "kafka-publish", "kafka-consume"];
/// Names for all of them.
const SETS: [&str; 2] = ["one-machine", "real"];

/// Measures Tidewire against the limits of this machine. Only a quiet machine gives numbers worth keeping.
///
/// On one machine: b2 (publish), b9c (append), b5 (consume with inbox), b12 (sagas), b15 (events over HTTP), up (start-up, memory), b11 (rebuild of a projection), b20 (replay to other subjects),
/// b21 (the codec).
///
/// On PostgreSQL and NATS, which it starts: b1 (publish, validated), b2-nats (embedded against JetStream), b3 (latency of
/// a publish), b4 (consume), b5-real (consume with inbox), b6 (drain of the log), b7 (cost to the writer), b8 (from commit
/// to delivery), b9a (single appends against pgbench), b9b (batches), b16 (from the request to the row). On Kafka, with
/// the feature of that name: kafka-publish, kafka-consume.
#[derive(Parser)]
pub struct Options {
    /// What to measure: ids, or the sets `one-machine` and `real`. All that needs no server by default.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(ONE_MACHINE.into_iter().chain(REAL).chain(SETS)))]
    ids: Vec<String>,
    /// Fewer rounds and smaller backlogs, for a first impression.
    #[arg(long)]
    pub quick: bool,
    /// Rounds of ours and limit. By default 25 on one machine and 9 on servers; with --quick 5 and 3.
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds that are measured of each slice.
    #[arg(long, default_value_t = 0.5)]
    pub slice: f64,
    /// Events in the log that b6 drains. By default 300,000; with --quick 40,000.
    #[arg(long)]
    drain: Option<usize>,
    /// Events in the log that b11 rebuilds from and b20 replays. By default 1,000,000; with --quick 100,000.
    #[arg(long)]
    replayed: Option<usize>,
    /// Where every random choice comes from.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where to write; a directory on the disk in question.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench"))]
    pub dir: PathBuf,
    /// Also in this directory in memory, to see the processor's share alone.
    #[arg(long)]
    pub ram: Option<PathBuf>,
    /// The program whose start-up is measured; by default the one built beside this.
    #[arg(long)]
    pub program: Option<PathBuf>,
    /// Write the results as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Write them to tests/bench/RESULTS.md, in the place of those of the same benchmarks.
    #[arg(long)]
    pub write_results: bool,
    /// Run a debug build, to see whether it runs. Its numbers are worthless and never written to the page.
    #[arg(long, hide = true)]
    pub rehearse: bool,
}

impl Options {
    /// Rounds on one machine.
    pub fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 5 } else { 25 }).max(1)
    }

    /// Rounds on servers, of which there are three to be had in the same time.
    pub fn real_rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 3 } else { 9 }).max(1)
    }

    /// Whether a benchmark is to be run.
    pub fn wants(&self, id: &str) -> bool {
        let set = if ONE_MACHINE.contains(&id) { "one-machine" } else { "real" };
        let by_default = self.ids.is_empty() && ONE_MACHINE.contains(&id);
        by_default || self.ids.iter().any(|wanted| wanted == id || wanted == set)
    }

    /// Whether any of them is.
    pub fn wants_any(&self, ids: &[&str]) -> bool {
        ids.iter().any(|id| self.wants(id))
    }

    /// Events in the log that is drained.
    pub fn drain(&self) -> usize {
        self.drain.unwrap_or(if self.quick { 40_000 } else { 300_000 }).max(1)
    }

    /// Events in the log that is replayed.
    pub fn replayed(&self) -> usize {
        self.replayed.unwrap_or(if self.quick { 100_000 } else { 1_000_000 }).max(1)
    }

    pub fn timing(&self, settle: f64) -> Timing {
        Timing { settle: Duration::from_secs_f64(settle), slice: Duration::from_secs_f64(self.slice) }
    }
}
