//! The engine behind publishing: one task that sends, and reads the answers.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, StatusCode};
use futures::FutureExt;
use tidewire_core::broker::Published;
use tidewire_core::{BrokerError, Key};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use super::super::api::{ApiError, EXCEEDS_MAXIMUM, PublishAck, Refusal};
use super::super::link::Link;
use super::super::subject;
use super::lane::{Lane, Sign, Wire};
use super::run::{MIN_RUN, Run};
use super::{Answers, Call, Item, Limits, MAX_WAITING_CALLS, Record};

/// Bytes of publishes that may be under way at once: what a slow network and the server must hold.
pub(super) const MAX_BYTES_UNDER_WAY: usize = 16 << 20;
/// How often answers that are overdue are looked for.
const TICK: Duration = Duration::from_millis(50);
/// How long handing an event to the connection may take before that counts as not sent.
pub(super) const MAX_STALL: Duration = Duration::from_secs(1);
/// Duplicates of the id are being stored, the server is busy, a leader is elected: the same may succeed in a moment.
const BUSY: [u32; 6] = [10_158, 10_167, 10_163, 10_008, 10_009, 10_118];

pub(super) type CallId = u64;

/// A call that is not answered yet.
struct Open {
    answers: Vec<Option<Result<Published, BrokerError>>>,
    missing: usize,
    answer: oneshot::Sender<Answers>,
}

/// An event with the server.
struct Flight {
    call: CallId,
    index: usize,
    key: Key,
    size: usize,
    /// Which flight of this place: answers to earlier ones are nobody's.
    number: u32,
    /// When it has taken too long.
    overdue: Instant,
}

/// What follows on a key of which something is under way or ready.
#[derive(Default)]
pub(super) struct Line {
    pub(super) waiting: VecDeque<(CallId, Item)>,
    /// Whether one of it is ready.
    pub(super) is_ready: bool,
}

pub(super) struct Engine {
    pub(super) link: Arc<Link>,
    pub(super) limits: Limits,
    pub(super) record: Arc<Record>,
    calls: mpsc::Receiver<Call>,
    pub(super) lane: Lane,
    open: HashMap<CallId, Open>,
    next_call: CallId,
    pub(super) keys: HashMap<Key, Line>,
    /// What may be sent when there is room: at most one per key.
    pub(super) ready: VecDeque<(CallId, Item)>,
    /// Events that wait in a line.
    pub(super) behind: usize,
    flights: Vec<Option<Flight>>,
    free: Vec<usize>,
    pub(super) next_number: u32,
    pub(super) bytes: usize,
    /// Many that went as one: then nothing else is under way.
    pub(super) run: Option<Run>,
    /// The most events of a run: few at first, and where the server is slow.
    pub(super) run_limit: usize,
    /// Events to be sent one by one before a run is tried again: after one that failed, so that each gets its own
    /// answer.
    pub(super) careful: usize,
}

impl Engine {
    pub(super) async fn new(
        link: Arc<Link>,
        limits: Limits,
        record: Arc<Record>,
        calls: mpsc::Receiver<Call>,
    ) -> Result<Self, BrokerError> {
        let lane = Lane::Open(Wire::open(link.lane().await?).await?);
        record.doubt();
        let flights = (0..limits.window).map(|_| None).collect();
        let free = (0..limits.window).rev().collect();
        Ok(Self {
            link,
            run_limit: MIN_RUN,
            limits,
            record,
            calls,
            lane,
            open: HashMap::new(),
            next_call: 0,
            keys: HashMap::new(),
            ready: VecDeque::new(),
            behind: 0,
            flights,
            free,
            next_number: 0,
            bytes: 0,
            run: None,
            careful: 0,
        })
    }

