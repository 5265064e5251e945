//! The sequencer of this process: gives positions to batches that were committed without one, tells those who wait for
//! theirs, and notices what other processes append. Any number of processes run one each: the lock on `head` makes
//! them take turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPool};
use sqlx::{AssertSqlSafe, Row, query, raw_sql};
use tidewire_core::Position;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::connect::{Link, Role};

/// How soon after it found something it looks again, and how long it waits at most when there is nothing.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));
/// The most batches numbered while the right to give positions is held: a few milliseconds' worth.
const BATCHES: i32 = 1_000;
/// At most one notification in this time: each takes a lock on the whole database for a moment.
const NOTIFY: Duration = Duration::from_millis(10);
/// The channel that processes are notified on; what is sent is the last position.
const CHANNEL: &str = "tidewire";
/// How many wait for a sequencer to have time for them; beyond it they wait to be let in.
pub(super) const QUEUE: usize = 256;

/// What the sequencer is asked for.
pub(super) enum Request {
    /// The position that a committed batch follows, once it has one.
    Place(i64, oneshot::Sender<u64>),
    /// Says when everything that was committed before has its position.
    CatchUp(oneshot::Sender<()>),
    /// To end, when nobody waits any more.
    Stop(oneshot::Sender<()>),
}

/// What the sequencer shares with the rest of the store.
pub(super) struct Horizon {
    /// The last position that is known here.
    pub head: watch::Sender<Position>,
    /// The last position that was given here.
    given: AtomicU64,
    /// Something happened that the sequencer should look at.
    wake: Notify,
}

impl Horizon {
    pub(super) fn new(head: Position) -> Self {
        Self { head: watch::Sender::new(head), given: AtomicU64::new(0), wake: Notify::new() }
    }

    /// The log reaches to `position`.
    pub(super) fn reach(&self, position: u64) {
        self.head.send_if_modified(|known| {
            let further = known.0 < position;
            known.0 = known.0.max(position);
            further
        });
    }

    /// Our own writer gave positions up to this one: others are told before long.
    pub(super) fn give(&self, position: u64) {
        self.given.fetch_max(position, Ordering::AcqRel);
        self.reach(position);
        self.wake.notify_one();
    }
}

/// The task's belongings.
pub(super) struct Sequencer {
    link: Link,
    horizon: Arc<Horizon>,
    places: Vec<(i64, oneshot::Sender<u64>)>,
    behind: Vec<oneshot::Sender<()>>,
    stopping: Option<oneshot::Sender<()>>,
    notified: (u64, Instant),
}

impl Sequencer {
    pub(super) fn new(options: PgConnectOptions, horizon: Arc<Horizon>) -> Self {
        Self {
            link: Link::new(options, Role::Work),
            horizon,
            places: Vec::new(),
            behind: Vec::new(),
            stopping: None,
            notified: (0, Instant::now()),
        }
    }

