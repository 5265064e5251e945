//! Deciding a group: each commit is seen against the database and what the commits before it in the same group
//! will have written, and stands or falls alone.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tidewire_core::store::Conflict;
use tidewire_core::{
    Append, Committed, DocumentWrite, Effect, EffectOutcome, Expect, ExpectDocument, Key, Park, Position, StoreError,
    Timer, TimerWrite,
};

use super::known::{Known, MarkKey, Pair};
use super::prepared::{Columns, Prepared};
use super::state::{Lease, State, Stream};

/// An event with its place.
pub(crate) struct EventRow<'a, C: Columns> {
    pub position: u64,
    pub stream: i64,
    pub version: u64,
    pub bucket: u8,
    pub envelope: &'a tidewire_core::Envelope,
    pub encoded: &'a C::Event,
}

/// An event to be parked.
pub(crate) struct ParkRow<'a, C: Columns> {
    pub consumer: i64,
    pub park: &'a Park,
    pub id: &'a C::Id,
    pub columns: &'a C::Parked,
}

/// A document as the group leaves it.
pub(crate) struct DocumentRow<'a> {
    pub at: Pair<'a>,
    /// 0: it is not there.
    pub revision: u64,
    /// Whether the database did not have it before the group.
    pub is_new: bool,
    pub value: Option<&'a Bytes>,
}

/// Everything a group writes.
pub(crate) struct Writes<'a, C: Columns> {
    pub consumers: Vec<(i64, &'a str)>,
    pub streams: Vec<(i64, &'a Key)>,
    pub events: Vec<EventRow<'a, C>>,
    pub marks: Vec<MarkKey<'a, C::Id>>,
    pub documents: Vec<DocumentRow<'a>>,
    pub unparks: Vec<u64>,
    pub parks: Vec<ParkRow<'a, C>>,
    pub timers: HashMap<Pair<'a>, Option<&'a Timer>>,
    pub effects: Vec<&'a Effect>,
    pub settled: Vec<&'a EffectOutcome>,
    pub leases: HashMap<&'a str, Lease>,
    pub starts: HashMap<MarkKey<'a, C::Id>, (u32, Option<&'a str>)>,
    pub snapshots: HashMap<Pair<'a>, (u64, &'a Bytes)>,
}

impl<C: Columns> Default for Writes<'_, C> {
    fn default() -> Self {
        Self {
            consumers: Vec::new(),
            streams: Vec::new(),
            events: Vec::new(),
            marks: Vec::new(),
            documents: Vec::new(),
            unparks: Vec::new(),
            parks: Vec::new(),
            timers: HashMap::new(),
            effects: Vec::new(),
            settled: Vec::new(),
            leases: HashMap::new(),
            starts: HashMap::new(),
            snapshots: HashMap::new(),
        }
    }
}

impl<C: Columns> Writes<'_, C> {
    /// Whether there is anything to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
            && self.marks.is_empty()
            && self.documents.is_empty()
            && self.unparks.is_empty()
            && self.parks.is_empty()
            && self.timers.is_empty()
            && self.effects.is_empty()
            && self.settled.is_empty()
            && self.leases.is_empty()
            && self.starts.is_empty()
            && self.snapshots.is_empty()
    }
}

/// A group being decided.
pub(crate) struct Plan<'a, C: Columns> {
    state: &'a State,
    pub known: Known<'a, C>,
    pub now: DateTime<Utc>,
    pub head: u64,
    pub last_stream: i64,
    pub streams: HashMap<&'a Key, Stream>,
    pub writes: Writes<'a, C>,
    marks: HashSet<MarkKey<'a, C::Id>>,
    parked: HashSet<MarkKey<'a, C::Id>>,
    unparked: HashSet<u64>,
    /// By how much the group changes the number of events parked per consumer and key.
    parked_keys: HashMap<(i64, String), i64>,
    documents: HashMap<Pair<'a>, usize>,
    events: HashSet<(&'a C::Id, &'a str)>,
    /// Whether event ids are to be checked here rather than by the index.
    check_events: bool,
}

impl<'a, C: Columns> Plan<'a, C> {
    pub(crate) fn new(state: &'a State, known: Known<'a, C>, now: DateTime<Utc>, check_events: bool) -> Self {
        Self {
            state,
            now,
            head: state.head,
            last_stream: state.last_stream,
            streams: HashMap::new(),
            writes: Writes { consumers: known.new_consumers.clone(), ..Writes::default() },
            known,
            marks: HashSet::new(),
            parked: HashSet::new(),
            unparked: HashSet::new(),
            parked_keys: HashMap::new(),
            documents: HashMap::new(),
            events: HashSet::new(),
            check_events,
        }
    }

    /// How many events of the group are tried for the first time.
    pub(crate) fn new_attempts(&self) -> u64 {
        self.writes.starts.keys().filter(|mark| !self.known.starts.contains_key(mark)).count() as u64
    }

