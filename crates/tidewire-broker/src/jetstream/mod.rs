//! The broker on NATS JetStream: a server or a cluster of them, shared by any number of processes.
//!
//! ```text
//! publish ─► engine ── one per key, or runs in order ──► stream TW_<domain> ──► consumer ─► reader ─┐
//!                                                          │                 (one per tenure)     ▼
//!                                        roll of a group (key-value bucket)                      hand ─► members
//!                                        who reads which slot, from where     ◄── acks, retries ──┘
//! ```
//!
//! **One stream** holds everything, in order, until it is too old; a publish is refused rather than anything
//! discarded. It is made as it must be, and refused with the differences if it is otherwise.
//!
//! **Nothing is published on trust.** After a lost connection, or when nobody took an event, all that was under way is
//! given up, and nothing more is taken until somebody has looked at the record ([`Extent`]): another process may have
//! made a wiped store anew.
//!
//! **Order per key across processes.** A group's work is cut into 16 *slots* of 4 buckets. The *roll* of the group,
//! one value on the server that is changed by compare-and-set only, says which process owns each slot, through which
//! consumer it reads it, and where the slot stood when it was taken. Processes take an equal share each, give up what
//! is more than that, and take over what belongs to one that gave no sign of life. Within a process a key is with one
//! member at a time (`hand`).
//!
//! Every *tenure* (a process taking slots) reads through a consumer of its own, made for it at or before the first
//! event of those slots that is not known to be done. So:
//!
//! - *Nothing is skipped.* A slot given away leaves its exact place on the roll: the next event, and those before it
//!   that are open. Of a process that died the server knows below which event everything was acknowledged; from there
//!   it all comes again, what may have been handed out as attempt 2 or higher. Consumer and roll can only be behind
//!   the truth, which means duplicates.
//! - *Nothing is overtaken.* A consumer delivers its slots in the order of the stream, and numbers its deliveries. A
//!   delivery is taken only if its number is the next; if one is missing (lost with a connection, or the consumer's
//!   state with a server) the reader is replaced by a new one from the first open event on. Nothing is handed back to
//!   the server for redelivery, ever: retries wait here, in front of what follows on their key.
//! - *A process that was taken for dead and is not* (stopped, cut off) is harmless: its consumer is deleted, so that
//!   nothing more comes to it; what it has it works off in order, as its successor does, and the inbox lets each
//!   event take effect once. Even if its consumer could not be deleted it would only be a second reader of the whole
//!   sequence: of two readers that each go through a key in order, neither commits an event before one of the two
//!   committed those before it.
//!
//! **Acknowledgements** are plain and may be lost; readers look for that while idle. What must be certain is written
//! to the roll, whose answer is read (the client's double acknowledgement takes any answer, even "no such consumer",
//! for a yes).
//!
//! **Attempts** survive restarts of servers and orderly restarts of processes. After a kill they begin at 2.

mod answer;
mod api;
mod arrival;
mod binding;
mod board;
mod forget;
mod group;
mod keeper;
mod lag;
mod link;
mod node;
mod options;
mod publish;
mod reader;
mod roll;
mod scan;
mod seat;
mod stream;
mod subject;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tidewire_core::broker::{Extent, Features, Lag, Published, Subscribe};
use tidewire_core::{Broker, BrokerError, Clock, Envelope, Subscription};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use self::api::{Api, StreamInfo};
use self::board::Board;
use self::group::Group;
use self::link::Link;
use self::node::{BEAT, Nodes};
pub use self::options::JetStreamOptions;
use self::publish::{Publisher, Record};
use self::seat::Seat;
use crate::embedded::admin;

/// The oldest server that is safe: older ones can be talked into storing elsewhere, or stopped, without a password.
const MIN_SERVER: (u64, u64, u64) = (2, 12, 7);
/// The oldest server that takes runs of events; to older ones they go one by one.
const RUNS_SINCE: (u64, u64, u64) = (2, 14, 0);
/// How long closing waits for groups to be given away.
const MAX_GOODBYE: Duration = Duration::from_secs(5);
/// How often at most the stream is looked after when something is wrong.
const MEND_EVERY: Duration = Duration::from_secs(1);

