//! How a PostgreSQL store is opened.

use std::fmt;
use std::time::Duration;

/// How a [`PostgresStore`](super::PostgresStore) is opened.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database?sslmode=verify-full&…`. The database must be there and be encoded
    /// in UTF-8; what lies in its schema `tidewire` is made when it is opened. Never a read replica.
    pub url: String,
    /// How many connections read at once (1 to 256).
    pub readers: u32,
    /// How many connections write what does not travel in groups: leases, starts, snapshots (1 to 64).
    pub writers: u32,
    /// How many connections wait for streams that somebody's long transaction has locked (1 to 64), so that the other
    /// commits need not.
    pub lanes: u32,
    /// The most commits in one transaction. Past a few hundred neither the disk nor the round trips limit any more.
    pub group_commits: usize,
    /// The most bytes of commits in one transaction, so that no group delays the next for long. A larger commit
    /// travels alone.
    pub group_bytes: usize,
    /// How many requests wait for the writer before callers wait to be let in: by default two full groups.
    pub queue: usize,
    /// How the server's views name our connections, so that an operator can tell whose they are.
    pub application_name: String,
    /// Told of every transaction of the writer: how many commits shared it, and how long it took. For metrics; to
    /// return at once.
    pub on_flush: Option<fn(usize, Duration)>,
}

impl PostgresOptions {
    /// The defaults, on the database of `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            url: "postgres://localhost/tidewire".into(),
            readers: 8,
            writers: 2,
            lanes: 2,
            group_commits: 512,
            group_bytes: 8 << 20,
            queue: 1_024,
            application_name: "tidewire".into(),
            on_flush: None,
        }
    }
}

/// Without the URL: it may hold a password.
impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("readers", &self.readers)
            .field("writers", &self.writers)
            .field("lanes", &self.lanes)
            .field("group_commits", &self.group_commits)
            .field("group_bytes", &self.group_bytes)
            .field("queue", &self.queue)
            .field("application_name", &self.application_name)
            .finish_non_exhaustive()
    }
}
