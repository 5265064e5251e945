//! The thread of a group: reads, keeps its place with Kafka, and takes part in the sharing out of partitions.
//!
//! It never stops polling for long, however long handlers run: when there is no room it pauses its partitions.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use tidewire_core::BrokerError;
use tokio::time::Instant;

use super::desk::watermarks;
use super::group::{Group, Phase, State};
use super::options::KafkaOptions;
use super::places::Places;
use super::track::{Mark, Staged, Track};
use super::{binding, context, error};

/// How long one poll waits for records.
const POLL: Duration = Duration::from_millis(50);
/// How many records are read before they are put in hand: enough to take the lock rarely.
const ROUND: usize = 256;
/// How long it is left full before the partitions are paused: pausing throws away what was fetched ahead.
const FULL: Duration = Duration::from_millis(200);
/// How long a partition that goes to another member waits for what is in hand.
const HAND_OVER: Duration = Duration::from_secs(3);
/// How long a question to the cluster may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the question where the group stands is asked again.
const ASKS: usize = 3;

/// What runs in the thread, and in librdkafka's callbacks, which it calls from this thread.
pub(super) struct Reader {
    pub(super) group: Arc<Group>,
    pub(super) topic: String,
    pub(super) places: Places,
    /// Records are to be looked for again: what was to be read is gone.
    displaced: AtomicBool,
    /// There is no room, and so nothing is fetched.
    paused: AtomicBool,
}

/// Starts the group's thread.
pub(super) fn start(options: &KafkaOptions, group: &Arc<Group>) -> Result<(), BrokerError> {
    let topic = options.topic();
    let reader = Reader {
        group: group.clone(),
        topic: topic.clone(),
        places: Places::default(),
        displaced: AtomicBool::new(false),
        paused: AtomicBool::new(false),
    };
    let consumer = BaseConsumer::from_config_and_context(&options.consumer(&group.name), reader);
    let consumer = consumer.map_err(|failure| error::from_kafka("subscribing", &failure))?;
    consumer.subscribe(&[&topic]).map_err(|failure| error::from_kafka("subscribing", &failure))?;
    let group = group.clone();
    let thread = std::thread::Builder::new().name("kafka-group".into());
    let started = thread.spawn(move || {
        let failure = std::thread::scope(|threads| {
            let reader = consumer.context();
            threads.spawn(|| reader.keep_places(&consumer));
            let failure = run(&consumer).err();
            reader.places.stop();
            failure
        });
        let mut state = group.state();
        if let Some(failure) = failure {
            tracing::warn!(group = group.name, error = %failure, "reading from Kafka ended");
            state.failure.get_or_insert(failure);
        }
        if state.phase == Phase::Running {
            state.phase = Phase::Ending;
        }
        drop(state);
        group.tell_seats();
        // Hands the partitions over (see `rebalance`) and leaves the consumer group.
        drop(consumer);
        group.ended();
    });
    started.map(|_| ()).map_err(|error| BrokerError::Unavailable(format!("no thread for the group: {error}")))
}

/// Reads until the group ends.
fn run(consumer: &BaseConsumer<Reader>) -> Result<(), BrokerError> {
    let reader = consumer.context().clone();
    let mut full_since = None;
    loop {
        let mut state = reader.group.state();
        if state.phase != Phase::Running {
            return Ok(());
        }
        state.hand.expire(Instant::now());
        let room = state.room();
        drop(state);
        reader.make_room(consumer, &mut full_since, room)?;
        if reader.displaced.swap(false, Ordering::AcqRel) {
            reader.find_again(consumer)?;
        }
    }
}

impl Reader {
    /// Reads as much as there is room for; without room waits for some.
    fn make_room(
        &self,
        consumer: &BaseConsumer<Self>,
        full_since: &mut Option<Instant>,
        room: usize,
    ) -> Result<(), BrokerError> {
        if room > 0 {
            *full_since = None;
            if self.paused.swap(false, Ordering::AcqRel) {
                self.pause(consumer, false)?;
            }
            return self.read(consumer, room.min(ROUND));
        }
        if full_since.get_or_insert_with(Instant::now).elapsed() >= FULL && !self.paused.swap(true, Ordering::AcqRel) {
            self.pause(consumer, true)?;
        }
        if self.paused.load(Ordering::Acquire) {
            // Nothing can come; what must be answered is.
            self.read(consumer, 1)?;
        }
        let state = self.group.state();
        if state.room() == 0 && state.phase == Phase::Running {
            drop(self.group.wait(state, POLL));
        }
        Ok(())
    }

    fn pause(&self, consumer: &BaseConsumer<Self>, pause: bool) -> Result<(), BrokerError> {
        let all = self.list(self.group.state().tracks.keys().map(|partition| (*partition, None)));
        let done = if pause { consumer.pause(&all) } else { consumer.resume(&all) };
        done.map_err(|failure| error::from_kafka("pausing", &failure))
    }

