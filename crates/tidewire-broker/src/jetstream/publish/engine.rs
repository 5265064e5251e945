//! The engine behind publishing: one task that sends, and reads the answers.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber};
use futures::{FutureExt, StreamExt};
use tidewire_core::broker::Published;
use tidewire_core::{BrokerError, Key};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use super::super::api::{ApiError, EXCEEDS_MAXIMUM, PublishAck, Refusal};
use super::super::link::Link;
use super::super::{binding, stream, subject};
use super::{Answers, Call, Item, Limits, MAX_WAITING_CALLS};

/// Bytes of publishes that may be under way at once: what a slow network and the server must hold.
const MAX_BYTES_UNDER_WAY: usize = 16 << 20;
/// How often one event is sent before its call is told that the broker is away.
const MAX_SENDS: u32 = 3;
/// How often answers that are overdue are looked for.
const TICK: Duration = Duration::from_millis(50);
/// How long before what nobody took is sent again: an election of a leader takes some of these.
const AGAIN: Duration = Duration::from_millis(250);
/// How long handing an event to the connection may take before that counts as not sent.
const MAX_STALL: Duration = Duration::from_secs(1);
/// Duplicates of the id are being stored, the server is busy, a leader is elected: the same may succeed in a moment.
const BUSY: [u32; 6] = [10_158, 10_167, 10_163, 10_008, 10_009, 10_118];

type CallId = u64;

/// A call that is not answered yet.
struct Open {
    answers: Vec<Option<Result<Published, BrokerError>>>,
    missing: usize,
    answer: oneshot::Sender<Answers>,
}

/// An event with the server, or about to be again.
struct Flight {
    call: CallId,
    item: Item,
    sends: u32,
    /// Which flight of this place: answers to earlier ones are nobody's.
    number: u32,
    /// When it is looked at again: it is overdue then, or may be sent again.
    look: Instant,
    is_sent: bool,
    /// Nothing is tried beyond.
    deadline: Instant,
    /// What was wrong last.
    trouble: Option<String>,
}

pub(super) struct Engine {
    link: Arc<Link>,
    limits: Limits,
    calls: mpsc::Receiver<Call>,
    inbox: String,
    replies: Subscriber,
    open: HashMap<CallId, Open>,
    next_call: CallId,
    /// What follows on a key of which something is under way or ready.
    keys: HashMap<Key, VecDeque<(CallId, Item)>>,
    /// What may be sent when there is room: at most one per key.
    ready: VecDeque<(CallId, Item)>,
    flights: Vec<Option<Flight>>,
    free: Vec<usize>,
    next_number: u32,
    bytes: usize,
}

impl Engine {
    pub(super) async fn new(link: Arc<Link>, limits: Limits, calls: mpsc::Receiver<Call>) -> Result<Self, BrokerError> {
        let inbox = link.client.new_inbox();
        let replies = link.client.subscribe(format!("{inbox}.*")).await;
        let replies = replies.map_err(|error| BrokerError::Unavailable(error.to_string()))?;
        let flights = (0..limits.window).map(|_| None).collect();
        let free = (0..limits.window).rev().collect();
        Ok(Self {
            link,
            limits,
            calls,
            inbox,
            replies,
            open: HashMap::new(),
            next_call: 0,
            keys: HashMap::new(),
            ready: VecDeque::new(),
            flights,
            free,
            next_number: 0,
            bytes: 0,
        })
    }