/// What every part of the broker needs.
struct Shared {
    options: JetStreamOptions,
    clock: Arc<dyn Clock>,
    link: Arc<Link>,
    api: Api,
    board: Board,
    nodes: Nodes,
    /// The stream's name.
    stream: String,
    incarnation: Mutex<String>,
    record: Arc<Record>,
    groups: Mutex<HashMap<String, Arc<Group>>>,
    closed: watch::Sender<bool>,
    mended: tokio::sync::Mutex<Option<Instant>>,
}

/// Locks what no panic can have left half-done: every section ends with everything in place.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The broker on NATS JetStream. See [`Broker`] for what it promises; what a publish survives is up to the server:
/// power loss where its `sync_interval` is `always`, and otherwise the loss of a minority of its replicas.
///
/// Connections are restored for ever; of a publish whose connection is lost the caller is told at once, and publishes
/// again after a look at the record ([`Broker::extent`]), or is refused until somebody looked. A stream that was lost is made anew, as another incarnation ([`Extent`]), and
/// groups begin anew on it.
pub struct JetStreamBroker {
    shared: Arc<Shared>,
    publisher: Mutex<Option<Arc<Publisher>>>,
}

impl JetStreamBroker {
    /// Connects; makes the stream or checks it.
    ///
    /// Fails with [`BrokerError::Denied`] when the server refuses the credentials, [`BrokerError::Misconfigured`] when
    /// it is too old, has no JetStream, or its stream is set up otherwise (setting by setting),
    /// [`BrokerError::Unavailable`] when it cannot be reached, [`BrokerError::Invalid`] for options that make no sense.
    pub async fn open(options: JetStreamOptions, clock: Arc<dyn Clock>) -> Result<Arc<Self>, BrokerError> {
        options.check()?;
        let link = Arc::new(Link::connect(&options, &clock).await?);
        check_server(&link, &options)?;
        let api = Api::new(link.clone());
        let board = Board::new(api.clone(), &options.domain);
        let nodes = Nodes::new(clock.id().simple().to_string(), board.clone(), options.member_ttl);
        let publisher = Publisher::start(link.clone(), &options).await?;
        let shared = Arc::new(Shared {
            stream: stream::name(&options.domain),
            options,
            clock,
            link,
            api,
            board,
            nodes,
            incarnation: Mutex::default(),
            record: publisher.record(),
            groups: Mutex::default(),
            closed: watch::Sender::new(false),
            mended: tokio::sync::Mutex::default(),
        });
        shared.ensure().await?;
        tokio::spawn(beat(shared.clone()));
        tokio::spawn(listen(shared.clone()));
        Ok(Arc::new(Self { shared, publisher: Mutex::new(Some(Arc::new(publisher))) }))
    }

    /// Joins the group here, which is made if this process has no member in it yet.
    fn join(&self, request: &Subscribe) -> (Arc<Group>, u64) {
        let mut groups = unpoisoned(&self.shared.groups);
        let group = groups.entry(request.group.clone()).or_insert_with(|| {
            let group = Arc::new(Group::new(&request.group, self.shared.clone()));
            tokio::spawn(keeper::keep(group.clone()));
            group
        });
        // Under the lock of all groups, so that the group cannot end in between.
        let member = group.state().join(request);
        (group.clone(), member)
    }
}

