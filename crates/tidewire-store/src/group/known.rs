//! What a group has to know of the database before it can be decided.

use std::collections::{HashMap, HashSet};

use tidewire_core::Key;

use super::prepared::Columns;
use super::state::Stream;

/// An event in a consumer's inbox.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct MarkKey<'a, I> {
    pub consumer: i64,
    pub id: &'a I,
    pub source: &'a str,
}

impl<I> Clone for MarkKey<'_, I> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<I> Copy for MarkKey<'_, I> {}

/// A document, a timer: two texts.
pub(crate) type Pair<'a> = (&'a str, &'a str);

/// What the database holds of everything a group mentions.
pub(crate) struct Known<'a, C: Columns> {
    /// Every consumer mentioned; those the database does not have yet are in `new_consumers`.
    pub consumers: HashMap<&'a str, i64>,
    pub new_consumers: Vec<(i64, &'a str)>,
    pub marks: HashSet<MarkKey<'a, C::Id>>,
    /// Parked events, with their ordinals.
    pub parked: HashMap<MarkKey<'a, C::Id>, u64>,
    pub streams: HashMap<&'a Key, Stream>,
    pub documents: HashMap<Pair<'a>, u64>,
    pub timers: HashSet<Pair<'a>>,
    /// Parked events by ordinal: consumer and key.
    pub ordinals: HashMap<u64, (i64, String)>,
    /// How many events are parked per consumer and key.
    pub parked_keys: HashMap<(i64, &'a str), u64>,
    pub starts: HashMap<MarkKey<'a, C::Id>, u32>,
    /// Events that are in the log already; only looked up after the log refused one.
    pub events: HashSet<(&'a C::Id, &'a str)>,
}

impl<C: Columns> Default for Known<'_, C> {
    fn default() -> Self {
        Self {
            consumers: HashMap::new(),
            new_consumers: Vec::new(),
            marks: HashSet::new(),
            parked: HashMap::new(),
            streams: HashMap::new(),
            documents: HashMap::new(),
            timers: HashSet::new(),
            ordinals: HashMap::new(),
            parked_keys: HashMap::new(),
            starts: HashMap::new(),
            events: HashSet::new(),
        }
    }
}