    /// Decides the next commit of the group.
    pub(crate) fn commit(&mut self, prepared: &'a Prepared<C>) -> Result<Committed, StoreError> {
        self.check_fence(prepared)?;
        if self.is_duplicate(prepared) {
            return Ok(Committed::Duplicate);
        }
        self.check_appends(prepared)?;
        for write in &prepared.commit.documents {
            self.check_document(write)?;
        }
        self.check_followers(prepared)?;
        self.check_events(prepared)?;
        Ok(self.apply(prepared))
    }

    /// The lease as the group has left it so far.
    pub(crate) fn current_lease(&self, name: &str) -> Option<&Lease> {
        self.writes.leases.get(name).or_else(|| self.state.leases.get(name))
    }

    fn check_fence(&self, prepared: &Prepared<C>) -> Result<(), StoreError> {
        let Some(fence) = &prepared.commit.fence else { return Ok(()) };
        match self.current_lease(&fence.lease) {
            Some(lease) if lease.epoch == fence.epoch && lease.owner.is_some() => Ok(()),
            _ => Err(StoreError::Fenced { lease: fence.lease.clone(), epoch: fence.epoch }),
        }
    }

    /// The row of a consumer that the group mentions.
    pub(crate) fn consumer(&self, name: &str) -> i64 {
        // Every consumer a group mentions was collected before it is decided; no row has the id 0.
        self.known.consumers.get(name).copied().unwrap_or_default()
    }

    /// Whether the event is handled, or parked and not taken out by `prepared` itself.
    fn is_decided(&self, mark: MarkKey<'a, C::Id>, prepared: &Prepared<C>) -> bool {
        if self.known.marks.contains(&mark) || self.marks.contains(&mark) || self.parked.contains(&mark) {
            return true;
        }
        self.known.parked.get(&mark).is_some_and(|ordinal| {
            !self.unparked.contains(ordinal) && !prepared.commit.unpark.iter().any(|unpark| unpark.ordinal == *ordinal)
        })
    }

    fn marks_of(&self, prepared: &'a Prepared<C>) -> impl Iterator<Item = MarkKey<'a, C::Id>> + use<'a, C> {
        let commit = &prepared.commit;
        let seen = commit.seen.iter().zip(&prepared.marks);
        let seen =
            seen.map(|(seen, id)| MarkKey { consumer: self.consumer(&seen.consumer), id, source: &seen.mark.source });
        seen.collect::<Vec<_>>().into_iter()
    }

    fn parks_of(&self, prepared: &'a Prepared<C>) -> Vec<(MarkKey<'a, C::Id>, ParkRow<'a, C>)> {
        let parks = prepared.commit.park.iter().zip(&prepared.parks);
        parks
            .map(|(park, (id, columns))| {
                let consumer = self.consumer(&park.consumer);
                (MarkKey { consumer, id, source: &park.envelope.source }, ParkRow { consumer, park, id, columns })
            })
            .collect()
    }

    fn is_duplicate(&self, prepared: &'a Prepared<C>) -> bool {
        let commit = &prepared.commit;
        self.marks_of(prepared).any(|mark| self.is_decided(mark, prepared))
            || self.parks_of(prepared).iter().any(|(mark, _)| self.is_decided(*mark, prepared))
            || commit.timers.iter().any(|write| match write {
                TimerWrite::Fire { owner, id } => !self.is_set((owner, id)),
                TimerWrite::Set(_) | TimerWrite::Cancel { .. } => false,
            })
            || commit.unpark.iter().any(|unpark| {
                let found = self.known.ordinals.get(&unpark.ordinal);
                self.unparked.contains(&unpark.ordinal)
                    || found.is_none_or(|(consumer, _)| *consumer != self.consumer(&unpark.consumer))
            })
    }

    fn is_set(&self, timer: Pair<'_>) -> bool {
        match self.writes.timers.get(&timer) {
            Some(write) => write.is_some(),
            None => self.known.timers.contains(&timer),
        }
    }

    fn stream(&self, key: &Key) -> Option<Stream> {
        self.streams
            .get(key)
            .copied()
            .or_else(|| self.state.streams.get(key))
            .or_else(|| self.known.streams.get(key).copied())
    }

    fn check_appends(&self, prepared: &Prepared<C>) -> Result<(), StoreError> {
        for Append { key, expect, .. } in &prepared.commit.append {
            let found = self.stream(key).map_or(0, |stream| stream.version);
            if let Expect::Version(expected) = *expect
                && expected != found
            {
                return Err(StoreError::Conflict(Conflict::Version { key: key.clone(), expected, found }));
            }
        }
        Ok(())
    }

    fn revision(&self, at: Pair<'_>) -> u64 {
        match self.documents.get(&at) {
            Some(row) => self.writes.documents[*row].revision,
            None => self.known.documents.get(&at).copied().unwrap_or(0),
        }
    }