fn version(info: &async_nats::ServerInfo) -> (u64, u64, u64) {
    let mut parts = info.version.split(['.', '-', '+']).map(|part| part.parse::<u64>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// Refuses a server that cannot keep the promises.
fn check_server(link: &Link, options: &JetStreamOptions) -> Result<(), BrokerError> {
    let info = link.client.server_info();
    if version(&info) < MIN_SERVER {
        let (major, minor, patch) = MIN_SERVER;
        let reason = format!("the server is NATS {}; at least {major}.{minor}.{patch} is needed", info.version);
        return Err(BrokerError::Misconfigured(reason));
    }
    if !info.jetstream {
        return Err(BrokerError::Misconfigured("JetStream is not enabled on the server".into()));
    }
    if info.max_payload < options.max_event_bytes {
        let (there, here) = (info.max_payload, options.max_event_bytes);
        let reason = format!("max_payload is {there} on the server and must be at least max_event_bytes, {here}");
        return Err(BrokerError::Misconfigured(reason));
    }
    Ok(())
}

impl Shared {
    /// Makes the stream and the board, or checks them, and remembers which stream it is.
    async fn ensure(&self) -> Result<(), BrokerError> {
        let doubts = self.record.doubts();
        let info = self.stream_as_it_must_be().await?;
        let extent = self.looked(doubts, &info);
        stream::ensure_seats(&self.api, &self.options).await?;
        *unpoisoned(&self.incarnation) = extent.incarnation;
        Ok(())
    }

    async fn stream_as_it_must_be(&self) -> Result<StreamInfo, BrokerError> {
        let can_run = version(&self.link.client.server_info()) >= RUNS_SINCE;
        stream::ensure(&self.api, &self.options, self.clock.as_ref(), can_run).await
    }

    /// What was seen of the stream, by who began to look at so many doubts: publishing needs to know.
    fn looked(&self, doubts: u64, info: &StreamInfo) -> Extent {
        let extent = Extent { incarnation: stream::incarnation(info), last: info.state.last_seq };
        self.record.note_runs(stream::takes_runs(info));
        self.record.looked(doubts, &extent.incarnation, extent.last);
        extent
    }

    /// Looks after the stream when something is wrong: it may have been lost.
    async fn mend(&self) {
        let mut mended = self.mended.lock().await;
        if mended.is_some_and(|at| at.elapsed() < MEND_EVERY) || !self.link.is_up() {
            return;
        }
        if let Err(error) = self.ensure().await {
            let code = error.code();
            match error.is_transient() {
                true => tracing::warn!(code, %error, "the stream cannot be looked after"),
                false => tracing::error!(code, %error, "the stream is not as it must be"),
            }
        }
        *mended = Some(Instant::now());
    }

    /// Sends every member away; the groups they were in.
    fn dismiss(&self) -> Vec<Arc<Group>> {
        let groups: Vec<Arc<Group>> = unpoisoned(&self.groups).values().cloned().collect();
        for group in &groups {
            group.state().leave_all();
            group.wake();
            group.nudge.notify_one();
        }
        groups
    }

    fn incarnation(&self) -> String {
        unpoisoned(&self.incarnation).clone()
    }

    fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Says that this node lives.
    async fn say(&self) -> Result<(), BrokerError> {
        let groups: Vec<Arc<Group>> = unpoisoned(&self.groups).values().cloned().collect();
        let presences: BTreeMap<_, _> =
            groups.iter().map(|group| (group.name.clone(), group.state().presence())).collect();
        self.nodes.say(presences).await
    }
}

/// Says that this node lives for as long as it is in some group.
async fn beat(shared: Arc<Shared>) {
    let mut closed = shared.closed.subscribe();
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = closed.wait_for(|closed| *closed) => return,
            _ = beat.tick() => {}
        }
        let is_in_a_group = !unpoisoned(&shared.groups).is_empty();
        if is_in_a_group && let Err(error) = shared.say().await {
            tracing::debug!(%error, "could not give a sign of life");
        }
    }
}