    /// Runs until nobody can call any more and everything is answered.
    pub(super) async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_closing = false;
        loop {
            while let Some(Some(reply)) = self.replies.next().now_or_never() {
                self.read(&reply);
            }
            for _ in 0..MAX_WAITING_CALLS {
                match self.calls.try_recv() {
                    Ok(call) => self.take(call),
                    Err(_) => break,
                }
            }
            self.fill().await;
            if is_closing && self.open.is_empty() {
                return;
            }
            tokio::select! {
                biased;
                reply = self.replies.next() => match reply {
                    Some(reply) => self.read(&reply),
                    // The client is closed for good.
                    None => return,
                },
                call = self.calls.recv(), if !is_closing => match call {
                    Some(call) => self.take(call),
                    None => is_closing = true,
                },
                _ = tick.tick(), if !self.open.is_empty() => self.sweep().await,
            }
        }
    }

    fn take(&mut self, call: Call) {
        let id = self.next_call;
        self.next_call += 1;
        let missing = call.items.len();
        self.open.insert(id, Open { answers: call.answers, missing, answer: call.answer });
        for item in call.items {
            match self.keys.get_mut(&item.envelope.key) {
                Some(line) => line.push_back((id, item)),
                None => {
                    self.keys.insert(item.envelope.key.clone(), VecDeque::new());
                    self.ready.push_back((id, item));
                }
            }
        }
        self.answer_if_done(id);
    }

    /// Sends as much as may be under way.
    async fn fill(&mut self) {
        while let Some((_, item)) = self.ready.front() {
            let is_full = self.bytes > 0 && self.bytes + item.size > MAX_BYTES_UNDER_WAY;
            if is_full || self.free.is_empty() {
                return;
            }
            let (Some((call, item)), Some(place)) = (self.ready.pop_front(), self.free.pop()) else { return };
            self.bytes += item.size;
            let number = self.next_number;
            self.next_number = self.next_number.wrapping_add(1);
            let now = Instant::now();
            let deadline = now + self.limits.ack_timeout * MAX_SENDS;
            let flight = Flight { call, item, sends: 0, number, look: now, is_sent: false, deadline, trouble: None };
            self.flights[place] = Some(flight);
            self.send(place).await;
        }
    }

    /// Sends, unless there is no connection: then it is tried again in a moment, so that nothing piles up in the
    /// client that would go out long after its caller was told otherwise.
    async fn send(&mut self, place: usize) {
        let Some(flight) = self.flights[place].as_mut() else { return };
        flight.is_sent = false;
        flight.look = Instant::now() + AGAIN;
        if !self.link.is_up() {
            flight.trouble = Some("there is no connection to the server".into());
            return;
        }
        let envelope = &flight.item.envelope;
        let headers = match flight.item.headers.take() {
            Some(headers) => headers,
            None => binding::encode(envelope, &stream::name(&self.limits.domain)).headers,
        };
        let subject = subject::of(&self.limits.domain, &envelope.key, &envelope.ty);
        let reply = format!("{}.{place}-{}", self.inbox, flight.number);
        let data = envelope.data.clone().unwrap_or_default();
        let sending = self.link.client.publish_with_reply_and_headers(subject, reply, headers, data);
        match tokio::time::timeout(MAX_STALL, sending).await {
            Ok(Ok(())) => {
                flight.sends += 1;
                flight.is_sent = true;
                flight.look = Instant::now() + self.limits.ack_timeout;
            }
            Ok(Err(error)) => flight.trouble = Some(error.to_string()),
            Err(_) => flight.trouble = Some("the connection is stalled".into()),
        }
    }

    fn read(&mut self, reply: &Message) {
        let Some(place) = self.place_of(reply.subject.as_str()) else { return };
        if reply.status == Some(StatusCode::NO_RESPONDERS) {
            return self.again(place, "nobody takes the event: the stream has no leader, or is gone");
        }
        let ack: PublishAck = match serde_json::from_slice(&reply.payload) {
            Ok(ack) => ack,
            Err(error) => return self.again(place, &format!("an answer that cannot be read: {error}")),
        };
        match ack.error {
            None => self.settle(place, Ok(Published { duplicate: ack.duplicate })),
            Some(refusal) => self.refused(place, refusal),
        }
    }

    fn refused(&mut self, place: usize, refusal: Refusal) {
        let error = ApiError::from(refusal);
        let ApiError::Refused { code, err_code, ref description } = error else { return };
        if code == 503 && err_code != 10_077 || BUSY.contains(&err_code) {
            return self.again(place, description);
        }
        let size = self.flights[place].as_ref().map_or(0, |flight| flight.item.size);
        let error = match EXCEEDS_MAXIMUM.contains(&err_code) {
            true => BrokerError::TooLarge { size, limit: size.saturating_sub(1) },
            false => error.into(),
        };
        self.settle(place, Err(error));
    }

    /// Tries again in a moment, or gives up.
    fn again(&mut self, place: usize, trouble: &str) {
        let Some(flight) = self.flights[place].as_mut() else { return };
        let now = Instant::now();
        if now + AGAIN >= flight.deadline {
            let error = self.link.unavailable(trouble);
            return self.settle(place, Err(error));
        }
        flight.trouble = Some(trouble.to_owned());
        flight.is_sent = false;
        flight.look = now + AGAIN;
    }

    /// Deals with what is overdue.
    async fn sweep(&mut self) {
        let now = Instant::now();
        let mut is_away = None;
        for place in 0..self.flights.len() {
            let Some(flight) = self.flights[place].as_mut() else { continue };
            if flight.look > now {
                continue;
            }
            if flight.is_sent {
                flight.trouble = Some("no answer in time".into());
            }
            if now >= flight.deadline || flight.sends >= MAX_SENDS {
                let trouble = flight.trouble.take().unwrap_or_default();
                let error = self.link.unavailable(&trouble);
                is_away = Some(error.clone());
                self.settle(place, Err(error));
            } else {
                self.send(place).await;
            }
        }
        if let Some(error) = is_away {
            self.give_up_waiting(&error);
        }
    }

    /// The broker is away: what waits for its turn would only find that out one window after the other.
    fn give_up_waiting(&mut self, error: &BrokerError) {
        for (call, item) in std::mem::take(&mut self.ready) {
            let key = item.envelope.key.clone();
            self.answer(call, item.index, Err(error.clone()));
            self.after(call, &key, true);
        }
    }

    /// The place of an answer, if its event still waits for it.
    fn place_of(&self, subject: &str) -> Option<usize> {
        let (place, number) = subject.rsplit_once('.')?.1.split_once('-')?;
        let place: usize = place.parse().ok()?;
        let number: u32 = number.parse().ok()?;
        self.flights.get(place)?.as_ref().filter(|flight| flight.number == number).map(|_| place)
    }

    fn settle(&mut self, place: usize, answer: Result<Published, BrokerError>) {
        let Some(flight) = self.flights[place].take() else { return };
        self.free.push(place);
        self.bytes -= flight.item.size;
        let has_failed = answer.is_err();
        let key = flight.item.envelope.key;
        self.answer(flight.call, flight.item.index, answer);
        self.after(flight.call, &key, has_failed);
    }

    /// Lets the next of the key go; after a failure not those of the same call.
    fn after(&mut self, call: CallId, key: &Key, has_failed: bool) {
        let Some(line) = self.keys.get_mut(key) else { return };
        if line.is_empty() {
            self.keys.remove(key);
            return;
        }
        let mut behind = Vec::new();
        if has_failed {
            let (same, others): (VecDeque<_>, VecDeque<_>) = line.drain(..).partition(|(other, _)| *other == call);
            *line = others;
            behind.extend(same.into_iter().map(|(_, item)| item.index));
        }
        match line.pop_front() {
            Some(next) => self.ready.push_back(next),
            None => drop(self.keys.remove(key)),
        }
        for index in behind {
            self.answer(call, index, Err(BrokerError::Behind));
        }
    }

    fn answer(&mut self, call: CallId, index: usize, answer: Result<Published, BrokerError>) {
        let Some(open) = self.open.get_mut(&call) else { return };
        if let Some(slot) = open.answers.get_mut(index)
            && slot.replace(answer).is_none()
        {
            open.missing -= 1;
        }
        self.answer_if_done(call);
    }

    fn answer_if_done(&mut self, call: CallId) {
        if self.open.get(&call).is_some_and(|open| open.missing == 0)
            && let Some(open) = self.open.remove(&call)
        {
            let answers = open.answers.into_iter().map(|answer| answer.unwrap_or(Err(BrokerError::Closed)));
            // Who called may have gone away.
            let _ = open.answer.send(answers.collect());
        }
    }
}
