//! A commit on its way to the writer.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

use bytes::Bytes;
use tidewire_core::{Commit, Envelope, Mark, StoreError};

/// The most bytes one commit may hold: larger payloads belong into an object store (`dataref`).
pub const MAX_COMMIT_BYTES: usize = 32 << 20;
/// The most rows one commit may write, so that no commit delays the others for long.
pub const MAX_COMMIT_ROWS: usize = 50_000;

/// What events, their ids and parked envelopes look like in the columns of one backend.
pub(crate) trait Columns: 'static {
    /// The id of an event; equal ids and only those are equal.
    type Id: Eq + Hash + Debug + Send + Sync;
    /// What can be computed of an event's row before its place is known.
    type Event: Send + Sync;
    /// A parked envelope.
    type Parked: Send + Sync;

    fn id(text: &str) -> Self::Id;
    fn event(envelope: &Envelope) -> Self::Event;
    fn event_id(event: &Self::Event) -> &Self::Id;
    fn parked(envelope: &Envelope) -> Self::Parked;
}

/// A commit with everything computed that needs no look at the database: done by the caller, in parallel with
/// the writer.
pub(crate) struct Prepared<C: Columns> {
    pub commit: Commit,
    pub buckets: Vec<u8>,
    pub events: Vec<Vec<C::Event>>,
    pub marks: Vec<C::Id>,
    pub parks: Vec<(C::Id, C::Parked)>,
    pub bytes: usize,
}

impl<C: Columns> Prepared<C> {
    /// Checks `commit` for what makes no sense whatever the store holds, and prepares it.
    pub(crate) fn new(commit: Commit) -> Result<Self, StoreError> {
        let bytes = check(&commit).map_err(StoreError::Invalid)?;
        let encode = |append: &tidewire_core::Append| append.events.iter().map(C::event).collect();
        Ok(Self {
            buckets: commit.append.iter().map(|append| append.key.bucket()).collect(),
            events: commit.append.iter().map(encode).collect(),
            marks: commit.seen.iter().map(|seen| C::id(&seen.mark.id)).collect(),
            parks: commit.park.iter().map(|p| (C::id(&p.envelope.id), C::parked(&p.envelope))).collect(),
            bytes,
            commit,
        })
    }
}

fn distinct<T: std::hash::Hash + Eq>(items: impl Iterator<Item = T>, what: &str) -> Result<(), String> {
    let mut seen = HashSet::new();
    for item in items {
        if !seen.insert(item) {
            return Err(format!("{what} appears twice"));
        }
    }
    Ok(())
}

/// The size of the commit, or what is wrong with it.
fn check(commit: &Commit) -> Result<usize, String> {
    let mut bytes = 0;
    for append in &commit.append {
        if append.events.is_empty() {
            return Err(format!("no events to append to `{}`", append.key));
        }
        if let Some(stray) = append.events.iter().find(|event| event.key != append.key) {
            return Err(format!("event `{}` of `{}` is appended to `{}`", stray.id, stray.key, append.key));
        }
        bytes += append.events.iter().map(|event| event.size()).sum::<usize>();
    }
    bytes += commit.park.iter().map(|park| park.envelope.size() + park.reason.len()).sum::<usize>();
    bytes += commit.documents.iter().map(|d| d.id.len() + d.value.as_ref().map_or(0, Bytes::len) + 64).sum::<usize>();
    bytes += commit.timers.len() * 128 + commit.effects.len() * 512 + commit.seen.len() * 64;
    if bytes > MAX_COMMIT_BYTES {
        return Err(format!("{bytes} bytes; at most {MAX_COMMIT_BYTES} are taken"));
    }
    let events: usize = commit.append.iter().map(|append| append.events.len()).sum();
    let rows = events + commit.seen.len() + commit.documents.len() + commit.park.len() + commit.timers.len();
    if rows > MAX_COMMIT_ROWS {
        return Err(format!("{rows} rows; at most {MAX_COMMIT_ROWS} are taken"));
    }
    if commit.append.len() > 1 {
        distinct(commit.append.iter().map(|append| &append.key), "a key")?;
    }
    distinct(commit.seen.iter().map(|seen| (&seen.consumer, &seen.mark)), "an inbox mark")?;
    distinct(commit.documents.iter().map(|d| (&d.collection, &d.id)), "a document")?;
    distinct(commit.park.iter().map(|p| (&p.consumer, Mark::of(&p.envelope))), "a parked event")?;
    for park in &commit.park {
        let is_taken_out = |place: &tidewire_core::commit::Place| {
            commit.unpark.iter().any(|unpark| unpark.consumer == park.consumer && unpark.ordinal == place.ordinal)
        };
        if park.place.as_ref().is_some_and(|place| !is_taken_out(place)) {
            return Err(format!("event `{}` is to take the place of one that is not taken out", park.envelope.id));
        }
    }
    distinct(commit.unpark.iter().map(|unpark| (&unpark.consumer, unpark.ordinal)), "an event to unpark")?;
    Ok(bytes)
}
