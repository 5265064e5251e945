//! Input that nobody would think of, for everything that reads what strangers write: the codec, CloudEvents SQL and the
//! configuration. Each runs for a bounded time within the suite, from a corpus of what is known to be interesting.
//!
//! What a check does not survive is written to `regressions/<target>/` and named; committed there, it is tried first by
//! every run from then on.

mod cesql;
mod codec;
mod config;
mod mutate;

use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mutate::Mutator;

/// How long one target is tried in a run of the suite: enough for some ten thousand inputs without optimisation.
const BUDGET: Duration = Duration::from_secs(6);
/// The longest input: what is interesting about longer ones is their length alone, which limits have tests for.
const MAX_INPUT: usize = 8 << 10;
/// No check of one input may take longer, on a busy machine without optimisation: what does is no longer bounded.
const MAX_CHECK: Duration = Duration::from_secs(5);

/// What is tried.
struct Target {
    name: &'static str,
    /// Where mutation begins.
    corpus: Vec<Vec<u8>>,
    /// What is worth inserting.
    dictionary: &'static [&'static str],
    /// Panics for input that breaks a promise; answers whether the input was accepted.
    check: fn(&[u8]) -> bool,
}

impl Target {
    /// Tries regressions, the corpus, and then mutations of it until the time is over.
    fn run(self) {
        let seed = std::collections::hash_map::RandomState::new().build_hasher().finish();
        let mut mutator = Mutator::new(seed, self.dictionary, MAX_INPUT);
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions").join(self.name);
        let mut regressions: Vec<Vec<u8>> = Vec::new();
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            regressions.push(std::fs::read(entry.expect("an entry").path()).expect("readable"));
        }
        let (mut tried, mut accepted) = (0_u64, 0_u64);
        for input in regressions.iter().chain(&self.corpus) {
            accepted += u64::from(self.one(&folder, input));
            tried += 1;
        }
        let end = Instant::now() + BUDGET;
        while Instant::now() < end {
            let input = mutator.mutate(&self.corpus);
            accepted += u64::from(self.one(&folder, &input));
            tried += 1;
        }
        let (name, known) = (self.name, regressions.len());
        println!("fuzzed {name}: {tried} inputs, {accepted} of them accepted, {known} regressions");
        // A corpus of which nothing is accepted says nothing of what is done with what is.
        assert!(accepted > 0 && accepted < tried, "{accepted} of {tried} accepted");
    }

    fn one(&self, folder: &std::path::Path, input: &[u8]) -> bool {
        let started = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.check)(input)));
        let took = started.elapsed();
        if let Ok(accepted) = outcome
            && took < MAX_CHECK
        {
            return accepted;
        }
        let name = format!("{:016x}", hash(input));
        let path = folder.join(&name);
        std::fs::create_dir_all(folder).expect("a folder");
        std::fs::write(&path, input).expect("written");
        panic!("{} does not survive {} (after {took:?}): {}", self.name, path.display(), input.escape_ascii());
    }
}

fn hash(input: &[u8]) -> u64 {
    input.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
