//! The command loop: load, decide, commit, and again when somebody was faster.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tidewire_core::failpoint::{self, Asked};
use tidewire_core::store::Conflict;
use tidewire_core::{
    Aggregate, Append, Commit, Committed, DocumentWrite, Envelope, EventSet, Expect, Key, Position, SchemaError,
    StoreError,
};

use crate::ports::Ports;

/// How often a command is decided again after losing a race. In one process commands of a key take turns, so
/// losing means another process, and one that decides without a pause wins many times in a row. After this many
/// tries, about a second, it is a storm, and the caller should hear of it.
const MAX_CONFLICTS: u32 = 64;
/// Events read at once while loading.
const LOAD_PAGE: usize = 500;
/// Aggregates kept in memory between commands: the expected version makes a stale one harmless.
const CACHED: usize = 4_096;

/// Carries out commands on aggregates of one kind. Shared by all requests of a service.
///
/// Ordering: commands of one key are decided one after the other. Idempotency: a command whose
/// [`Aggregate::decide`] answers with no events changes nothing.
pub struct Commands<A: Aggregate> {
    ports: Ports,
    source: &'static str,
    snapshot_every: u64,
    turns: Mutex<HashMap<Key, Weak<tokio::sync::Mutex<()>>>>,
    cache: Mutex<HashMap<Key, (A, u64)>>,
}

/// What a command led to.
#[derive(Debug)]
pub struct Executed {
    /// The events, as committed; none when nothing needed to happen.
    pub events: Vec<Envelope>,
    /// The version of the stream afterwards.
    pub version: u64,
    /// A position at which everything this command led to is in the log.
    pub position: Position,
}

