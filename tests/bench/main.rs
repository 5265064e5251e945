//! The benchmarks: every number as a ratio to the physical limit of the same machine in the same run.
//!
//! `cargo run --release -p tests --no-default-features --features bench --bin bench -- --help`

mod append;
mod clocks;
mod consume;
mod harness;
mod house;
mod machine;
mod orders;
mod place;
mod producers;
mod publish;
mod raw;
mod report;
mod saga;
mod startup;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Parser;
use tidewire_core::handler::Run;

use append::Appending;
use clocks::Timing;
use consume::Consuming;
use harness::judge::{Verdict, at_least, at_most, judge};
use harness::rounds::{Side, Sides, run};
use harness::stats::Estimate;
use machine::{Machine, Ticks};
use orders::Orders;
use place::Place;
use publish::Publish;
use raw::Table;
use report::{Report, Row, number};
use saga::Sagas;

/// More stolen time than this, and the neighbours are what was measured.
const MAX_STOLEN: f64 = 0.05;

/// More of the processors' time in other processes than this, and whoever has more threads wins.
const MAX_OTHERS: f64 = 0.10;

const IDS: [&str; 5] = ["b2", "b9c", "b5", "b12", "up"];

/// Measures Tidewire against the limits of this machine. Only a quiet machine gives numbers worth keeping.
#[derive(Parser)]
struct Options {
    /// What to measure: b2 (publish), b9c (append), b5 (consume with inbox), b12 (sagas), up (start-up, memory).
    /// Everything by default.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(IDS))]
    ids: Vec<String>,
    /// Five rounds instead of 25, for a first impression.
    #[arg(long)]
    quick: bool,
    /// Rounds of ours and limit.
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds that are measured of each slice.
    #[arg(long, default_value_t = 0.5)]
    slice: f64,
    /// Where every random choice comes from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to write; a directory on the disk in question.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench"))]
    dir: PathBuf,
    /// Also in this directory in memory, to see the processor's share alone.
    #[arg(long)]
    ram: Option<PathBuf>,
    /// The program whose start-up is measured; by default the one built beside this.
    #[arg(long)]
    program: Option<PathBuf>,
    /// Write the results as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write them to tests/bench/RESULTS.md.
    #[arg(long)]
    write_results: bool,
}

