//! Runs: many events as one, in order, of which the server stores a beginning and nothing behind it.
//!
//! It is what the server calls fast ingest (2.14), in its mode `fail`: events are numbered, and the first that is missing
//! or refused ends the run, whatever was sent behind it. So any number of events of one key may be under way at once,
//! and one answer is enough for all of them: how many were stored.
//!
//! The whole protocol is in the subject of the answer: `<inbox>.<run>.<flow>.fail.<number>.<operation>.$FI`.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use async_nats::{Message, StatusCode};
use serde::Deserialize;
use tidewire_core::BrokerError;
use tidewire_core::broker::Published;
use tokio::time::Instant;

use super::super::api::Refusal;
use super::super::{binding, subject};
use super::Item;
use super::engine::{CallId, Engine, Line, MAX_BYTES_UNDER_WAY, MAX_STALL};
use super::lane::Lane;

/// So many events must wait before they go as a run. Fewer go one by one, and each learns whether the server
/// knew it; of a run it says only how many.
pub(super) const MIN_RUN: usize = 16;
/// After so many events of a run the server says how far it is, which shows that it is alive.
const FLOW: u16 = 64;

/// A run that takes longer is followed by one of half as many events, a quick one by one of twice as many: nobody learns
/// anything before its end, and a server that syncs every event takes milliseconds for each.
const LONG: Duration = Duration::from_millis(50);
const QUICK: Duration = Duration::from_millis(20);

/// Operations of the protocol: the first of several, one in their midst, the last, which is answered.
const START: u8 = 0;
const APPEND: u8 = 1;
const COMMIT: u8 = 2;
/// The end of the subjects of answers to a run.
const SUFFIX: &str = ".$FI";

/// Events that are under way as one.
pub(super) struct Run {
    number: u32,
    /// In the order in which they were sent.
    events: Vec<(CallId, Item)>,
    begun: Instant,
    /// When nothing was heard for too long.
    pub(super) overdue: Instant,
}

impl Run {
    /// The run, and the place in it from 1 on, that an answer is about.
    pub(super) fn place_of(subject: &str) -> Option<(u32, u64)> {
        let mut tokens = subject.strip_suffix(SUFFIX)?.rsplit('.');
        let (_operation, place, _mode, _flow, id) =
            (tokens.next()?, tokens.next()?, tokens.next()?, tokens.next()?, tokens.next()?);
        Some((id.rsplit_once('-')?.1.parse().ok()?, place.parse().ok()?))
    }
}

/// What the server says of a run.
#[derive(Deserialize)]
struct Answer {
    /// Only of notes: `ack` (so far it is stored), `gap`, `err`. The end has none.
    #[serde(rename = "type")]
    note: Option<String>,
    /// Of the end: where the last event lies that this run stored; 0 where it stored none.
    #[serde(default)]
    seq: u64,
    /// Of the end: how many the stream holds now, stored by this run or before.
    #[serde(default)]
    count: usize,
    #[serde(default)]
    duplicate: bool,
    error: Option<Refusal>,
}

impl Engine {
    /// Whether what waits is to go as a run.
    pub(super) fn is_worth_a_run(&self) -> bool {
        self.careful == 0
            && self.ready.len() + self.behind >= MIN_RUN
            && self.limits.window >= MIN_RUN
            && self.record.takes_runs()
    }

