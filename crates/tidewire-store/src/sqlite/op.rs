//! What the writer is asked for.

use std::time::Duration;

use bytes::Bytes;
use tidewire_core::{Committed, Key, StoreError};
use tokio::sync::oneshot;

use super::codec::{Any, Cells};

/// A commit ready for this backend.
pub(super) type Prepared = crate::group::Prepared<Cells>;

/// Something to be written, answered once it is durable.
pub(super) enum Op {
    Commit(Box<Prepared>),
    Lease { name: String, owner: String, ttl: Duration },
    Release { name: String, owner: String, epoch: u64 },
    Start { consumer: String, marks: Vec<(Any, String)>, error: Option<String> },
    Snapshot { aggregate: String, key: Key, version: u64, state: Bytes },
}

/// What became of an [`Op`].
#[derive(Debug)]
pub(super) enum Answer {
    Committed(Committed),
    Epoch(Option<u64>),
    Starts(Vec<u32>),
    Done,
}

pub(super) type Reply = oneshot::Sender<Result<Answer, StoreError>>;

/// An [`Op`] and who waits for it.
pub(super) struct Pending {
    pub op: Op,
    pub reply: Reply,
}

impl Op {
    /// About how many bytes it adds to a transaction.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Commit(prepared) => prepared.bytes,
            Self::Snapshot { state, .. } => state.len() + 256,
            Self::Start { marks, .. } => marks.len() * 128,
            Self::Lease { .. } | Self::Release { .. } => 128,
        }
    }
}