/// Why a command was not carried out. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum CommandError<E: std::error::Error> {
    /// The aggregate's rules refuse it. Tell the caller.
    #[error(transparent)]
    Refused(E),
    /// The stream holds what this build cannot read.
    #[error(transparent)]
    Schema(SchemaError),
    /// The store; [`StoreError::is_transient`] says whether to try again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<A: Aggregate> Commands<A> {
    /// Commands whose events are emitted as `source`.
    pub fn new(ports: &Ports, source: &'static str) -> Self {
        Self { ports: ports.clone(), source, snapshot_every: 100, turns: Mutex::default(), cache: Mutex::default() }
    }

    /// With a snapshot every so many events (`store.snapshot_every`); 0 for none.
    pub fn snapshot_every(mut self, events: u64) -> Self {
        self.snapshot_every = events;
        self
    }

    /// Loads the aggregate of `key`, decides, and commits what follows together with the documents that
    /// `alongside` gives for it. After a lost race everything is done again, `alongside` included.
    pub async fn execute(
        &self,
        key: &Key,
        command: &A::Command,
        alongside: impl Fn(&[A::Event]) -> Vec<DocumentWrite> + Send + Sync,
    ) -> Result<Executed, CommandError<A::Error>> {
        let turn = self.turn(key);
        let _turn = turn.lock().await;
        let mut lost = 0;
        loop {
            let attempt = match lost {
                // What is in memory is usually right, and where it is not the expected version says so.
                0 => self.attempt_from_memory(key, command, &alongside).await,
                _ => None,
            };
            let attempt = match attempt {
                Some(attempt) => attempt,
                None => self.attempt(key, command, &alongside).await,
            };
            match attempt {
                Err(CommandError::Store(StoreError::Conflict(Conflict::Version { .. }))) if lost < MAX_CONFLICTS => {
                    lost += 1;
                    // Whoever lost starts later than whoever won; a little chance keeps the same one from losing again.
                    let jitter = self.ports.clock.random() % (1 << lost.min(5));
                    tokio::time::sleep(Duration::from_millis(jitter)).await;
                }
                other => return other,
            }
        }
    }

    async fn attempt(
        &self,
        key: &Key,
        command: &A::Command,
        alongside: &(impl Fn(&[A::Event]) -> Vec<DocumentWrite> + Send + Sync),
    ) -> Result<Executed, CommandError<A::Error>> {
        let (state, version) = self.load(key).await?;
        let events = state.decide(command).map_err(CommandError::Refused)?;
        self.carry_out(key, (state, version), events, alongside).await
    }

    /// As [`attempt`](Self::attempt), without looking whether the aggregate in memory is out of date; `None`, with it
    /// still there, when that has to be known: to refuse the command, or to say that nothing needs to happen.
    async fn attempt_from_memory(
        &self,
        key: &Key,
        command: &A::Command,
        alongside: &(impl Fn(&[A::Event]) -> Vec<DocumentWrite> + Send + Sync),
    ) -> Option<Result<Executed, CommandError<A::Error>>> {
        let (state, version) = self.cache.lock().unwrap_or_else(PoisonError::into_inner).remove(key)?;
        match state.decide(command) {
            Ok(events) if !events.is_empty() => Some(self.carry_out(key, (state, version), events, alongside).await),
            _ => {
                self.remember(key, state, version);
                None
            }
        }
    }

    /// Commits what was decided on the aggregate at this version.
    async fn carry_out(
        &self,
        key: &Key,
        (mut state, version): (A, u64),
        events: Vec<A::Event>,
        alongside: &(impl Fn(&[A::Event]) -> Vec<DocumentWrite> + Send + Sync),
    ) -> Result<Executed, CommandError<A::Error>> {
        let documents = alongside(&events);
        let mut envelopes = Vec::with_capacity(events.len());
        for event in &events {
            let mut draft = event.draft().map_err(CommandError::Schema)?;
            // The aggregate's key is the stream, whatever the event alone would say.
            draft.key = key.clone();
            envelopes.push(draft.seal(self.ports.clock.as_ref(), self.source, envelopes.first()));
        }
        let mut commit = Commit { documents, ..Commit::default() };
        if !envelopes.is_empty() {
            let expect = Expect::Version(version);
            commit.append.push(Append { key: key.clone(), expect, events: envelopes.clone() });
        }
        if commit.is_empty() {
            self.remember(key, state, version);
            let position = self.ports.store.head().await?;
            return Ok(Executed { events: envelopes, version, position });
        }
        if failpoint::reach("gateway.before_commit") == Asked::Fail {
            return Err(StoreError::Unavailable("failpoint".into()).into());
        }
        let position = match self.ports.store.commit(commit).await {
            Ok(Committed::Applied { last }) => last,
            // Commands carry neither marks nor timers.
            Ok(Committed::Duplicate) => {
                return Err(StoreError::Invalid("a command cannot be a duplicate".into()).into());
            }
            Err(error) => {
                // Still right as of `version`: the next attempt only has to read what came after.
                self.remember(key, state, version);
                return Err(error.into());
            }
        };
        if failpoint::reach("gateway.after_commit") == Asked::Fail {
            return Err(StoreError::Unknown("failpoint".into()).into());
        }
        let appended = envelopes.len() as u64;
        for event in events {
            state.apply(event);
        }
        let version_now = version + appended;
        self.snapshot_if_due(key, &state, version, version_now).await;
        self.remember(key, state, version_now);
        for (envelope, n) in envelopes.iter_mut().zip(version + 1..) {
            envelope.sequence = Some(n);
        }
        Ok(Executed { events: envelopes, version: version_now, position })
    }

    /// The aggregate as of now, and its version: from memory, else a snapshot and the events after it.
    pub async fn load(&self, key: &Key) -> Result<(A, u64), CommandError<A::Error>> {
        let cached = self.cache.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        let (mut state, mut version) = match cached {
            Some(cached) => cached,
            None => self.load_snapshot(key).await?,
        };
        loop {
            let page = self.ports.store.stream(key, version, LOAD_PAGE).await?;
            let last_page = page.len() < LOAD_PAGE;
            for recorded in page {
                version = recorded.envelope.sequence.unwrap_or(version + 1);
                if let Some(event) = A::Event::decode(&recorded.envelope).map_err(CommandError::Schema)? {
                    state.apply(event);
                }
            }
            if last_page {
                return Ok((state, version));
            }
        }
    }

    async fn load_snapshot(&self, key: &Key) -> Result<(A, u64), CommandError<A::Error>> {
        let found = self.ports.store.snapshot(&Self::snapshot_name(), key).await?;
        // A snapshot that cannot be read is no error: the events are the truth.
        let read = found.and_then(|(version, bytes)| Some((serde_json::from_slice(&bytes).ok()?, version)));
        Ok(read.unwrap_or_default())
    }

    async fn snapshot_if_due(&self, key: &Key, state: &A, before: u64, now: u64) {
        if self.snapshot_every == 0 || before / self.snapshot_every == now / self.snapshot_every {
            return;
        }
        let kept = match serde_json::to_vec(state) {
            Ok(bytes) => self.ports.store.keep_snapshot(&Self::snapshot_name(), key, now, bytes.into()).await,
            Err(error) => Err(StoreError::Invalid(error.to_string())),
        };
        if let Err(error) = kept {
            tracing::warn!(%key, aggregate = A::NAME, %error, "no snapshot was kept; loading stays slower until one is");
        }
    }

    /// What the snapshots of this aggregate are kept as.
    pub(crate) fn snapshot_name() -> String {
        format!("{}#{}", A::NAME, A::REVISION)
    }

    fn turn(&self, key: &Key) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(key).and_then(Weak::upgrade) {
            return turn;
        }
        if turns.len() >= CACHED {
            turns.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        turns.insert(key.clone(), Arc::downgrade(&turn));
        turn
    }

    fn remember(&self, key: &Key, state: A, version: u64) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHED {
            cache.clear();
        }
        cache.insert(key.clone(), (state, version));
    }
}