impl Options {
    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 5 } else { 25 }).max(1)
    }

    fn wants(&self, id: &str) -> bool {
        self.ids.is_empty() || self.ids.iter().any(|wanted| wanted == id)
    }

    fn timing(&self, settle: f64) -> Timing {
        Timing { settle: Duration::from_secs_f64(settle), slice: Duration::from_secs_f64(self.slice) }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    ensure!(!cfg!(debug_assertions), "build with --release: nothing else is worth measuring");
    let disk = Place::new(&options.dir)?;
    let machine = Machine::look(&disk)?;
    let ticks = Ticks::now();
    let mut rows = measure(&options, &disk).await;
    if options.wants("up") {
        rows.extend(start_up(&options, &disk));
    }
    if let Some(ram) = &options.ram {
        let ram = Place::new(ram)?;
        ensure!(ram.is_in_memory(), "--ram must be a directory in memory, such as /dev/shm");
        rows.extend(measure(&options, &ram).await);
    }
    let stolen_share = Ticks::now().stolen_since(&ticks);
    let invalid = (stolen_share > MAX_STOLEN).then(|| format!("{:.0} % of the time was stolen", stolen_share * 100.0));
    let report = Report {
        machine,
        rounds: options.rounds(),
        slice_seconds: options.slice,
        seed: options.seed,
        stolen_share,
        invalid,
        rows,
    };
    println!("{}", report.table());
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    if options.write_results {
        report.write(&PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/bench/RESULTS.md")))?;
    }
    Ok(())
}

/// Everything that has a limit, in one place. Targets are for the disk: in memory nothing is flushed, and what
/// remains is the processor's share.
async fn measure(options: &Options, place: &Place) -> Vec<Row> {
    let orders = Orders::new(options.seed);
    let timing = options.timing(0.1);
    let target = |target: f64| (!place.is_in_memory()).then_some(target);
    let mut rows = Vec::new();
    if options.wants("b2") {
        let what = format!("publish, {} producers", publish::PRODUCERS);
        let sides = Publish { place: place.clone(), timing, orders: orders.clone() };
        rows.push(compare(options, "B2", &what, "events", target(0.6), sides).await.1);
    }
    for (id, limit, target) in [("B9c", Table::Bare, target(0.6)), ("B9c-indexed", Table::Indexed, None)] {
        if options.wants("b9c") {
            let against = if limit == Table::Bare { "" } else { ", limit with the same indexes" };
            let what = format!("append, {} writers{against}", append::WRITERS);
            let sides = Appending { place: place.clone(), timing, orders: orders.clone(), limit };
            rows.push(compare(options, id, &what, "events", target, sides).await.1);
        }
    }
    for (id, run, habit) in [("B5", Run::PerKey, "a commit per key"), ("B5-batch", Run::Batch, "a commit per batch")] {
        if options.wants("b5") {
            let backlog = (40_000.0 * options.slice) as usize;
            let what = format!("consume with inbox, 20 % duplicates, {habit}");
            let sides = Consuming { place: place.clone(), orders: orders.clone(), backlog, run, acks: 1.0 };
            rows.push(compare(options, id, &what, "events", target(0.5), sides).await.1);
        }
    }
    if options.wants("b12") {
        rows.push(sagas(options, place).await);
    }
    rows
}

/// Runs and judges; a side that errs is a line of its own.
async fn compare<S: Sides>(
    options: &Options,
    id: &str,
    what: &str,
    unit: &str,
    target: Option<f64>,
    mut sides: S,
) -> (S, Row, Vec<f64>) {
    eprintln!("{id}: {what} …");
    let (started, ticks) = (Instant::now(), Ticks::now());
    match run(&mut sides, options.rounds(), options.seed).await {
        Ok(measured) => {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let others = Ticks::now().others_since(&ticks, started.elapsed().as_secs_f64(), cores);
            let mut comparison = judge(&measured, target, options.seed);
            if others > MAX_OTHERS && !matches!(comparison.verdict, Verdict::Refused(_)) {
                let reason = format!("other processes had {:.0} % of the processors", others * 100.0);
                comparison.verdict = Verdict::Invalid(reason);
            }
            let mut row = Row::of(id, what, unit, target, &comparison);
            row.notes.push(format!("others had {:.0} % of the processors", others * 100.0));
            let ours = measured.iter().filter(|m| m.side == Side::Ours).map(|m| m.slice.rate()).collect();
            eprintln!(
                "{id}: {} against {}, ratio {} ({}) {}",
                row.ours, row.limit, row.ratio, row.interval, row.verdict
            );
            (sides, row, ours)
        }
        Err(error) => {
            eprintln!("{id}: {error:#}");
            (sides, Row::failed(id, what, &error), Vec::new())
        }
    }
}

/// Sagas have a bound of their own; their limit is shown beside it.
async fn sagas(options: &Options, place: &Place) -> Row {
    let what = format!("sagas of four no-op steps, {} in flight; limit: 5 commits a saga", saga::IN_FLIGHT);
    let sides = Sagas { place: place.clone(), timing: options.timing(0.3), transactions: (0.0, 0.0) };
    let (sides, mut row, rates) = compare(options, "B12", &what, "sagas", None, sides).await;
    if let Some(found) = Estimate::of(&rates, options.seed) {
        let (log, broker) = sides.transactions;
        row.notes[0] = format!(
            "{log:.2} transactions of the log and {broker:.2} of the broker per saga; ours {} sagas/s",
            format_args!("{} - {}", number(found.low), number(found.high))
        );
        if !place.is_in_memory() {
            row.target = ">= 1,000/s".into();
        }
        if !place.is_in_memory() && row.verdict == "-" {
            row.verdict = at_least(found, 1_000.0).to_string();
        }
    }
    row
}

/// The real program on an empty directory, several times.
fn start_up(options: &Options, place: &Place) -> Vec<Row> {
    const WHAT: [&str; 2] = ["`up` on an empty directory until /readyz", "`up` idle, resident"];
    let program = options.program.clone().or_else(|| Some(std::env::current_exe().ok()?.with_file_name("tidewire")));
    let runs = if options.quick { 3 } else { 9 };
    eprintln!("up: {runs} starts …");
    let ups: anyhow::Result<Vec<startup::Up>> =
        (0..runs).map(|_| startup::up(program.as_deref().unwrap_or("tidewire".as_ref()), place)).collect();
    let ups = match ups {
        Ok(ups) => ups,
        Err(error) => {
            eprintln!("up: {error:#}");
            return vec![Row::failed("up", WHAT[0], &error)];
        }
    };
    let mut rows = Vec::new();
    let mut add = |id: &str, what: &str, unit: &str, target: f64, of: &dyn Fn(&startup::Up) -> f64, note: String| {
        let found = ups.iter().map(of).collect::<Vec<_>>();
        let Some(estimate) = Estimate::of(&found, options.seed) else { return };
        let ours = format!("{} {unit}", number(estimate.median));
        let verdict: Verdict = at_most(estimate, target);
        let target = format!("<= {target:.0} {unit}");
        let mut row = Row::absolute(id, what, "-", ours, estimate, &target, &verdict);
        row.notes.push(note);
        rows.push(row);
    };
    let worst = |of: &dyn Fn(&startup::Up) -> f64| ups.iter().map(of).fold(0.0, f64::max);
    let (ready, mib) = (|up: &startup::Up| up.ready_seconds * 1e3, |bytes: u64| bytes as f64 / 1024.0 / 1024.0);
    let stop = worst(&|up| up.stop_seconds * 1e3);
    let note =
        format!("{runs} starts, worst {} ms; SIGTERM to the end at most {} ms", number(worst(&ready)), number(stop));
    add("up-ready", WHAT[0], "ms", 300.0, &ready, note);
    let note = format!("3 s after the start; peak until then at most {} MiB", number(worst(&|up| mib(up.peak_bytes))));
    add("up-memory", WHAT[1], "MiB", 60.0, &|up| mib(up.idle_bytes), note);
    rows
}
