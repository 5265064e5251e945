//! The unit of work: what a run of events has asked for so far, seen by the next event of the run.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Clock;
use crate::commit::{Append, Commit, DocumentWrite, Expect, ExpectDocument};
use crate::draft::Draft;
use crate::effect::{Call, Effect};
use crate::envelope::Envelope;
use crate::event::Event;
use crate::handler::HandlerError;
use crate::key::Key;
use crate::store::{DocumentQuery, Store};
use crate::timer::{Timer, TimerWrite};

type DocumentId = (String, String);

/// A document as this unit sees it.
#[derive(Clone)]
struct Seen {
    /// What must be in the store for our write to be right.
    expect: ExpectDocument,
    /// The value now.
    value: Option<Bytes>,
    /// Changed here.
    written: bool,
}

/// What several events of one consumer have asked for, to be committed as one. Documents written for an
/// earlier event are what a later one reads, before anything is stored.
pub struct Unit {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    consumer: String,
    source: String,
    documents: HashMap<DocumentId, Seen>,
    read_ahead: ReadAhead,
    commit: Commit,
    muted: Option<Muted>,
}

/// What handlers asked for in a muted unit and did not get.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Muted {
    /// Events they emitted.
    pub events: Vec<Envelope>,
    /// Timers they set or cancelled.
    pub timers: Vec<TimerWrite>,
    /// Effects they asked for.
    pub effects: Vec<Effect>,
}

/// Documents that were read before the units that need them began, shared between those. What changed since is
/// found out like any change under a unit: its commit conflicts.
#[derive(Clone, Default)]
pub struct ReadAhead(Arc<HashMap<DocumentId, Seen>>);

impl Unit {
    /// An empty unit of `consumer`, whose events are emitted as `source`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, consumer: &str, source: &str) -> Self {
        Self {
            store,
            clock,
            consumer: consumer.to_owned(),
            source: source.to_owned(),
            documents: HashMap::new(),
            read_ahead: ReadAhead::default(),
            commit: Commit::default(),
            muted: None,
        }
    }

    /// A unit that lets documents through and nothing else: events, timers and effects that are asked for are set
    /// aside ([`Unit::take_muted`]) and never reach its commit. A replay hands handlers such units.
    pub fn muted(mut self) -> Self {
        self.muted = Some(Muted::default());
        self
    }

    /// What was asked for and muted since the last call. Nothing, unless the unit is [muted](Unit::muted).
    pub fn take_muted(&mut self) -> Muted {
        self.muted.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// With documents that were read ahead.
    pub fn with(mut self, read_ahead: ReadAhead) -> Self {
        self.read_ahead = read_ahead;
        self
    }

    /// The documents this unit has read, for others. What it was asked for is forgotten.
    pub fn into_read_ahead(self) -> ReadAhead {
        let read = self.documents.into_iter().filter(|(_, seen)| !seen.written);
        ReadAhead(Arc::new(read.collect()))
    }

    fn seen(&self, at: &DocumentId) -> Option<&Seen> {
        self.documents.get(at).or_else(|| self.read_ahead.0.get(at))
    }

    /// A context for reacting to `cause`. Nothing it is asked for counts until [`Context::keep`].
    pub fn context<'a>(&'a mut self, cause: Option<&'a Envelope>, attempt: u32) -> Context<'a> {
        Context { unit: self, cause, attempt, staged: Staged::default(), effects: 0 }
    }

    /// The commit so far, to be completed (marks, fence) by the loop.
    pub fn commit_mut(&mut self) -> &mut Commit {
        &mut self.commit
    }

    /// Everything asked for, as one commit.
    pub fn into_commit(self) -> Commit {
        let mut commit = self.commit;
        let written = self.documents.into_iter().filter(|(_, seen)| seen.written);
        commit.documents.extend(written.map(|((collection, id), seen)| DocumentWrite {
            collection,
            id,
            expect: seen.expect,
            value: seen.value,
        }));
        // The map's order is arbitrary; a commit's should not be.
        commit.documents.sort_by(|a, b| (&a.collection, &a.id).cmp(&(&b.collection, &b.id)));
        commit
    }
}

