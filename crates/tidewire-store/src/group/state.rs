//! What the writer knows without asking: all of it can be read back, and is after any failure.

use std::collections::HashMap;

use tidewire_core::Key;

/// How many streams are remembered per generation: two generations are kept, about 10 MB when full.
const STREAMS_REMEMBERED: usize = 32_768;

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// Nobody, if it was given up.
    pub owner: Option<String>,
    pub epoch: u64,
    /// In nanoseconds.
    pub expires: i64,
}

/// A stream's row and its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    pub id: i64,
    pub version: u64,
}

/// The writer's view of the database as of its last transaction.
#[derive(Default)]
pub(crate) struct State {
    /// The last position.
    pub head: u64,
    /// The last stream row.
    pub last_stream: i64,
    pub streams: Streams,
    /// Every consumer's row. There are as many as handlers were ever named.
    pub consumers: HashMap<String, i64>,
    /// Every lease.
    pub leases: HashMap<String, Lease>,
    /// How many events are parked: with none, nothing has to be looked up.
    pub parked: u64,
    /// How many events are being tried again, for the same reason.
    pub attempts: u64,
}

/// The streams written lately. What was not touched for a generation is forgotten.
#[derive(Default)]
pub(crate) struct Streams {
    young: HashMap<Key, Stream>,
    old: HashMap<Key, Stream>,
}

impl Streams {
    pub(crate) fn get(&self, key: &Key) -> Option<Stream> {
        self.young.get(key).or_else(|| self.old.get(key)).copied()
    }

    pub(crate) fn put(&mut self, key: Key, stream: Stream) {
        if self.young.len() >= STREAMS_REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_what_was_not_touched_for_long_and_nothing_else() {
        let mut streams = Streams::default();
        let key = |n: usize| Key::of("k", n);
        for n in 0..STREAMS_REMEMBERED * 2 {
            streams.put(key(n), Stream { id: n as i64, version: 1 });
        }
        assert!(streams.get(&key(STREAMS_REMEMBERED * 2 - 1)).is_some());
        streams.put(key(STREAMS_REMEMBERED * 2), Stream { id: 0, version: 9 });
        assert_eq!(streams.get(&key(0)), None);
        assert_eq!(streams.get(&key(STREAMS_REMEMBERED * 2)).map(|s| s.version), Some(9));
    }
}
