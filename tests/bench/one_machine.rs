//! The benchmarks that need nothing but a directory.

use tidewire_core::handler::Run;

use crate::append::{self, Appending};
use crate::compare::{Aim, compare};
use crate::consume::Consuming;
use crate::gateway::{self, Posting};
use crate::harness::judge::{Verdict, at_least, at_most};
use crate::harness::row::{Row, Section, Subject, number};
use crate::harness::stats::Estimate;
use crate::options::Options;
use crate::orders::Orders;
use crate::place::Place;
use crate::publish::{self, Publish};
use crate::raw::Table;
use crate::replay::{Rebuilding, Republishing};
use crate::saga::{self, Sagas};
use crate::startup;

/// Of replays, of which every slice is a whole log, there are fewer rounds.
const REPLAYS: usize = 3;

fn subject(id: &str, what: impl Into<String>) -> Subject {
    Subject::new(Section::OneMachine, id, what)
}

/// Everything that has a limit, in one place. Targets are for the disk: in memory nothing is flushed, and what
/// remains is the processor's share.
pub async fn measure(options: &Options, place: &Place) -> Vec<Row> {
    let orders = Orders::new(options.seed);
    let timing = options.timing(0.1);
    let (rounds, seed) = (options.rounds(), options.seed);
    let aim = |id, what: String, target: f64| Aim::rate(subject(id, what), (!place.is_in_memory()).then_some(target));
    let mut rows = Vec::new();
    if options.wants("b2") {
        let what = format!("publish, {} producers", publish::PRODUCERS);
        let mut sides = Publish { place: place.clone(), timing, orders: orders.clone() };
        rows.push(compare(rounds, seed, aim("B2", what, 0.6), &mut sides).await.0);
    }
    for (id, limit) in [("B9c", Table::Bare), ("B9c-indexed", Table::Indexed)] {
        if options.wants("b9c") {
            let against = if limit == Table::Bare { "" } else { ", limit with the same indexes" };
            let mut aim = aim(id, format!("append, {} writers{against}", append::WRITERS), 0.6);
            aim.target = aim.target.filter(|_| limit == Table::Bare);
            let mut sides = Appending { place: place.clone(), timing, orders: orders.clone(), limit };
            rows.push(compare(rounds, seed, aim, &mut sides).await.0);
        }
    }
    for (id, run, habit) in [("B5", Run::PerKey, "a commit per key"), ("B5-batch", Run::Batch, "a commit per batch")] {
        if options.wants("b5") {
            let backlog = (40_000.0 * options.slice) as usize;
            let what = format!("consume with inbox, 20 % duplicates, {habit}");
            let mut sides = Consuming { place: place.clone(), orders: orders.clone(), backlog, run, acks: 1.0 };
            rows.push(compare(rounds, seed, aim(id, what, 0.5), &mut sides).await.0);
        }
    }
    for (id, batch, target) in [("B15a", 1, 0.35), ("B15b", gateway::BATCH, 0.5)] {
        if options.wants("b15") {
            let what = match batch {
                1 => format!(
                    "events over HTTP, validated, {} connections; limit: hyper alone, which stores nothing",
                    gateway::CONNECTIONS
                ),
                many => format!("batches of {many} events over HTTP, {} connections", gateway::CONNECTIONS),
            };
            let mut sides = Posting { place: place.clone(), timing, orders: orders.clone(), seed, batch };
            rows.push(compare(rounds, seed, aim(id, what, target), &mut sides).await.0);
        }
    }
    if options.wants("b11") {
        let what =
            format!("rebuild of a projection from {} events, a row per event", number(options.replayed() as f64));
        let (place, orders, events) = (place.clone(), orders.clone(), options.replayed());
        let mut sides = Rebuilding { place, orders, events, filled: None, rest: (0.0, 0.0) };
        let (mut row, _) = compare(rounds.min(REPLAYS), seed, aim("B11", what, 0.5), &mut sides).await;
        let (rest, held) = (number(sides.rest.0), number(sides.rest.1 * 1e3));
        row.notes
            .push(format!("comparing, swapping and clearing took {rest} s more; live events were held for {held} ms"));
        rows.push(row);
    }
    if options.wants("b20") {
        let what = format!("replay of {} events to other subjects", number(options.replayed() as f64));
        let (place, orders, events) = (place.clone(), orders.clone(), options.replayed());
        let mut sides = Republishing { place, orders, events, filled: None, round: 0 };
        rows.push(compare(rounds.min(REPLAYS), seed, aim("B20", what, 0.7), &mut sides).await.0);
    }
    if options.wants("b12") {
        rows.push(sagas(options, place).await);
    }
    rows
}

/// Sagas have a bound of their own; their limit is shown beside it.
async fn sagas(options: &Options, place: &Place) -> Row {
    let what = format!("sagas of four no-op steps, {} in flight; limit: 5 commits a saga", saga::IN_FLIGHT);
    let mut sides = Sagas { place: place.clone(), timing: options.timing(0.3), transactions: (0.0, 0.0) };
    let aim = Aim::rate(Subject { unit: "sagas", ..subject("B12", what) }, None);
    let (mut row, rates) = compare(options.rounds(), options.seed, aim, &mut sides).await;
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
pub fn start_up(options: &Options, place: &Place) -> Vec<Row> {
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
            return vec![Row::failed(&subject("up-ready", WHAT[0]), &error)];
        }
    };
    let mut rows = Vec::new();
    let mut add = |id: &str, what: &str, unit: &str, target: f64, of: &dyn Fn(&startup::Up) -> f64, note: String| {
        let found = ups.iter().map(of).collect::<Vec<_>>();
        let Some(estimate) = Estimate::of(&found, options.seed) else { return };
        let ours = format!("{} {unit}", number(estimate.median));
        let verdict: Verdict = at_most(estimate, target);
        let target = format!("<= {target:.0} {unit}");
        let mut row = Row::absolute(&subject(id, what), ours, estimate, &target, &verdict);
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
