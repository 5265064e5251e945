//! From two sides to a line of the results.

use std::time::Instant;

use tidewire_core::{Clock, SystemClock};

use crate::harness::judge::{Verdict, judge};
use crate::harness::rounds::{Measure, Measured, Side, Sides, run};
use crate::harness::row::{Row, Subject};
use crate::machine::Ticks;

/// More of the processors' time in other processes than this, and whoever has more threads wins.
const MAX_OTHERS: f64 = 0.10;

/// What is compared of the same slices, as a line of its own.
#[derive(Clone, Debug)]
pub struct Aim {
    pub subject: Subject,
    pub measure: Measure,
    pub target: Option<f64>,
}

impl Aim {
    /// A rate, to be at least `target` of the limit.
    pub fn rate(subject: Subject, target: Option<f64>) -> Self {
        Self { subject, measure: Measure::Rate, target }
    }

    /// A time, to be at most `target` times the limit.
    pub fn time(subject: Subject, measure: Measure, target: Option<f64>) -> Self {
        Self { subject, measure, target }
    }
}

/// Runs and judges one rate; a side that errs is a line of its own. Also answers ours' rates.
pub async fn compare<S: Sides>(rounds: usize, seed: u64, aim: Aim, sides: &mut S) -> (Row, Vec<f64>) {
    let (mut rows, measured) = compare_all(rounds, seed, std::slice::from_ref(&aim), sides).await;
    let ours = measured.iter().filter(|m| m.side == Side::Ours).map(|m| m.slice.rate()).collect();
    // One aim, one row.
    (rows.remove(0), ours)
}

/// The same for several measures of the same slices.
pub async fn compare_all<S: Sides>(rounds: usize, seed: u64, aims: &[Aim], sides: &mut S) -> (Vec<Row>, Vec<Measured>) {
    for Aim { subject, .. } in aims {
        eprintln!("{} {}: {} …", SystemClock.now().format("%H:%M:%S"), subject.id, subject.what);
    }
    let (started, ticks) = (Instant::now(), Ticks::now());
    let measured = match run(sides, rounds, seed).await {
        Ok(measured) => measured,
        Err(error) => {
            let failed = |aim: &Aim| {
                eprintln!("{}: {error:#}", aim.subject.id);
                Row::failed(&aim.subject, &error)
            };
            return (aims.iter().map(failed).collect(), Vec::new());
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let others = Ticks::now().others_since(&ticks, started.elapsed().as_secs_f64(), cores);
    let rows = aims.iter().map(|aim| row(aim, &measured, seed, others)).collect();
    (rows, measured)
}

fn row(aim: &Aim, measured: &[Measured], seed: u64, others: f64) -> Row {
    let mut comparison = judge(measured, aim.measure, aim.target, seed);
    if others > MAX_OTHERS && !matches!(comparison.verdict, Verdict::Refused(_)) {
        let reason = format!("other processes had {:.0} % of the processors", others * 100.0);
        comparison.verdict = Verdict::Invalid(reason);
    }
    let mut row = Row::of(&aim.subject, aim.target, &comparison);
    row.notes.push(format!("others had {:.0} % of the processors", others * 100.0));
    let (id, notes) = (&row.id, row.notes.join("; "));
    eprintln!("{id}: {} against {}, ratio {} ({}) {}", row.ours, row.limit, row.ratio, row.interval, row.verdict);
    eprintln!("{id}: {notes}");
    row
}
