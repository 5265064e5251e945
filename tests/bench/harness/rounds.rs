//! Rounds: both sides in turn, in an order that favours neither.

use std::fmt;

use super::stats::{Random, quantile};

/// What a write survives: part of a measurement's name, since it is most of its cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing: the directory is in memory.
    Mem,
    /// The end of the process.
    Os,
    /// The loss of power.
    Disk,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mem => "mem",
            Self::Os => "os",
            Self::Disk => "disk",
        })
    }
}

/// One side's work during one slice, after its result was checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slice {
    /// What was done within the measured time.
    pub events: u64,
    /// The measured time.
    pub seconds: f64,
    /// User and system time of everything that took part.
    pub cpu_seconds: f64,
    /// Write transactions within the measured time; 0 where nobody counted them.
    pub transactions: u64,
    /// As read back, not as asked for.
    pub class: Class,
    /// Where it is time that is measured.
    pub latency: Option<Latency>,
}

/// How long things took, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
}

impl Latency {
    /// Of all that was timed in a slice.
    pub fn of(seconds: &[f64]) -> Option<Self> {
        Some(Self { p50: quantile(seconds, 0.5)?, p99: quantile(seconds, 0.99)? })
    }
}

/// What of a slice is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Events per second: more is better.
    Rate,
    /// The median of the times: less is better.
    P50,
    /// Their 99th percentile: less is better.
    P99,
}

impl Measure {
    /// Of one slice.
    pub fn of(self, slice: &Slice) -> f64 {
        let time = |which: fn(&Latency) -> f64| slice.latency.as_ref().map_or(f64::NAN, which);
        match self {
            Self::Rate => slice.rate(),
            Self::P50 => time(|latency| latency.p50),
            Self::P99 => time(|latency| latency.p99),
        }
    }

    /// Whether less is better.
    pub fn is_time(self) -> bool {
        self != Self::Rate
    }
}

impl Slice {
    /// Events per second.
    pub fn rate(&self) -> f64 {
        self.events as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }

    /// Events per second of processor time.
    pub fn per_cpu_second(&self) -> f64 {
        self.events as f64 / self.cpu_seconds.max(1e-9)
    }

    /// How large its transactions really were.
    pub fn shape(&self) -> Shape {
        let counted = self.transactions > 0;
        Shape { events_per_transaction: if counted { self.events as f64 / self.transactions as f64 } else { 0.0 } }
    }
}

/// What the limit must imitate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// The size of ours' transactions; 0 where nobody counted them.
    pub events_per_transaction: f64,
}

impl Shape {
    /// Rows for a statement; at least one.
    pub fn rows(&self) -> usize {
        (self.events_per_transaction.round() as usize).max(1)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Ours,
    Limit,
}

/// One slice in its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    pub side: Side,
    pub slice: Slice,
    /// Seconds per fdatasync just before, where the disk matters.
    pub probe: Option<f64>,
}

/// Two ways of doing the same work. Every call starts from nothing and checks what it did.
pub trait Sides {
    /// Through the product.
    async fn ours(&mut self) -> anyhow::Result<Slice>;
    /// By hand, with nothing in between, in transactions of this shape.
    async fn limit(&mut self, shape: Shape) -> anyhow::Result<Slice>;
    /// How fast the disk is right now.
    fn probe(&mut self) -> anyhow::Result<Option<f64>>;
}

/// ours-limit, limit-ours, ours-limit, …, or the other way round, by seed.
pub fn order(rounds: usize, seed: u64) -> Vec<Side> {
    let first = Random::new(seed).below(2);
    (0..rounds)
        .flat_map(|round| match (round + first) % 2 {
            0 => [Side::Ours, Side::Limit],
            _ => [Side::Limit, Side::Ours],
        })
        .collect()
}

/// Runs both sides once unmeasured (which also tells the limit the shape), then `rounds` times in turn.
pub async fn run(sides: &mut impl Sides, rounds: usize, seed: u64) -> anyhow::Result<Vec<Measured>> {
    let mut shape = sides.ours().await?.shape();
    sides.limit(shape).await?;
    let mut measured = Vec::with_capacity(rounds * 2);
    for side in order(rounds, seed) {
        let probe = sides.probe()?;
        let slice = match side {
            Side::Ours => sides.ours().await?,
            Side::Limit => sides.limit(shape).await?,
        };
        if side == Side::Ours {
            shape = slice.shape();
        }
        measured.push(Measured { side, slice, probe });
    }
    Ok(measured)
}
