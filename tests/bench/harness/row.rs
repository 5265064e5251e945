//! One line of the results.

use serde::Serialize;
use serde_json::{Value, json};

use super::judge::{Comparison, Verdict};
use super::stats::Estimate;

/// Which table a line is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// Everything in one process and one directory.
    OneMachine,
    /// On servers.
    RealBackends,
}

impl Section {
    pub const ALL: [Self; 2] = [Self::OneMachine, Self::RealBackends];

    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::OneMachine => "One machine",
            Self::RealBackends => "Real backends",
        }
    }
}

/// The headings of [`Row::cells`].
pub const HEADERS: [&str; 10] =
    ["Id", "What", "Class", "Ours", "Limit", "Ours / limit", "95 % interval", "Target", "Verdict", "Run"];

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub section: Section,
    pub id: String,
    pub what: String,
    pub class: String,
    pub ours: String,
    pub limit: String,
    pub ratio: String,
    pub interval: String,
    pub target: String,
    pub verdict: String,
    /// The date of the run it is from.
    pub run: String,
    /// What else must be known to read the line.
    pub notes: Vec<String>,
    pub details: Value,
}

/// What a line is about.
#[derive(Clone, Debug)]
pub struct Subject {
    pub section: Section,
    pub id: String,
    pub what: String,
    /// What is counted: `events`, `sagas`.
    pub unit: &'static str,
}

impl Subject {
    pub fn new(section: Section, id: &str, what: impl Into<String>) -> Self {
        Self { section, id: id.to_owned(), what: what.into(), unit: "events" }
    }
}

impl Row {
    /// A comparison, `target` as a ratio.
    pub fn of(subject: &Subject, target: Option<f64>, found: &Comparison) -> Self {
        let unit = subject.unit;
        let is_time = found.measure.is_time();
        let show = |value: f64| if is_time { time(value) } else { format!("{} {unit}/s", number(value)) };
        let mut notes = Vec::new();
        if found.events_per_transaction > 0.0 && !is_time {
            notes.push(format!("{:.1} {unit} per transaction of ours", found.events_per_transaction));
        }
        let (ours, limit) = (number(found.ours_per_cpu_second), number(found.limit_per_cpu_second));
        let cpu = found.cpu_ratio.map_or(String::new(), |ratio| format!(" ({:.2})", ratio.median));
        notes.push(format!("per CPU-second: ours {ours}, limit {limit}{cpu}"));
        let (dropped, pairs) = (found.dropped, found.pairs);
        notes.push(format!(
            "{dropped} of {pairs} pairs dropped (disk changed); limit p90/p10 {:.2}",
            found.limit_spread
        ));
        let bound = if is_time { "<=" } else { ">=" };
        Self {
            class: found.class.to_string(),
            ours: show(found.ours),
            limit: show(found.limit),
            ratio: found.ratio.map_or("-".into(), |ratio| format!("{:.2}", ratio.median)),
            interval: found.ratio.map_or("-".into(), interval),
            target: target.map_or("-".into(), |target| format!("{bound} {target:.2}")),
            verdict: found.verdict.to_string(),
            notes,
            details: json!({
                "ours": found.ours, "limit": found.limit,
                "ratio": found.ratio.map(estimate), "cpu_ratio": found.cpu_ratio.map(estimate),
                "ours_per_cpu_second": found.ours_per_cpu_second, "limit_per_cpu_second": found.limit_per_cpu_second,
                "events_per_transaction": found.events_per_transaction,
                "pairs": found.pairs, "dropped": found.dropped, "limit_spread": found.limit_spread, "target": target,
            }),
            ..Self::empty(subject)
        }
    }

    /// A number with a bound of its own.
    pub fn absolute(subject: &Subject, ours: String, found: Estimate, target: &str, verdict: &Verdict) -> Self {
        Self {
            ours,
            interval: interval(found),
            target: target.to_owned(),
            verdict: verdict.to_string(),
            details: json!({ "found": estimate(found) }),
            ..Self::empty(subject)
        }
    }

    /// A benchmark that gave no number: as visible as a miss.
    pub fn failed(subject: &Subject, error: &anyhow::Error) -> Self {
        // One line, whatever a server said.
        let reason = format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ");
        Self { verdict: "**failed**".into(), notes: vec![reason], ..Self::empty(subject) }
    }

    fn empty(subject: &Subject) -> Self {
        let nothing = || "-".to_owned();
        Self {
            section: subject.section,
            id: subject.id.clone(),
            what: subject.what.clone(),
            class: nothing(),
            ours: nothing(),
            limit: nothing(),
            ratio: nothing(),
            interval: nothing(),
            target: nothing(),
            verdict: nothing(),
            run: nothing(),
            notes: Vec::new(),
            details: Value::Null,
        }
    }

    /// As the table shows it.
    pub fn cells(&self) -> [&str; 10] {
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
            &self.run,
        ]
    }

    /// From what [`Row::cells`] gave.
    pub fn read(section: Section, cells: [&str; 10]) -> Self {
        let [id, what, class, ours, limit, ratio, interval, target, verdict, run] = cells.map(str::to_owned);
        let (notes, details) = (Vec::new(), Value::Null);
        Self { section, id, what, class, ours, limit, ratio, interval, target, verdict, run, notes, details }
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

/// Seconds, in milliseconds.
fn time(seconds: f64) -> String {
    match seconds * 1e3 {
        millis if millis < 10.0 => format!("{millis:.3} ms"),
        millis => format!("{} ms", number(millis)),
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