/// Looks at a group as soon as somebody changed its roll. Only to be quick: everybody looks every second anyway.
async fn listen(shared: Arc<Shared>) {
    use futures::StreamExt;
    let subject = shared.board.subject(&format!("{}*", keeper::KEYS));
    let mut closed = shared.closed.subscribe();
    let Ok(mut changes) = shared.link.client.subscribe(subject).await else { return };
    loop {
        let change = tokio::select! {
            _ = closed.wait_for(|closed| *closed) => return,
            change = changes.next() => change,
        };
        let Some(change) = change else { return };
        let groups: Vec<Arc<Group>> = unpoisoned(&shared.groups).values().cloned().collect();
        let of_it = groups.iter().filter(|group| change.subject.ends_with(&group.key()));
        of_it.for_each(|group| group.nudge.notify_one());
    }
}

#[async_trait]
impl Broker for JetStreamBroker {
    async fn publish(&self, batch: Vec<Envelope>) -> Vec<Result<Published, BrokerError>> {
        let publisher = unpoisoned(&self.publisher).clone();
        let Some(publisher) = publisher else { return batch.iter().map(|_| Err(BrokerError::Closed)).collect() };
        let answers = publisher.publish(batch).await;
        if answers.iter().any(|answer| matches!(answer, Err(BrokerError::Unavailable(_)))) {
            // Whoever waits for the answers is not kept by a connection that is dead and not known to be.
            let _ = tokio::time::timeout(MEND_EVERY, self.shared.mend()).await;
        }
        answers
    }

    /// Names are those of the whole group: what was asked for last, by any process, counts.
    async fn subscribe(&self, request: Subscribe) -> Result<Box<dyn Subscription>, BrokerError> {
        admin::check(&request)?;
        if self.shared.is_closed() {
            return Err(BrokerError::Closed);
        }
        let (group, member) = self.join(&seat::normal(request));
        // From here on the seat is given back if anything fails.
        let seat = Seat::new(group, member);
        self.shared.say().await?;
        seat.settle().await?;
        Ok(Box::new(seat))
    }

    async fn forget(&self, group: &str) -> Result<(), BrokerError> {
        forget::forget(&self.shared, group).await
    }

    async fn lag(&self) -> Result<Vec<Lag>, BrokerError> {
        lag::all(&self.shared).await
    }

    async fn scan(&self, cursor: Option<String>, limit: usize) -> Result<(Vec<Envelope>, Option<String>), BrokerError> {
        scan::scan(&self.shared, cursor, limit).await
    }

    async fn extent(&self) -> Result<Extent, BrokerError> {
        let doubts = self.shared.record.doubts();
        let info = match self.shared.api.stream(&self.shared.stream, None).await? {
            Some(info) => info,
            None => self.shared.stream_as_it_must_be().await?,
        };
        Ok(self.shared.looked(doubts, &info))
    }

    async fn examine(&self) -> Result<(), BrokerError> {
        stream::examine(&self.shared.api, &self.shared.options).await
    }

    fn features(&self) -> Features {
        Features {
            backend: "jetstream",
            durability: "disk",
            multi_process: true,
            delayed_retry: true,
            durable_attempts: false,
            max_event_bytes: self.shared.options.max_event_bytes,
            // Not of events but of time: any number within `dedupe_window`.
            dedupe_window_events: usize::MAX,
        }
    }

    async fn close(&self) {
        // Dropping the way in lets the engine finish what it has.
        drop(unpoisoned(&self.publisher).take());
        if self.shared.closed.send_replace(true) {
            return;
        }
        let groups = self.shared.dismiss();
        let gone = async {
            for group in &groups {
                let mut settled = group.settled.subscribe();
                while !group.state().ended {
                    let _ = tokio::time::timeout(Duration::from_millis(50), settled.changed()).await;
                }
            }
        };
        if tokio::time::timeout(MAX_GOODBYE, gone).await.is_err() {
            tracing::warn!("some groups were not given away in time; others take them over later");
        }
        self.shared.nodes.leave().await;
        if let Err(error) = self.shared.link.client.flush().await {
            tracing::debug!(%error, "the last acknowledgements may be lost");
        }
    }
}

impl Drop for JetStreamBroker {
    fn drop(&mut self) {
        self.shared.closed.send_replace(true);
        self.shared.dismiss();
    }
}