    /// Runs until it is stopped, or nobody can ask it for anything any more.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut pause = PAUSES.0;
        let mut last = Instant::now();
        while self.stopping.is_none() || !self.places.is_empty() || !self.behind.is_empty() {
            let is_open = tokio::select! {
                request = requests.recv() => match request {
                    Some(request) => {
                        self.take(request);
                        true
                    }
                    None => false,
                },
                () = pulse(&self.horizon.wake, last) => true,
                () = tokio::time::sleep(pause) => true,
            };
            if !is_open {
                break;
            }
            while let Ok(request) = requests.try_recv() {
                self.take(request);
            }
            match self.round().await {
                Ok(true) => pause = PAUSES.0,
                Ok(false) => pause = (pause * 2).min(PAUSES.1),
                Err(error) => {
                    tracing::debug!(%error, "the sequencer starts over");
                    self.link.drop_connection();
                    // At once after a connection that was lost, less and less often while the server is away.
                    pause = (pause * 2).min(PAUSES.1);
                    if self.stopping.is_some() {
                        break;
                    }
                }
            }
            last = Instant::now();
        }
        self.link.close().await;
        if let Some(stopping) = self.stopping {
            let _ = stopping.send(());
        }
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Place(batch, reply) => self.places.push((batch, reply)),
            Request::CatchUp(reply) => self.behind.push(reply),
            Request::Stop(reply) => self.stopping = Some(reply),
        }
    }

    /// Looks once, and says whether there was anything.
    async fn round(&mut self) -> Result<bool, sqlx::Error> {
        let before = self.horizon.head.borrow().0;
        let connection = self.link.get().await?;
        let text = "select last_position, exists (select from tidewire.batch where first_position is null) \
                    from tidewire.head";
        let row = query(text).fetch_one(&mut *connection).await?;
        let mut head: i64 = row.try_get(0)?;
        let mut is_behind: bool = row.try_get(1)?;
        while is_behind {
            let text = "select events, last_position, is_more from tidewire.sequence($1)";
            let row = query(text).bind(BATCHES).fetch_one(&mut *connection).await?;
            (head, is_behind) = (row.try_get(1)?, row.try_get(2)?);
            if row.try_get::<i64, _>(0)? > 0 {
                self.horizon.given.fetch_max(head.unsigned_abs(), Ordering::AcqRel);
            }
        }
        self.horizon.reach(head.unsigned_abs());
        self.tell().await?;
        self.notify().await?;
        for reply in self.behind.drain(..) {
            let _ = reply.send(());
        }
        Ok(self.horizon.head.borrow().0 > before || !self.places.is_empty())
    }

    /// Tells those whose batches have a position by now.
    async fn tell(&mut self) -> Result<(), sqlx::Error> {
        self.places.retain(|(_, reply)| !reply.is_closed());
        if self.places.is_empty() {
            return Ok(());
        }
        let wanted: Vec<i64> = self.places.iter().map(|(batch, _)| *batch).collect();
        let text =
            "select id, first_position - 1 from tidewire.batch where id = any($1) and first_position is not null";
        let rows = query(text).bind(&wanted).fetch_all(self.link.get().await?).await?;
        for row in rows {
            let (id, after): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            if let Some(at) = self.places.iter().position(|(batch, _)| *batch == id) {
                let _ = self.places.swap_remove(at).1.send(after.unsigned_abs());
            }
        }
        Ok(())
    }

    /// Wakes the other processes, if positions were given here. On its own, after the commit that gave them: the lock
    /// that a notification takes on the database is then held while nothing is written to disk.
    async fn notify(&mut self) -> Result<(), sqlx::Error> {
        let given = self.horizon.given.load(Ordering::Acquire);
        if given <= self.notified.0 || self.notified.1.elapsed() < NOTIFY {
            return Ok(());
        }
        self.notified = (given, Instant::now());
        // A notification need not outlive a crash: without waiting for the disk the lock is gone at once.
        let text = format!(
            "begin; set local synchronous_commit = off; select pg_notify('{CHANNEL}', '{given}')::text; commit"
        );
        raw_sql(AssertSqlSafe(text)).execute(self.link.get().await?).await.map(drop)
    }
}

/// Returns when somebody wakes the sequencer, but not too soon after it looked last.
async fn pulse(wake: &Notify, last: Instant) {
    wake.notified().await;
    tokio::time::sleep_until(last + NOTIFY).await;
}

/// Wakes the sequencer when another process has given positions. Only a hint: without it, or when it misses one, the
/// sequencer looks by itself.
pub(super) async fn listen(pool: PgPool, horizon: Arc<Horizon>) {
    loop {
        if let Ok(mut listener) = PgListener::connect_with(&pool).await
            && listener.listen(CHANNEL).await.is_ok()
        {
            while let Ok(heard) = listener.recv().await {
                let position: u64 = heard.payload().parse().unwrap_or(u64::MAX);
                if position > horizon.head.borrow().0 {
                    horizon.wake.notify_one();
                }
            }
        }
        if pool.is_closed() {
            return;
        }
        tokio::time::sleep(PAUSES.1).await;
    }
}
