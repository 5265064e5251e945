//! Publishing: one by one, of each key one event at a time; or many as a run.
//!
//! The server stores what it gets over one connection in the order it gets it, but it may refuse an event (no room)
//! and take the next, and a connection may break between two: with two events of one key under way, the second could
//! be stored without the first. So of each key one event is under way; the window is filled with other keys.
//!
//! Where many wait, and the server can (2.14), they go as a [run](run): it stores a beginning of that and nothing
//! behind the first event that it refuses or misses, whatever the keys. One run at a time, and nothing beside it: what
//! follows is sent when its end is known. What a run left is sent one by one, so that each event gets its own answer.
//!
//! **Nothing is sent twice here.** What is not answered (the connection is lost, nobody takes it, it takes too long) is
//! given up at once, with everything else under way or waiting, and nothing more is admitted until somebody has looked
//! at the record since ([`Record`]): the store may have been wiped and made anew by another process, and what is sent
//! into that before log and broker were compared is out of order for good. Sending again is the publisher's, which
//! looks first; the server recognises what it holds by its id.
//!
//! A publish that was given up must not be stored later by itself either. So publishing has a connection of its own
//! that is never restored ([`Link::lane`]): what its client had not sent yet ends with it, and what it had sent went to
//! a server that holds, or held, the record that was looked at. Not covered: a stream that somebody deletes *and* another
//! process makes anew between a look and a publish, while every connection holds.

mod engine;
mod lane;
mod record;
mod run;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tidewire_core::broker::Published;
use tidewire_core::{BrokerError, Envelope, Key};
use tokio::sync::{mpsc, oneshot};

use self::engine::Engine;
pub(super) use self::record::Record;
use super::binding;
use super::link::Link;
use super::options::JetStreamOptions;
use super::stream;

/// Calls that may wait for the engine to look at them. Who comes then waits in line.
const MAX_WAITING_CALLS: usize = 1_024;

/// One answer per event.
pub(super) type Answers = Vec<Result<Published, BrokerError>>;

/// An event on its way.
struct Item {
    /// Its place in its call.
    index: usize,
    envelope: Envelope,
    /// Headers and data, in bytes.
    size: usize,
    headers: async_nats::HeaderMap,
}

/// One call to publish.
struct Call {
    items: Vec<Item>,
    /// What is answered already: what could not be sent at all.
    answers: Vec<Option<Result<Published, BrokerError>>>,
    answer: oneshot::Sender<Answers>,
}

/// How the engine behaves.
struct Limits {
    domain: String,
    stream: String,
    window: usize,
    ack_timeout: Duration,
}

/// The way in.
pub(super) struct Publisher {
    calls: mpsc::Sender<Call>,
    record: Arc<Record>,
    stream: String,
    max_event_bytes: usize,
}

impl Publisher {
    /// Starts the engine.
    pub(super) async fn start(link: Arc<Link>, options: &JetStreamOptions) -> Result<Self, BrokerError> {
        let (calls, waiting) = mpsc::channel(MAX_WAITING_CALLS);
        let stream = stream::name(&options.domain);
        let limits = Limits {
            domain: options.domain.clone(),
            stream: stream.clone(),
            window: options.publish_window,
            ack_timeout: options.ack_timeout,
        };
        let record = Arc::new(Record::default());
        tokio::spawn(Engine::new(link, limits, record.clone(), waiting).await?.run());
        Ok(Self { calls, record, stream, max_event_bytes: options.max_event_bytes })
    }

    /// Where it must be noted that somebody looked at the record.
    pub(super) fn record(&self) -> Arc<Record> {
        self.record.clone()
    }

    /// Publishes; see [`tidewire_core::Broker::publish`].
    pub(super) async fn publish(&self, batch: Vec<Envelope>) -> Answers {
        let count = batch.len();
        let closed = || (0..count).map(|_| Err(BrokerError::Closed)).collect();
        let mut answers: Vec<Option<Result<Published, BrokerError>>> = (0..count).map(|_| None).collect();
        let mut items = Vec::with_capacity(count);
        let mut failed: HashSet<Key> = HashSet::new();
        for (index, envelope) in batch.into_iter().enumerate() {
            if !failed.is_empty() && failed.contains(&envelope.key) {
                answers[index] = Some(Err(BrokerError::Behind));
                continue;
            }
            let encoded = binding::encode(&envelope, &self.stream);
            let (size, limit) = (encoded.size, self.max_event_bytes);
            if size > limit {
                answers[index] = Some(Err(BrokerError::TooLarge { size, limit }));
                failed.insert(envelope.key);
                continue;
            }
            items.push(Item { index, envelope, size, headers: encoded.headers });
        }
        let (answer, answered) = oneshot::channel();
        if self.calls.send(Call { items, answers, answer }).await.is_err() {
            return closed();
        }
        answered.await.unwrap_or_else(|_| closed())
    }
}
