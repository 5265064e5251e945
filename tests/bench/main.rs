//! The benchmarks: every number as a ratio to the physical limit of the same machine in the same run.
//!
//! `cargo run --release -p tests --no-default-features --features bench --bin bench -- --help`

mod append;
mod clocks;
mod codec;
mod compare;
mod consume;
mod gateway;
mod harness;
mod house;
mod machine;
mod one_machine;
mod options;
mod orders;
mod place;
mod producers;
mod publish;
mod raw;
mod real;
mod replay;
mod report;
mod saga;
mod startup;

use std::path::PathBuf;

use anyhow::ensure;
use clap::Parser;

use machine::{Machine, Ticks};
use options::Options;
use place::Place;
use report::Report;

/// More stolen time than this, and the neighbours are what was measured.
const MAX_STOLEN: f64 = 0.05;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tidewire::install_tls();
    let options = Options::parse();
    let is_debug = cfg!(debug_assertions);
    ensure!(!is_debug || options.rehearse, "build with --release: nothing else is worth measuring");
    ensure!(!options.rehearse || !options.write_results, "a rehearsal is nothing to keep");
    let mut places = vec![Place::new(&options.dir)?];
    if let Some(ram) = &options.ram {
        let ram = Place::new(ram)?;
        ensure!(ram.is_in_memory(), "--ram must be a directory in memory, such as /dev/shm");
        places.push(ram);
    }
    let mut machine = Machine::look(&places[0])?;
    let ticks = Ticks::now();
    let mut rows = Vec::new();
    if options.wants("b21") {
        rows.extend(codec::measure(&options));
    }
    for place in &places {
        rows.extend(one_machine::measure(&options, place).await);
        if options.wants("up") && !place.is_in_memory() {
            rows.extend(one_machine::start_up(&options, place));
        }
    }
    for place in &places {
        rows.extend(real::measure(&options, place, &mut machine.servers).await);
    }
    let stolen_share = Ticks::now().stolen_since(&ticks);
    let invalid = (stolen_share > MAX_STOLEN).then(|| format!("{:.0} % of the time was stolen", stolen_share * 100.0));
    let report = Report {
        machine,
        rounds: if options.wants_any(&options::ONE_MACHINE) { options.rounds() } else { options.real_rounds() },
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
