use std::time::Duration;

use super::judge::{Verdict, at_least, at_most, judge, pair};
use super::rounds::{Class, Latency, Measure, Measured, Shape, Side, Sides, Slice, order, run};
use super::stats::{Estimate, Random, median, quantile};

fn slice(rate: f64, class: Class) -> Slice {
    Slice { events: (rate * 0.5) as u64, seconds: 0.5, cpu_seconds: 0.25, transactions: 100, class, latency: None }
}

fn measured(side: Side, rate: f64, probe: f64) -> Measured {
    Measured { side, slice: slice(rate, Class::Disk), probe: Some(probe) }
}

/// `rounds` rounds on a disk whose speed halves and doubles from round to round, by `ours` times the limit.
fn restless(rounds: usize, ours: f64, seed: u64) -> Vec<Measured> {
    let mut random = Random::new(seed);
    let sides = order(rounds, seed);
    let speeds: Vec<f64> = (0..rounds).map(|_| 0.9 + 0.2 * random.fraction()).collect();
    let rate = |at: usize, side| match side {
        Side::Ours => 10_000.0 * speeds[at / 2] * ours,
        Side::Limit => 10_000.0 * speeds[at / 2],
    };
    sides.iter().enumerate().map(|(at, &side)| measured(side, rate(at, side), 0.001 / speeds[at / 2])).collect()
}

#[test]
fn medians_and_quantiles_of_known_numbers() {
    assert_eq!(median(&[]), None);
    assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    assert_eq!(quantile(&[0.0, 10.0], 0.9), Some(9.0));
    assert_eq!(quantile(&[5.0], 0.1), Some(5.0));
}

#[test]
fn a_bootstrap_is_repeatable_holds_the_median_and_narrows_with_more_samples() {
    let mut random = Random::new(1);
    let many: Vec<f64> = (0..400).map(|_| 0.6 + 0.2 * random.fraction()).collect();
    let (few, wide) = (Estimate::of(&many[..12], 9).unwrap(), Estimate::of(&many, 9).unwrap());
    assert_eq!(Estimate::of(&many, 9), Some(wide));
    for estimate in [few, wide] {
        assert!(estimate.low <= estimate.median && estimate.median <= estimate.high, "{estimate:?}");
    }
    assert!(wide.high - wide.low < few.high - few.low, "{wide:?} {few:?}");
    assert!(wide.low < 0.7 && 0.7 < wide.high + 0.02, "{wide:?}");
    assert_eq!(Estimate::of(&[], 1), None);
}

#[test]
fn neither_side_always_goes_first() {
    for seed in 0..8 {
        let order = order(10, seed);
        let firsts = order.chunks(2).filter(|round| round[0] == Side::Ours).count();
        assert_eq!(firsts, 5);
        assert!(order.chunks(2).all(|round| round[0] != round[1]));
    }
}

#[test]
fn each_ratio_is_against_both_neighbours() {
    use Side::{Limit, Ours};
    let run = [
        measured(Ours, 500.0, 1.0),
        measured(Limit, 1_000.0, 1.0),
        measured(Limit, 3_000.0, 1.0),
        measured(Ours, 1_000.0, 1.0),
        measured(Ours, 1_000.0, 1.0),
        measured(Limit, 1_000.0, 1.0),
    ];
    let ratios = pair(&run, Measure::Rate);
    assert_eq!(ratios.measure, [0.5, 0.5, 0.5]);
    assert_eq!((ratios.pairs, ratios.dropped), (5, 0));
}

#[test]
fn pairs_on_a_changed_disk_are_dropped_and_counted() {
    use Side::{Limit, Ours};
    let run = [
        measured(Limit, 1_000.0, 1.0),
        measured(Ours, 500.0, 1.4),
        measured(Limit, 9_000.0, 2.2),
        measured(Ours, 700.0, 9.0),
    ];
    let ratios = pair(&run, Measure::Rate);
    assert_eq!(ratios.measure, [0.5]);
    assert_eq!((ratios.pairs, ratios.dropped), (3, 2));
    assert_eq!(ratios.cpu.len(), 2);
    let judged = judge(&run, Measure::Rate, Some(0.1), 1);
    assert_eq!(judged.verdict, Verdict::Met);
    let restless: Vec<Measured> =
        (0..10).map(|at| measured(if at % 2 == 0 { Ours } else { Limit }, 1_000.0, 2f64.powi(at))).collect();
    assert!(matches!(judge(&restless, Measure::Rate, Some(0.1), 1).verdict, Verdict::Invalid(_)));
}