    /// Runs until nobody can call any more and everything is answered.
    pub(super) async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_closing = false;
        loop {
            while let Some(sign) = self.lane.next().now_or_never() {
                self.note(sign);
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
                sign = self.lane.next() => self.note(sign),
                call = self.calls.recv(), if !is_closing => match call {
                    Some(call) => self.take(call),
                    None => is_closing = true,
                },
                _ = tick.tick(), if !self.open.is_empty() => self.sweep(),
            }
        }
    }

    fn note(&mut self, sign: Sign) {
        match sign {
            Sign::Reply(reply) => self.read(&reply),
            Sign::Opened(wire) => {
                self.lane = Lane::Open(wire);
                self.record.doubt();
            }
            Sign::Lost => self.lose("the connection was lost"),
        }
    }

    /// The connection is of no use any more: everything is given up, and another one made.
    pub(super) fn lose(&mut self, why: &str) {
        self.lane = Lane::opening(self.link.clone());
        self.give_up(why);
    }

    /// The record may not be what it was: everything under way or waiting is given up, and somebody has to look.
    pub(super) fn give_up(&mut self, why: &str) {
        self.record.doubt();
        let error = self.link.unavailable(why);
        self.give_up_run(&error);
        self.give_up_waiting(&error);
        for place in 0..self.flights.len() {
            self.settle(place, Err(error.clone()));
        }
        // What other calls had behind these on their keys is ready only now.
        while !self.ready.is_empty() {
            self.give_up_waiting(&error);
        }
    }

    /// Why nothing may be published now, if so.
    fn refusal(&self, items: &[Item]) -> Option<BrokerError> {
        if !matches!(self.lane, Lane::Open(_)) {
            return Some(self.link.unavailable("there is no connection for publishing yet"));
        }
        let is_admitted = self.record.admits(items.iter().map(|item| &item.envelope.key));
        (!is_admitted).then(|| BrokerError::Unavailable("the record may be another one: look at it first".into()))
    }

    fn take(&mut self, mut call: Call) {
        if let Some(error) = self.refusal(&call.items) {
            let mut failed = HashSet::new();
            for item in call.items.drain(..) {
                let is_first = failed.insert(item.envelope.key);
                call.answers[item.index] = Some(Err(if is_first { error.clone() } else { BrokerError::Behind }));
            }
        }
        let id = self.next_call;
        self.next_call += 1;
        let missing = call.items.len();
        self.open.insert(id, Open { answers: call.answers, missing, answer: call.answer });
        for item in call.items {
            match self.keys.get_mut(&item.envelope.key) {
                Some(line) => {
                    line.waiting.push_back((id, item));
                    self.behind += 1;
                }
                None => {
                    self.keys.insert(item.envelope.key.clone(), Line { is_ready: true, ..Line::default() });
                    self.ready.push_back((id, item));
                }
            }
        }
        self.answer_if_done(id);
    }

    /// Sends as much as may be under way.
    async fn fill(&mut self) {
        if self.run.is_some() {
            return;
        }
        if self.is_worth_a_run() {
            // Once what is under way one by one is answered, which takes no longer than a round trip.
            if self.free.len() == self.flights.len() {
                self.begin_run().await;
            }
            return;
        }
        while let Some((_, item)) = self.ready.front() {
            let is_full = self.bytes > 0 && self.bytes + item.size > MAX_BYTES_UNDER_WAY;
            if is_full || self.free.is_empty() {
                return;
            }
            let (Some((call, item)), Some(place)) = (self.ready.pop_front(), self.free.pop()) else { return };
            self.send(call, item, place).await;
        }
    }

    async fn send(&mut self, call: CallId, item: Item, place: usize) {
        let Item { index, envelope, size, headers } = item;
        let number = self.next_number;
        self.next_number = self.next_number.wrapping_add(1);
        self.bytes += size;
        let subject = subject::of(&self.limits.domain, &envelope.key, &envelope.ty);
        let overdue = Instant::now() + self.limits.ack_timeout;
        self.careful = self.careful.saturating_sub(1);
        if let Some(line) = self.keys.get_mut(&envelope.key) {
            line.is_ready = false;
        }
        self.flights[place] = Some(Flight { call, index, key: envelope.key, size, number, overdue });
        // While there is none nothing is ready.
        let Lane::Open(wire) = &self.lane else { return };
        let reply = format!("{}.{place}-{number}", wire.inbox);
        let data = envelope.data.unwrap_or_default();
        let sending = wire.client.publish_with_reply_and_headers(subject, reply, headers, data);
        match tokio::time::timeout(MAX_STALL, sending).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.lose(&error.to_string()),
            Err(_) => self.lose("the connection is stalled"),
        }
    }

    fn read(&mut self, reply: &Message) {
        if let Some((number, seq)) = Run::place_of(reply.subject.as_str()) {
            return self.read_run(number, seq, reply);
        }
        let Some(place) = self.place_of(reply.subject.as_str()) else { return };
        if reply.status == Some(StatusCode::NO_RESPONDERS) {
            return self.give_up("nobody takes the event: the stream has no leader, or is gone");
        }
        let ack: PublishAck = match serde_json::from_slice(&reply.payload) {
            Ok(ack) => ack,
            Err(error) => return self.give_up(&format!("an answer that cannot be read: {error}")),
        };
        match ack.error {
            None => {
                self.record.acknowledged(ack.seq);
                self.settle(place, Ok(Published { duplicate: ack.duplicate }));
            }
            Some(refusal) => self.refused(place, refusal),
        }
    }

    fn refused(&mut self, place: usize, refusal: Refusal) {
        let error = ApiError::from(refusal);
        let ApiError::Refused { code, err_code, ref description } = error else { return };
        if code == 503 && err_code != 10_077 || BUSY.contains(&err_code) {
            let error = self.link.unavailable(description);
            return self.settle(place, Err(error));
        }
        let size = self.flights[place].as_ref().map_or(0, |flight| flight.size);
        let error = match EXCEEDS_MAXIMUM.contains(&err_code) {
            true => BrokerError::TooLarge { size, limit: size.saturating_sub(1) },
            false => error.into(),
        };
        self.settle(place, Err(error));
    }

    /// An answer that takes too long is not waited for on this connection: it may be dead without saying so.
    fn sweep(&mut self) {
        let now = Instant::now();
        let is_overdue = self.run.as_ref().is_some_and(|run| run.overdue <= now);
        if is_overdue || self.flights.iter().flatten().any(|flight| flight.overdue <= now) {
            self.lose("no answer in time");
        }
    }

    /// What waits for its turn would only find out one window after the other.
    fn give_up_waiting(&mut self, error: &BrokerError) {
        for (call, item) in std::mem::take(&mut self.ready) {
            let key = item.envelope.key.clone();
            if let Some(line) = self.keys.get_mut(&key) {
                line.is_ready = false;
            }
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
        self.bytes -= flight.size;
        let has_failed = answer.is_err();
        self.answer(flight.call, flight.index, answer);
        self.after(flight.call, &flight.key, has_failed);
    }

    /// Lets the next of the key go; after a failure not those of the same call.
    fn after(&mut self, call: CallId, key: &Key, has_failed: bool) {
        if has_failed {
            self.leave_behind(call, key);
        }
        self.promote(key);
    }

    /// Answers what a call still has in line on a key of which one failed.
    pub(super) fn leave_behind(&mut self, call: CallId, key: &Key) {
        let Some(line) = self.keys.get_mut(key).filter(|line| !line.waiting.is_empty()) else { return };
        let (same, others): (VecDeque<_>, VecDeque<_>) = line.waiting.drain(..).partition(|(other, _)| *other == call);
        line.waiting = others;
        self.behind -= same.len();
        for (_, item) in same {
            self.answer(call, item.index, Err(BrokerError::Behind));
        }
    }

    /// Makes the next of the key ready, unless one is; a key of which nothing is left is forgotten.
    pub(super) fn promote(&mut self, key: &Key) {
        let Some(line) = self.keys.get_mut(key) else { return };
        if line.is_ready {
            return;
        }
        match line.waiting.pop_front() {
            Some(next) => {
                line.is_ready = true;
                self.behind -= 1;
                self.ready.push_back(next);
            }
            None => drop(self.keys.remove(key)),
        }
    }

    pub(super) fn answer(&mut self, call: CallId, index: usize, answer: Result<Published, BrokerError>) {
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