    fn list(&self, partitions: impl Iterator<Item = (i32, Option<i64>)>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in partitions {
            let mut element = list.add_partition(&self.topic, partition);
            // An offset that is no offset stays `Invalid`, and is refused by whoever is handed the list.
            let _ = offset.map(|offset| element.set_offset(Offset::Offset(offset)));
        }
        list
    }

    /// Reads up to `limit` records.
    fn read(&self, consumer: &BaseConsumer<Self>, limit: usize) -> Result<(), BrokerError> {
        let mut records = Vec::new();
        let mut patience = if limit > 1 { POLL } else { Duration::ZERO };
        while records.len() < limit {
            let Some(polled) = consumer.poll(patience) else { break };
            patience = Duration::ZERO;
            match polled {
                Ok(record) => records.push(read_record(&record)),
                Err(failure) => self.note(&failure)?,
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        let short = self.group.change(|state| {
            for (partition, offset, bytes, event) in records {
                take(state, partition, offset, bytes, event);
            }
            state.unstage();
            state.tracks.values().any(Track::is_short)
        });
        if short {
            self.places.hurry();
        }
        Ok(())
    }

    /// What a failure while reading means.
    fn note(&self, failure: &KafkaError) -> Result<(), BrokerError> {
        let Some(code) = failure.rdkafka_error_code() else { return Ok(()) };
        if let KafkaError::MessageConsumptionFatal(_) = failure {
            return Err(error::from_code("reading", code));
        }
        match code {
            code if error::is_denied(code) => Err(error::from_code("reading", code)),
            code if error::is_unknown_topic(code) => Err(error::from_code("reading", code)),
            RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => {
                self.displaced.store(true, Ordering::Release);
                Ok(())
            }
            // librdkafka goes on by itself, as soon as it can.
            _ => Ok(()),
        }
    }

    /// Where reading cannot go on because the records there are gone, it goes on with the oldest that are left.
    fn find_again(&self, consumer: &BaseConsumer<Self>) -> Result<(), BrokerError> {
        let partitions: Vec<i32> = self.group.state().tracks.keys().copied().collect();
        let ends = ends(consumer, &self.topic, &partitions)?;
        let moves: Vec<_> = self.group.change(|state| {
            let window = state.max_in_flight;
            let State { tracks, hand, .. } = state;
            let found =
                tracks.iter_mut().filter_map(|(partition, track)| Some((partition, track, ends.get(partition)?)));
            let find = |(partition, track, (low, high)): (&i32, &mut Track, &(i64, i64))| {
                if track.position() > *high {
                    tracing::error!(group = self.group.name, partition, "the partition begins anew");
                    hand.revoke(|(other, _)| other == partition);
                    *track = Track::new(None, *low, window);
                } else if track.position() < *low {
                    self.complain(*partition, low - track.position());
                    track.skip_to(*low);
                }
                (*partition, Some(track.position()))
            };
            found.map(find).collect()
        });
        let moves = self.list(moves.into_iter());
        consumer.seek_partitions(moves, PATIENCE).map(|_| ()).map_err(|failure| error::from_kafka("reading", &failure))
    }

    fn complain(&self, partition: i32, lost: i64) {
        tracing::error!(group = self.group.name, partition, lost, "events were removed before they were read");
    }

    /// Takes partitions over: from where the group stands.
    fn assign(&self, consumer: &BaseConsumer<Self>, partitions: &[i32]) -> Result<(), BrokerError> {
        let starts = match partitions {
            // Others changed places.
            [] => Vec::new(),
            _ => self.take_over(consumer, partitions)?,
        };
        let list = self.list(starts.into_iter());
        let assigned = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(&list),
            RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(&list),
        };
        assigned.map_err(|failure| error::from_kafka("taking partitions", &failure))?;
        match self.paused.load(Ordering::Acquire) {
            true => consumer.pause(&list).map_err(|failure| error::from_kafka("pausing", &failure)),
            false => Ok(()),
        }
    }

    /// Where to read these from, as the group left them.
    fn take_over(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &[i32],
    ) -> Result<Vec<(i32, Option<i64>)>, BrokerError> {
        let mut asked = 0;
        let (committed, ends) = loop {
            asked += 1;
            let list = self.list(partitions.iter().map(|partition| (*partition, None)));
            let committed = consumer.committed_offsets(list, PATIENCE);
            let committed = committed.map_err(|failure| error::from_kafka("asking for the group's place", &failure));
            match committed.and_then(|committed| Ok((committed, ends(consumer, &self.topic, partitions)?))) {
                Ok(found) => break found,
                Err(failure @ BrokerError::Denied(_)) => return Err(failure),
                Err(failure) if asked >= ASKS => return Err(failure),
                Err(failure) => tracing::warn!(group = self.group.name, error = %failure, "asking again"),
            }
        };
        Ok(self.group.change(|state| {
            let window = state.max_in_flight;
            let mut starts = Vec::new();
            for element in committed.elements() {
                let (partition, place) = (element.partition(), place_of(&element));
                let (low, high) = ends.get(&partition).copied().unwrap_or_default();
                // A place beyond the end is one in a record that is no more.
                let place = place.filter(|(next, _)| *next <= high);
                if let Some((next, _)) = &place
                    && *next < low
                {
                    self.complain(partition, low - next);
                }
                let track = Track::new(place, low, window);
                starts.push((partition, Some(track.position())));
                state.tracks.insert(partition, track);
            }
            starts
        }))
    }

    /// Gives partitions away: what is in hand may be finished first, as long as they are still ours.
    fn hand_over(&self, consumer: &BaseConsumer<Self>, partitions: &[i32]) {
        let lost = consumer.assignment_lost();
        let given = |(partition, _): &(i32, i64)| partitions.contains(partition);
        let deadline = Instant::now() + if lost { Duration::ZERO } else { HAND_OVER };
        let mut handed = HashMap::new();
        let mut state = self.group.state();
        loop {
            // What nobody has in hand is read again by the next.
            note_handed(&state, partitions, &mut handed);
            state.hand.discard(|place, _| given(place));
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.hand.in_hand(given) == 0 {
                break;
            }
            state = self.group.wait(state, left);
        }
        drop(state);
        self.leave(consumer, partitions, &handed, lost);
    }
}

/// Keeps, of each of these partitions, what is behind the last record that was handed out.
fn note_handed(state: &State, partitions: &[i32], handed: &mut HashMap<i32, i64>) {
    state.hand.each_handed(|(partition, offset)| {
        if partitions.contains(partition) {
            let end = handed.entry(*partition).or_insert(0);
            *end = (*end).max(offset + 1);
        }
    });
}

/// What a committed offset says, if there is one.
fn place_of(element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>) -> Option<(i64, Option<Mark>)> {
    match element.offset() {
        Offset::Offset(next) => Some((next, Mark::parse(next, element.metadata()))),
        _ => None,
    }
}

/// Where each partition begins and ends.
fn ends(
    consumer: &BaseConsumer<Reader>,
    topic: &str,
    partitions: &[i32],
) -> Result<HashMap<i32, (i64, i64)>, BrokerError> {
    let lows = watermarks(consumer, topic, partitions, Offset::Beginning)?;
    let highs = watermarks(consumer, topic, partitions, Offset::End)?;
    let both = |(partition, low)| (partition, (low, highs.get(&partition).copied().unwrap_or(low)));
    Ok(lows.into_iter().map(both).collect())
}

type Read = (i32, i64, usize, Result<tidewire_core::Envelope, String>);

fn read_record(record: &BorrowedMessage<'_>) -> Read {
    let bytes = record.key_len() + record.payload_len() + 512;
    (record.partition(), record.offset(), bytes, binding::decode(record))
}

/// Puts a record that was read where it belongs.
fn take(state: &mut State, partition: i32, offset: i64, bytes: usize, event: Result<tidewire_core::Envelope, String>) {
    // Read before the partition went to somebody else.
    let Some(track) = state.tracks.get_mut(&partition) else { return };
    if !track.read(offset) {
        return;
    }
    match event {
        Ok(envelope) => {
            let wanted = state.wants(&envelope);
            let Some(track) = state.tracks.get_mut(&partition) else { return };
            match wanted {
                true => track.stage(Staged { offset, envelope: Arc::new(envelope), bytes }),
                false => track.finish(offset),
            }
        }
        Err(reason) => {
            tracing::error!(partition, offset, reason, "a record is no event and is passed over");
            track.finish(offset);
        }
    }
}

impl ClientContext for Reader {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        context::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        context::error(&error, reason);
    }
}

impl ConsumerContext for Reader {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions: Vec<i32> = list.elements().iter().map(|element| element.partition()).collect();
        tracing::debug!(group = self.group.name, ?event, ?partitions, "partitions are shared out");
        if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            if let Err(failure) = self.assign(consumer, &partitions) {
                // Nothing is read without knowing from where: the members are told, and join again.
                let mut state = self.group.state();
                state.failure.get_or_insert(failure);
                state.phase = Phase::Ending;
                drop(state);
                let _ = consumer.incremental_assign(&TopicPartitionList::new());
                self.group.tell_seats();
            }
            self.places.hurry();
            return;
        }
        self.hand_over(consumer, &partitions);
        let given = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
            RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
        };
        if let Err(failure) = given {
            tracing::warn!(group = self.group.name, error = %failure, "partitions were not given away");
        }
    }
}
