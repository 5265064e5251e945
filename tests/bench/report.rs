//! Results: one table for people and for `RESULTS.md`, one JSON for programs.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use serde_json::{Value, json};

use crate::harness::judge::{Comparison, Verdict};
use crate::harness::stats::Estimate;
use crate::machine::Machine;

/// From here on `RESULTS.md` is kept by hand.
const BY_HAND: &str = "<!-- By hand from here on; a run keeps what follows. -->";
const HEADERS: [&str; 9] =
    ["Id", "What", "Class", "Ours", "Limit", "Ours / limit", "95 % interval", "Target", "Verdict"];

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub id: String,
    pub what: String,
    pub class: String,
    pub ours: String,
    pub limit: String,
    pub ratio: String,
    pub interval: String,
    pub target: String,
    pub verdict: String,
    /// What else must be known to read the line.
    pub notes: Vec<String>,
    pub details: Value,
}

impl Row {
    /// A comparison, `target` as a ratio.
    pub fn of(id: &str, what: &str, unit: &str, target: Option<f64>, found: &Comparison) -> Self {
        let notes = vec![
            format!("{:.1} {unit} per transaction on both sides", found.events_per_transaction),
            format!(
                "per CPU-second: ours {}, limit {}",
                number(found.ours_per_cpu_second),
                number(found.limit_per_cpu_second)
            ),
            format!(
                "{} of {} pairs dropped (disk changed); limit p90/p10 {:.2}",
                found.dropped, found.pairs, found.limit_spread
            ),
        ];
        Self {
            id: id.to_owned(),
            what: what.to_owned(),
            class: found.class.to_string(),
            ours: format!("{} {unit}/s", number(found.ours)),
            limit: format!("{} {unit}/s", number(found.limit)),
            ratio: found.ratio.map_or("-".into(), |ratio| format!("{:.2}", ratio.median)),
            interval: found.ratio.map_or("-".into(), interval),
            target: target.map_or("-".into(), |target| format!(">= {target:.2}")),
            verdict: found.verdict.to_string(),
            notes,
            details: json!({
                "ours": found.ours, "limit": found.limit,
                "ratio": found.ratio.map(estimate), "cpu_ratio": found.cpu_ratio.map(estimate),
                "ours_per_cpu_second": found.ours_per_cpu_second, "limit_per_cpu_second": found.limit_per_cpu_second,
                "events_per_transaction": found.events_per_transaction,
                "pairs": found.pairs, "dropped": found.dropped, "limit_spread": found.limit_spread, "target": target,
            }),
        }
    }

    /// A number with a bound of its own.
    pub fn absolute(
        id: &str,
        what: &str,
        class: &str,
        ours: String,
        found: Estimate,
        target: &str,
        verdict: &Verdict,
    ) -> Self {
        Self {
            id: id.to_owned(),
            what: what.to_owned(),
            class: class.to_owned(),
            ours,
            limit: "-".into(),
            ratio: "-".into(),
            interval: interval(found),
            target: target.to_owned(),
            verdict: verdict.to_string(),
            notes: Vec::new(),
            details: json!({ "found": estimate(found) }),
        }
    }

    /// A benchmark that gave no number: as visible as a miss.
    pub fn failed(id: &str, what: &str, error: &anyhow::Error) -> Self {
        let empty = || "-".to_owned();
        Self {
            id: id.to_owned(),
            what: what.to_owned(),
            class: empty(),
            ours: empty(),
            limit: empty(),
            ratio: empty(),
            interval: empty(),
            target: empty(),
            verdict: "**failed**".into(),
            notes: vec![format!("{error:#}")],
            details: Value::Null,
        }
    }

    fn cells(&self) -> [&str; 9] {
        [
            &self.id,
            &self.what,
            &self.class,
            &self.ours,
            &self.limit,
            &self.ratio,
            &self.interval,
            &self.target,
            &self.verdict,
        ]
    }
}

fn estimate(found: Estimate) -> Value {
    json!({ "low": found.low, "median": found.median, "high": found.high })
}

fn interval(found: Estimate) -> String {
    match found.high {
        high if high < 10.0 => format!("{:.2} - {:.2}", found.low, found.high),
        _ => format!("{} - {}", number(found.low), number(found.high)),
    }
}

/// With thousands apart, at most three digits that mean something below that.
pub fn number(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A whole run.
#[derive(Debug, Serialize)]
pub struct Report {
    pub machine: Machine,
    pub rounds: usize,
    pub slice_seconds: f64,
    pub seed: u64,
    pub stolen_share: f64,
    /// Why nothing in here counts, if so.
    pub invalid: Option<String>,
    pub rows: Vec<Row>,
}

impl Report {
    /// The table and what belongs under it, as Markdown that reads well on a terminal.
    pub fn table(&self) -> String {
        let mut widths = HEADERS.map(|header| header.chars().count());
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row.cells()) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        let mut line = |cells: [&str; 9]| {
            for (cell, width) in cells.iter().zip(widths) {
                let _ = write!(text, "| {cell:width$} ");
            }
            text.push_str("|\n");
        };
        line(HEADERS);
        let rules = widths.map(|width| "-".repeat(width));
        line(std::array::from_fn(|at| rules[at].as_str()));
        self.rows.iter().for_each(|row| line(row.cells()));
        text.push('\n');
        for row in self.rows.iter().filter(|row| !row.notes.is_empty()) {
            let _ = writeln!(text, "- {} ({}): {}", row.id, row.class, row.notes.join("; "));
        }
        text
    }

    fn head(&self) -> String {
        let machine = &self.machine;
        let mut text = format!(
            "Written by the run itself, {}. Tidewire {}, SQLite {}.\n\n\
             Machine: {} cores ({}), {} GiB, Linux {}. Write and fdatasync of 4 KiB: p50 {} us, p99 {} us. \
             Load before: {}. Stolen during the run: {:.1} %.\n\
             {} rounds of {} s slices, seed {}. Payload: 1 KiB JSON orders, 1,000 keys, Zipf 0.99.\n",
            machine.date,
            machine.tidewire,
            machine.sqlite,
            machine.cores,
            machine.cpu,
            machine.memory_gib,
            machine.kernel,
            machine.fdatasync_p50_us,
            machine.fdatasync_p99_us,
            machine.load_before,
            self.stolen_share * 100.0,
            self.rounds,
            self.slice_seconds,
            self.seed,
        );
        if machine.failpoints {
            text.push_str("\nBuilt with failpoints, which cost a little at every step.\n");
        }
        if let Some(reason) = &self.invalid {
            let _ = writeln!(text, "\n**Nothing below counts: {reason}.**");
        }
        text
    }

    /// Rewrites the file, but for what is kept by hand.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let before = std::fs::read_to_string(path).unwrap_or_default();
        let kept = before.find(BY_HAND).map_or_else(|| format!("{BY_HAND}\n"), |at| before[at..].to_owned());
        let text = format!("# Benchmark results\n\n{}\n{}\n{kept}", self.head(), self.table());
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}