    /// Sends what waits as one run, as much as may be under way. Nothing else is under way.
    pub(super) async fn begin_run(&mut self) {
        let (mut events, begun) = (self.next_run(), Instant::now());
        // While there is none nothing is ready.
        let Lane::Open(wire) = &self.lane else { return };
        let number = self.next_number;
        self.next_number = self.next_number.wrapping_add(1);
        let client = wire.client.clone();
        // The last part of the inbox is nobody else's; so is the run's name.
        let name = wire.inbox.rsplit('.').next().unwrap_or_default();
        let inbox = format!("{}.{name}-{number}.{FLOW}.fail", wire.inbox);
        let count = events.len();
        let mut trouble = None;
        for (index, (_, item)) in events.iter_mut().enumerate() {
            let operation = match index {
                last if last + 1 == count => COMMIT,
                0 => START,
                _ => APPEND,
            };
            let reply = format!("{inbox}.{}.{operation}{SUFFIX}", index + 1);
            let subject = subject::of(&self.limits.domain, &item.envelope.key, &item.envelope.ty);
            let data = item.envelope.data.clone().unwrap_or_default();
            let headers = std::mem::take(&mut item.headers);
            let sending = client.publish_with_reply_and_headers(subject, reply, headers, data);
            match tokio::time::timeout(MAX_STALL, sending).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => trouble = Some(error.to_string()),
                Err(_) => trouble = Some("the connection is stalled".into()),
            }
            if trouble.is_some() {
                break;
            }
        }
        let now = Instant::now();
        self.run = Some(Run { number, events, begun, overdue: now + self.limits.ack_timeout });
        if let Some(why) = trouble {
            self.lose(&why);
        }
    }

    /// Takes what waits, of each key in its order.
    fn next_run(&mut self) -> Vec<(CallId, Item)> {
        let mut events = Vec::with_capacity(self.run_limit.min(self.ready.len() + self.behind));
        while events.len() < self.run_limit {
            let Some((_, item)) = self.ready.front() else { break };
            if self.bytes > 0 && self.bytes + item.size > MAX_BYTES_UNDER_WAY {
                break;
            }
            let Some((call, item)) = self.ready.pop_front() else { break };
            self.bytes += item.size;
            if let Some(line) = self.keys.get_mut(&item.envelope.key) {
                let next = line.waiting.pop_front();
                line.is_ready = next.is_some();
                self.behind -= usize::from(next.is_some());
                self.ready.extend(next);
            }
            events.push((call, item));
        }
        events
    }

    /// Reads what the server says of the event at this place of a run.
    pub(super) fn read_run(&mut self, number: u32, place: u64, reply: &Message) {
        let Some(run) = self.run.as_mut().filter(|run| run.number == number) else { return };
        run.overdue = Instant::now() + self.limits.ack_timeout;
        let last = run.events.len() as u64;
        if reply.status == Some(StatusCode::NO_RESPONDERS) {
            return self.give_up("nobody takes the events: the stream has no leader, or is gone");
        }
        let answer: Answer = match serde_json::from_slice(&reply.payload) {
            Ok(answer) => answer,
            Err(error) => return self.give_up(&format!("an answer that cannot be read: {error}")),
        };
        match answer {
            Answer { note: Some(note), .. } if note == "ack" => {}
            Answer { note: Some(note), .. } => tracing::debug!(note, place, "a run ends early"),
            // The first was not taken, so none is. Each is told why when it goes by itself.
            Answer { error: Some(_), .. } if place == 1 => self.end_run(0, 0),
            // Nothing follows that could show the server that one is missing: it says nothing more.
            Answer { error: Some(refusal), .. } if place == last => {
                self.careful = self.limits.window;
                let why = super::super::api::ApiError::from(refusal).to_string();
                self.give_up(&format!("the end of a run was refused: {why}"));
            }
            // The next one shows the server that one is missing, which ends the run.
            Answer { error: Some(_), .. } => {}
            Answer { seq, count, duplicate, .. } => self.end_run(count, if duplicate { 0 } else { seq }),
        }
    }

    /// A run is over: the stream holds so many of it, of which it stored the last at `seq`. The others are sent
    /// one by one.
    fn end_run(&mut self, count: usize, seq: u64) {
        let Some(run) = self.run.take() else { return };
        self.bytes = 0;
        match run.begun.elapsed() {
            took if took > LONG => self.run_limit = (run.events.len() / 2).max(MIN_RUN),
            took if took < QUICK => self.run_limit = (self.run_limit * 2).min(self.limits.window),
            _ => {}
        }
        let before = self.record.acknowledged(seq);
        // Others may store in between: then duplicates look like events that were stored, which they are, by others.
        let stored = usize::try_from(seq.saturating_sub(before)).unwrap_or(usize::MAX);
        let duplicates = count.saturating_sub(stored);
        let mut events = run.events.into_iter();
        let mut keys = HashSet::new();
        for (place, (call, item)) in events.by_ref().take(count).enumerate() {
            // Which ones the server does not say; who publishes again begins with those.
            self.answer(call, item.index, Ok(Published { duplicate: place < duplicates }));
            keys.insert(item.envelope.key);
        }
        let left: Vec<_> = events.collect();
        if !left.is_empty() {
            self.careful = self.limits.window;
            keys.extend(left.iter().map(|(_, item)| item.envelope.key.clone()));
            self.put_back(left);
        }
        for key in &keys {
            self.promote(key);
        }
    }

    /// What a run did not store goes back to where it was: in front of everything else of its key.
    fn put_back(&mut self, left: Vec<(CallId, Item)>) {
        let mut fronts: HashMap<_, VecDeque<_>> = HashMap::new();
        for (call, mut item) in left {
            item.headers = binding::encode(&item.envelope, &self.limits.stream).headers;
            fronts.entry(item.envelope.key.clone()).or_default().push_back((call, item));
        }
        let (again, ready) = std::mem::take(&mut self.ready)
            .into_iter()
            .partition(|(_, item): &(CallId, Item)| fronts.contains_key(&item.envelope.key));
        self.ready = ready;
        let again: VecDeque<(CallId, Item)> = again;
        for (call, item) in again {
            if let Some(front) = fronts.get_mut(&item.envelope.key) {
                front.push_back((call, item));
            }
        }
        for (key, mut front) in fronts {
            self.behind += front.len();
            let line = self.keys.entry(key).or_default();
            front.append(&mut line.waiting);
            *line = Line { waiting: front, is_ready: false };
        }
    }

    /// What is under way as a run is given up: the first of each call and key with this error.
    pub(super) fn give_up_run(&mut self, error: &BrokerError) {
        let Some(run) = self.run.take() else { return };
        self.bytes = 0;
        // What is ready follows on what is given up.
        let mut keys: HashSet<_> = HashSet::new();
        for (call, item) in std::mem::take(&mut self.ready) {
            let key = item.envelope.key.clone();
            let line = self.keys.entry(key.clone()).or_default();
            line.is_ready = false;
            line.waiting.push_front((call, item));
            self.behind += 1;
            keys.insert(key);
        }
        let mut failed = HashSet::new();
        for (call, item) in run.events {
            let key = item.envelope.key;
            let is_first = failed.insert((call, key.clone()));
            self.answer(call, item.index, Err(if is_first { error.clone() } else { BrokerError::Behind }));
            self.leave_behind(call, &key);
            keys.insert(key);
        }
        for key in &keys {
            self.promote(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_its_run_and_place() {
        assert_eq!(Run::place_of("_INBOX.abc.abc-7.64.fail.12.1.$FI"), Some((7, 12)));
        for other in ["_INBOX.abc.12-7", "_INBOX.abc.abc-7.64.fail.x.1.$FI", "$FI", ".$FI"] {
            assert_eq!(Run::place_of(other), None, "{other}");
        }
    }
}
