//! Where the benchmarks write, and how fast that is.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use tempfile::TempDir;

use crate::harness::rounds::Class;
use crate::harness::stats::{median, quantile};

/// How long a probe lasts.
const PROBE: Duration = Duration::from_millis(100);
/// What one probing write holds: a page.
const PROBE_BYTES: usize = 4_096;
const TMPFS: i64 = 0x0102_1994;
const RAMFS: i64 = 0x8584_58f6;

/// A directory for fresh state, one per slice.
#[derive(Clone, Debug)]
pub struct Place {
    root: PathBuf,
    in_memory: bool,
}

impl Place {
    pub fn new(root: impl Into<PathBuf>) -> anyhow::Result<Self> {
        let root = root.into();
        std::fs::create_dir_all(&root).with_context(|| format!("cannot create {}", root.display()))?;
        let kind = rustix::fs::statfs(&root)?.f_type as i64;
        Ok(Self { root, in_memory: [TMPFS, RAMFS].contains(&kind) })
    }

    /// Nothing written here outlives the machine's memory.
    pub fn is_in_memory(&self) -> bool {
        self.in_memory
    }

    /// What a write that is durable as `class` is really worth here.
    pub fn class(&self, class: Class) -> Class {
        if self.in_memory { Class::Mem } else { class }
    }

    /// An empty directory that is removed when the answer is dropped.
    pub fn fresh(&self) -> anyhow::Result<TempDir> {
        Ok(tempfile::Builder::new().prefix("slice-").tempdir_in(&self.root)?)
    }

    /// Median seconds of a write and fdatasync now; nothing in memory.
    pub fn probe(&self) -> anyhow::Result<Option<f64>> {
        if self.in_memory {
            return Ok(None);
        }
        Ok(median(&flushes(&self.root, PROBE)?))
    }

    /// Median and 99th percentile of a longer probe, for the record.
    pub fn disk(&self) -> anyhow::Result<(f64, f64)> {
        let flushes = flushes(&self.root, PROBE * 10)?;
        Ok((median(&flushes).unwrap_or_default(), quantile(&flushes, 0.99).unwrap_or_default()))
    }
}

fn flushes(dir: &Path, patience: Duration) -> anyhow::Result<Vec<f64>> {
    let mut file: File = tempfile::tempfile_in(dir)?;
    let page = [0x5a; PROBE_BYTES];
    let (started, mut flushes) = (Instant::now(), Vec::new());
    while started.elapsed() < patience || flushes.is_empty() {
        let began = Instant::now();
        file.write_all(&page)?;
        file.sync_data()?;
        flushes.push(began.elapsed().as_secs_f64());
        if flushes.len() % 256 == 0 {
            file.rewind()?;
        }
    }
    Ok(flushes)
}