#[test]
fn a_target_is_met_only_by_the_lower_end() {
    let estimate = |low, high| Estimate { low, median: 0.6, high };
    assert_eq!(at_least(estimate(0.58, 0.7), 0.6), Verdict::Met);
    assert_eq!(at_least(estimate(0.56, 0.7), 0.6), Verdict::Missed);
    assert_eq!(at_most(estimate(0.5, 0.63), 0.6), Verdict::Met);
    assert_eq!(at_most(estimate(0.5, 0.64), 0.6), Verdict::Missed);
}

#[test]
fn the_same_run_passes_or_fails_by_its_ratio_alone() {
    for seed in 0..5 {
        assert_eq!(judge(&restless(25, 0.7, seed), Measure::Rate, Some(0.6), seed).verdict, Verdict::Met);
        assert_eq!(judge(&restless(25, 0.5, seed), Measure::Rate, Some(0.6), seed).verdict, Verdict::Missed);
    }
    assert_eq!(judge(&restless(25, 0.5, 1), Measure::Rate, None, 1).verdict, Verdict::NoTarget);
}

#[test]
fn unequal_durability_gets_no_ratio() {
    let mut run = restless(10, 0.9, 1);
    for m in run.iter_mut().filter(|m| m.side == Side::Ours) {
        m.slice.class = Class::Os;
    }
    let judged = judge(&run, Measure::Rate, Some(0.6), 1);
    assert!(matches!(judged.verdict, Verdict::Refused(_)), "{judged:?}");
    assert_eq!((judged.ratio, judged.cpu_ratio), (None, None));
}

#[test]
fn a_limit_that_spreads_measures_the_noise() {
    let mut run = restless(20, 0.9, 1);
    for (at, m) in run.iter_mut().enumerate() {
        m.slice.class = Class::Mem;
        m.slice.events *= if at % 4 < 2 { 1 } else { 3 };
    }
    assert!(matches!(judge(&run, Measure::Rate, Some(0.6), 1).verdict, Verdict::Invalid(_)));
}

/// Two sides that do the same; ours dawdles.
struct Dawdling {
    dawdle: Duration,
    asked: Vec<Shape>,
}

impl Dawdling {
    fn work(&self, dawdle: Duration) -> Slice {
        let started = std::time::Instant::now();
        std::thread::sleep(Duration::from_millis(2) + dawdle);
        Slice {
            events: 64,
            seconds: started.elapsed().as_secs_f64(),
            cpu_seconds: 0.001,
            transactions: 2,
            class: Class::Disk,
            latency: None,
        }
    }
}

impl Sides for Dawdling {
    async fn ours(&mut self) -> anyhow::Result<Slice> {
        Ok(self.work(self.dawdle))
    }

    async fn limit(&mut self, shape: Shape) -> anyhow::Result<Slice> {
        self.asked.push(shape);
        Ok(self.work(Duration::ZERO))
    }

    fn probe(&mut self) -> anyhow::Result<Option<f64>> {
        Ok(Some(0.001))
    }
}

#[tokio::test]
async fn a_slowed_side_is_reported_as_a_miss() {
    let mut slow = Dawdling { dawdle: Duration::from_millis(6), asked: Vec::new() };
    let judged = judge(&run(&mut slow, 9, 3).await.unwrap(), Measure::Rate, Some(0.6), 3);
    assert_eq!(judged.verdict, Verdict::Missed, "{judged:?}");
    assert!(slow.asked.iter().all(|shape| shape.rows() == 32), "the limit imitates ours' transactions");
}

#[test]
fn of_times_less_is_better_and_the_measure_is_chosen() {
    let timed = |p50: f64, p99: f64| Some(Latency { p50, p99 });
    let mut run = restless(25, 1.0, 2);
    for measured in &mut run {
        measured.slice.latency = match measured.side {
            Side::Ours => timed(0.0011, 0.008),
            Side::Limit => timed(0.001, 0.001),
        };
    }
    assert_eq!(judge(&run, Measure::P50, Some(1.15), 1).verdict, Verdict::Met);
    assert_eq!(judge(&run, Measure::P50, Some(1.0), 1).verdict, Verdict::Missed);
    let tail = judge(&run, Measure::P99, Some(4.0), 1);
    assert_eq!((tail.verdict, tail.ours), (Verdict::Missed, 0.008));
}

#[test]
fn quantiles_of_times() {
    let times: Vec<f64> = (0..=100).map(f64::from).collect();
    assert_eq!(Latency::of(&times), Some(Latency { p50: 50.0, p99: 99.0 }));
    assert_eq!(Latency::of(&[]), None);
}
