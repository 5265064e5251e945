//! From slices to a verdict.

use std::fmt;

use super::rounds::{Class, Measure, Measured, Side, Slice};
use super::stats::{Estimate, median, quantile};

/// Two slices whose disks differed more than this cannot be compared.
pub const MAX_PROBE_RATIO: f64 = 1.5;
/// Part of the target that the lower end of the interval must reach.
pub const TOLERANCE: f64 = 0.95;
/// Where the disk does not matter, a limit whose own slices spread more than this (p90 / p10) measures the noise.
pub const MAX_SPREAD: f64 = 1.6;
/// With fewer ratios than this share of the rounds, the disk was too restless for any verdict.
const MIN_SHARE: f64 = 0.4;

/// What became of a benchmark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Met,
    Missed,
    /// For information: nobody set a target.
    NoTarget,
    /// The run says nothing, for this reason.
    Invalid(String),
    /// The sides are not of one durability class.
    Refused(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Met => f.write_str("met"),
            Self::Missed => f.write_str("**missed**"),
            Self::NoTarget => f.write_str("-"),
            Self::Invalid(reason) => write!(f, "invalid: {reason}"),
            Self::Refused(reason) => write!(f, "refused: {reason}"),
        }
    }
}

/// Ours against the limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    pub measure: Measure,
    /// Median events per second, or seconds.
    pub ours: f64,
    /// Median events per second, or seconds.
    pub limit: f64,
    /// Ours by limit, neighbour by neighbour.
    pub ratio: Option<Estimate>,
    /// The same of events per second of processor time, over all rounds.
    pub cpu_ratio: Option<Estimate>,
    /// Median of events per second of processor time.
    pub ours_per_cpu_second: f64,
    /// Median of events per second of processor time.
    pub limit_per_cpu_second: f64,
    /// Median size of ours' transactions; 0 where nobody counted them.
    pub events_per_transaction: f64,
    /// Pairs of neighbours in all.
    pub pairs: usize,
    /// Of these, left out because the disk changed in between.
    pub dropped: usize,
    /// p90 / p10 of what was measured of the limit.
    pub limit_spread: f64,
    pub class: Class,
    pub verdict: Verdict,
}

/// The ratios of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ratios {
    /// Per round of ours: what was measured by the mean of the limit's slices before and after it.
    pub measure: Vec<f64>,
    /// The same for processor time, where the disk plays no part and nothing is left out.
    pub cpu: Vec<f64>,
    pub pairs: usize,
    pub dropped: usize,
}

/// Pairs each slice of ours with the nearest slice of the limit on either side.
pub fn pair(measured: &[Measured], measure: Measure) -> Ratios {
    let mut ratios = Ratios::default();
    let is_limit = |m: &&Measured| m.side == Side::Limit;
    for (at, ours) in measured.iter().enumerate().filter(|(_, m)| m.side == Side::Ours) {
        let before = measured[..at].iter().rev().find(is_limit);
        let after = measured[at..].iter().find(is_limit);
        let neighbours: Vec<&Measured> = before.into_iter().chain(after).collect();
        ratios.pairs += neighbours.len();
        let of = |f: &dyn Fn(&Slice) -> f64, those: &[&Measured]| {
            let sum: f64 = those.iter().map(|m| f(&m.slice)).sum();
            (!those.is_empty() && sum > 0.0).then(|| f(&ours.slice) * those.len() as f64 / sum)
        };
        ratios.cpu.extend(of(&Slice::per_cpu_second, &neighbours));
        let comparable: Vec<&Measured> =
            neighbours.iter().copied().filter(|limit| same_disk(ours.probe, limit.probe)).collect();
        ratios.dropped += neighbours.len() - comparable.len();
        ratios.measure.extend(of(&|slice| measure.of(slice), &comparable));
    }
    ratios
}

fn same_disk(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.max(b) <= a.min(b) * MAX_PROBE_RATIO,
        _ => true,
    }
}

/// Judges a run against `target` (ours by limit: at least that of rates, at most that of times), if there is one.
pub fn judge(measured: &[Measured], measure: Measure, target: Option<f64>, seed: u64) -> Comparison {
    let of = |side| measured.iter().filter(move |m| m.side == side).map(|m| m.slice);
    let middle = |side, f: &dyn Fn(&Slice) -> f64| {
        median(&of(side).map(|slice| f(&slice)).collect::<Vec<_>>()).unwrap_or_default()
    };
    let ratios = pair(measured, measure);
    let limits: Vec<f64> = of(Side::Limit).map(|slice| measure.of(&slice)).collect();
    let spread = match (quantile(&limits, 0.9), quantile(&limits, 0.1)) {
        (Some(high), Some(low)) if low > 0.0 => high / low,
        _ => f64::INFINITY,
    };
    let ratio = Estimate::of(&ratios.measure, seed);
    let mut comparison = Comparison {
        measure,
        ours: middle(Side::Ours, &|slice| measure.of(slice)),
        limit: middle(Side::Limit, &|slice| measure.of(slice)),
        ratio,
        cpu_ratio: Estimate::of(&ratios.cpu, seed),
        ours_per_cpu_second: middle(Side::Ours, &Slice::per_cpu_second),
        limit_per_cpu_second: middle(Side::Limit, &Slice::per_cpu_second),
        events_per_transaction: middle(Side::Ours, &|slice| slice.shape().events_per_transaction),
        pairs: ratios.pairs,
        dropped: ratios.dropped,
        limit_spread: spread,
        class: measured.first().map_or(Class::Mem, |m| m.slice.class),
        verdict: Verdict::NoTarget,
    };
    comparison.verdict = verdict(measured, &comparison, ratios.measure.len(), target);
    if matches!(comparison.verdict, Verdict::Refused(_)) {
        (comparison.ratio, comparison.cpu_ratio) = (None, None);
    }
    comparison
}

fn verdict(measured: &[Measured], found: &Comparison, ratios: usize, target: Option<f64>) -> Verdict {
    if let Some(other) = measured.iter().find(|m| m.slice.class != found.class) {
        return Verdict::Refused(format!("one side is `{}`, the other `{}`", found.class, other.slice.class));
    }
    let rounds = measured.iter().filter(|m| m.side == Side::Ours).count();
    let Some(ratio) = found.ratio.filter(|_| ratios as f64 >= MIN_SHARE * rounds as f64) else {
        return Verdict::Invalid(format!("the disk was restless: {ratios} of {rounds} rounds can be compared"));
    };
    if found.class != Class::Disk && !found.measure.is_time() && found.limit_spread > MAX_SPREAD {
        return Verdict::Invalid(format!("the limit's own slices spread {:.1}-fold", found.limit_spread));
    }
    match target {
        None => Verdict::NoTarget,
        Some(target) if found.measure.is_time() => at_most(ratio, target),
        Some(target) => at_least(ratio, target),
    }
}

/// The pass rule for more-is-better.
pub fn at_least(found: Estimate, target: f64) -> Verdict {
    if found.low >= TOLERANCE * target { Verdict::Met } else { Verdict::Missed }
}

/// The pass rule for less-is-better.
pub fn at_most(found: Estimate, target: f64) -> Verdict {
    if found.high <= target / TOLERANCE { Verdict::Met } else { Verdict::Missed }
}