    fn check_document(&self, write: &DocumentWrite) -> Result<(), StoreError> {
        let found = self.revision((&write.collection, &write.id));
        let expected = match write.expect {
            ExpectDocument::Any => found,
            ExpectDocument::Absent => 0,
            ExpectDocument::Revision(revision) => revision,
        };
        if expected == found {
            return Ok(());
        }
        let (collection, id) = (write.collection.clone(), write.id.clone());
        Err(StoreError::Conflict(Conflict::Document { collection, id, expected, found }))
    }

    fn check_followers(&self, prepared: &'a Prepared<C>) -> Result<(), StoreError> {
        if !prepared.commit.park.iter().any(|park| park.follower) {
            return Ok(());
        }
        // What this commit itself parks and takes out counts, in the order in which it is written.
        let mut own: HashMap<(i64, &str), i64> = HashMap::new();
        for unpark in &prepared.commit.unpark {
            if let Some((consumer, key)) = self.known.ordinals.get(&unpark.ordinal) {
                *own.entry((*consumer, key)).or_default() -= 1;
            }
        }
        for park in &prepared.commit.park {
            let at = (self.consumer(&park.consumer), park.envelope.key.as_str());
            let own = own.entry(at).or_default();
            let stored = self.known.parked_keys.get(&at).map_or(0, |count| i64::try_from(*count).unwrap_or(i64::MAX));
            let group = self.parked_keys.get(&(at.0, at.1.to_owned())).copied().unwrap_or(0);
            if park.follower && stored.saturating_add(group).saturating_add(*own) <= 0 {
                let (consumer, key) = (park.consumer.clone(), park.envelope.key.clone());
                return Err(StoreError::Conflict(Conflict::NotParked { consumer, key }));
            }
            *own += 1;
        }
        Ok(())
    }

    fn check_events(&self, prepared: &'a Prepared<C>) -> Result<(), StoreError> {
        if !self.check_events {
            return Ok(());
        }
        let mut own = HashSet::new();
        for (append, encoded) in prepared.commit.append.iter().zip(&prepared.events) {
            for (envelope, encoded) in append.events.iter().zip(encoded) {
                let event = (C::event_id(encoded), envelope.source.as_str());
                if self.known.events.contains(&event) || self.events.contains(&event) || !own.insert(event) {
                    return Err(StoreError::Conflict(Conflict::Event { id: envelope.id.clone() }));
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, prepared: &'a Prepared<C>) -> Committed {
        let commit = &prepared.commit;
        for mark in self.marks_of(prepared) {
            self.marks.insert(mark);
            self.writes.marks.push(mark);
        }
        for unpark in &commit.unpark {
            self.unparked.insert(unpark.ordinal);
            self.writes.unparks.push(unpark.ordinal);
            if let Some(at) = self.known.ordinals.get(&unpark.ordinal) {
                *self.parked_keys.entry(at.clone()).or_default() -= 1;
            }
        }
        for (mark, row) in self.parks_of(prepared) {
            self.parked.insert(mark);
            *self.parked_keys.entry((row.consumer, row.park.envelope.key.as_str().to_owned())).or_default() += 1;
            self.writes.parks.push(row);
        }
        for (n, append) in commit.append.iter().enumerate() {
            self.append(append, prepared.buckets[n], &prepared.events[n]);
        }
        for write in &commit.documents {
            self.write_document(write);
        }
        for write in &commit.timers {
            let (at, timer) = match write {
                TimerWrite::Set(timer) => ((timer.owner.as_str(), timer.id.as_str()), Some(timer)),
                TimerWrite::Cancel { owner, id } | TimerWrite::Fire { owner, id } => {
                    ((owner.as_str(), id.as_str()), None)
                }
            };
            self.writes.timers.insert(at, timer);
        }
        self.writes.effects.extend(&commit.effects);
        self.writes.settled.extend(&commit.settled);
        Committed::Applied { last: Position(self.head) }
    }

    fn append(&mut self, append: &'a Append, bucket: u8, encoded: &'a [C::Event]) {
        let mut stream = self.stream(&append.key).unwrap_or_else(|| {
            self.last_stream += 1;
            self.writes.streams.push((self.last_stream, &append.key));
            Stream { id: self.last_stream, version: 0 }
        });
        for (envelope, encoded) in append.events.iter().zip(encoded) {
            self.head += 1;
            stream.version += 1;
            let (position, version) = (self.head, stream.version);
            self.writes.events.push(EventRow { position, stream: stream.id, version, bucket, envelope, encoded });
            if self.check_events {
                self.events.insert((C::event_id(encoded), &envelope.source));
            }
        }
        self.streams.insert(&append.key, stream);
    }

    fn write_document(&mut self, write: &'a DocumentWrite) {
        let at = (write.collection.as_str(), write.id.as_str());
        let revision = if write.value.is_some() { self.revision(at) + 1 } else { 0 };
        let is_new = !self.known.documents.contains_key(&at);
        let row = DocumentRow { at, revision, is_new, value: write.value.as_ref() };
        match self.documents.get(&at) {
            Some(n) => self.writes.documents[*n] = row,
            None => {
                self.documents.insert(at, self.writes.documents.len());
                self.writes.documents.push(row);
            }
        }
    }
}
