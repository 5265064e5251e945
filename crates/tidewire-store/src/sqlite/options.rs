//! How a SQLite store is opened.

use std::path::PathBuf;
use std::time::Duration;

/// How a [`SqliteStore`](super::SqliteStore) is opened.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The directory that holds the log; created if it is not there. On a local disk: SQLite's shared memory
    /// does not work over a network file system.
    pub dir: PathBuf,
    /// How many connections read at once (1 to 64); each is a thread.
    pub readers: u32,
    /// The most commits in one transaction. Past a few hundred the disk is no longer what limits.
    pub group_commits: usize,
    /// The most bytes of commits in one transaction, so that no group delays the next for long. A larger commit
    /// travels alone.
    pub group_bytes: usize,
    /// How many requests wait for the writer before callers wait to be let in: by default two full groups.
    pub queue: usize,
    /// Told of every flush: how many commits shared it, and how long it took. For metrics; to return at once.
    pub on_flush: Option<fn(usize, Duration)>,
}

impl SqliteOptions {
    /// The defaults, in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), ..Self::default() }
    }
}

impl Default for SqliteOptions {
    fn default() -> Self {
        let dir = PathBuf::from("tidewire-data");
        Self { dir, readers: 4, group_commits: 512, group_bytes: 8 << 20, queue: 1_024, on_flush: None }
    }
}