/// What one event has asked for.
#[derive(Default)]
struct Staged {
    events: Vec<Envelope>,
    documents: HashMap<DocumentId, Seen>,
    timers: Vec<TimerWrite>,
    effects: Vec<Effect>,
}

/// A handler's whole world: what it can read, and where it puts what it wants to become true.
pub struct Context<'a> {
    unit: &'a mut Unit,
    cause: Option<&'a Envelope>,
    attempt: u32,
    staged: Staged,
    effects: usize,
}

impl Context<'_> {
    /// The clock.
    pub fn clock(&self) -> &dyn Clock {
        self.unit.clock.as_ref()
    }

    /// The current time.
    pub fn now(&self) -> DateTime<Utc> {
        self.unit.clock.now()
    }

    /// How often the handler was started for this event, this time included.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether events, timers and effects asked for here are set aside instead of becoming true, as in a replay. A
    /// handler need not look; one that tells people what it did may want to.
    pub fn is_muted(&self) -> bool {
        self.unit.muted.is_some()
    }

    /// The consumer this runs for.
    pub fn consumer(&self) -> &str {
        &self.unit.consumer
    }

    /// For reading what documents do not hold (streams, the log). What is read so is not guarded against
    /// change; documents read through [`Context::get`] are.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.unit.store
    }

    /// Reads a document. If it is written later in this unit, the commit happens only if nobody else changed
    /// it in between.
    pub async fn get<T: DeserializeOwned>(&mut self, collection: &str, id: &str) -> Result<Option<T>, HandlerError> {
        match self.raw(collection, id).await? {
            None => Ok(None),
            Some(bytes) => decode(collection, id, &bytes).map(Some),
        }
    }

    async fn raw(&mut self, collection: &str, id: &str) -> Result<Option<Bytes>, HandlerError> {
        let at = (collection.to_owned(), id.to_owned());
        if let Some(seen) = self.staged.documents.get(&at).or_else(|| self.unit.seen(&at)) {
            return Ok(seen.value.clone());
        }
        let found = self.unit.store.documents(collection, std::slice::from_ref(&at.1)).await?.pop().flatten();
        let expect =
            found.as_ref().map_or(ExpectDocument::Absent, |document| ExpectDocument::Revision(document.revision));
        let value = found.map(|document| document.value);
        // Kept by the unit, not the stage: what was read stays true for the next event even if this one fails.
        self.unit.documents.insert(at, Seen { expect, value: value.clone(), written: false });
        Ok(value)
    }

    /// Reads several documents of one collection with one look-up.
    pub async fn prefetch(&mut self, collection: &str, ids: &[String]) -> Result<(), HandlerError> {
        let known = |id: &String| {
            let at = (collection.to_owned(), id.clone());
            self.staged.documents.contains_key(&at) || self.unit.seen(&at).is_some()
        };
        let wanted: Vec<String> = ids.iter().filter(|id| !known(id)).cloned().collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let found = self.unit.store.documents(collection, &wanted).await?;
        for (id, document) in wanted.into_iter().zip(found) {
            let expect = document.as_ref().map_or(ExpectDocument::Absent, |d| ExpectDocument::Revision(d.revision));
            let value = document.map(|d| d.value);
            self.unit.documents.insert((collection.to_owned(), id), Seen { expect, value, written: false });
        }
        Ok(())
    }

    /// Lists documents whose ids start with `prefix`, in order, as the store has them with this unit's own
    /// writes laid over. The list is not guarded against change.
    pub async fn list<T: DeserializeOwned>(
        &mut self,
        collection: &str,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, T)>, HandlerError> {
        let query = DocumentQuery { collection: collection.into(), prefix: prefix.into(), limit, ..Default::default() };
        let stored = self.unit.store.list(&query).await?;
        let mut rows: std::collections::BTreeMap<String, Bytes> = stored.into_iter().map(|d| (d.id, d.value)).collect();
        for ((in_collection, id), seen) in self.unit.documents.iter().chain(self.staged.documents.iter()) {
            if in_collection == collection && id.starts_with(prefix) && seen.written {
                match &seen.value {
                    Some(value) => rows.insert(id.clone(), value.clone()),
                    None => rows.remove(id),
                };
            }
        }
        rows.into_iter().take(limit).map(|(id, bytes)| Ok((id.clone(), decode(collection, &id, &bytes)?))).collect()
    }

    /// Writes a document. If it was read before, the commit happens only if nobody else changed it since;
    /// otherwise the last writer wins.
    pub fn put<T: Serialize>(&mut self, collection: &str, id: &str, value: &T) -> Result<(), HandlerError> {
        let bytes = serde_json::to_vec(value).map_err(|error| {
            HandlerError::permanent(
                "handler.failed",
                format!("document `{collection}/{id}` cannot be written as JSON: {error}"),
            )
        })?;
        self.write(collection, id, Some(bytes.into()));
        Ok(())
    }

    /// Removes a document, if it is there.
    pub fn remove(&mut self, collection: &str, id: &str) {
        self.write(collection, id, None);
    }

    fn write(&mut self, collection: &str, id: &str, value: Option<Bytes>) {
        let at = (collection.to_owned(), id.to_owned());
        let before = self.staged.documents.get(&at).or_else(|| self.unit.seen(&at));
        let expect = before.map_or(ExpectDocument::Any, |seen| seen.expect);
        self.staged.documents.insert(at, Seen { expect, value, written: true });
    }

    /// Emits an event, caused by the one being handled. It appears in the log if this unit commits.
    pub fn emit<E: Event>(&mut self, event: &E) -> Result<(), HandlerError> {
        self.emit_draft(Draft::of(event)?);
        Ok(())
    }

    /// [`Context::emit`] for a draft.
    pub fn emit_draft(&mut self, draft: Draft) {
        let envelope = draft.seal(self.unit.clock.as_ref(), &self.unit.source, self.cause);
        self.staged.events.push(envelope);
    }

    /// Asks for an effect outside the database. It is carried out after the commit, at least once, always
    /// with the same idempotency key.
    pub fn effect(&mut self, call: Call) {
        let (source, id) = self.cause.map_or(("", ""), |cause| (cause.source.as_str(), cause.id.as_str()));
        let fresh;
        let id = if id.is_empty() {
            fresh = self.unit.clock.id().to_string();
            fresh.as_str()
        } else {
            id
        };
        let effect = Effect::new(&self.unit.consumer, source, id, self.effects, call);
        self.effects += 1;
        self.staged.effects.push(effect);
    }

    /// Asks to be woken ([`Handler::wake`](crate::Handler::wake)) at `due`. The same id again moves the timer.
    pub fn set_timer(&mut self, id: &str, key: &Key, due: DateTime<Utc>, data: impl Into<Bytes>) {
        let owner = self.unit.consumer.clone();
        self.staged.timers.push(TimerWrite::Set(Timer {
            owner,
            id: id.to_owned(),
            key: key.clone(),
            due,
            data: data.into(),
        }));
    }

    /// Takes a timer back, if it is set.
    pub fn cancel_timer(&mut self, id: &str) {
        self.staged.timers.push(TimerWrite::Cancel { owner: self.unit.consumer.clone(), id: id.to_owned() });
    }

    /// Adds everything this context was asked for to its unit. A context that is dropped instead leaves no trace.
    pub fn keep(self) {
        let Staged { events, documents, timers, effects } = self.staged;
        self.unit.documents.extend(documents);
        if let Some(muted) = &mut self.unit.muted {
            muted.events.extend(events);
            muted.timers.extend(timers);
            muted.effects.extend(effects);
            return;
        }
        for event in events {
            match self.unit.commit.append.iter_mut().find(|append| append.key == event.key) {
                Some(append) => append.events.push(event),
                None => self.unit.commit.append.push(Append {
                    key: event.key.clone(),
                    expect: Expect::Any,
                    events: vec![event],
                }),
            }
        }
        self.unit.commit.timers.extend(timers);
        self.unit.commit.effects.extend(effects);
    }
}

fn decode<T: DeserializeOwned>(collection: &str, id: &str, bytes: &[u8]) -> Result<T, HandlerError> {
    serde_json::from_slice(bytes).map_err(|error| {
        HandlerError::permanent(
            "handler.document",
            format!("document `{collection}/{id}` is not what the handler expects: {error}"),
        )
    })
}
