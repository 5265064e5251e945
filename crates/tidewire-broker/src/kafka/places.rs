//! Keeping a group's place with Kafka: a second thread beside the reader's, since a commit waits for its answer
//! (librdkafka does not tell how a commit ended that nobody waits for).

use std::collections::HashMap;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::reader::Reader;
use super::track::{Mark, Track};
use super::unpoisoned;

/// How often the place is committed while it moves.
const EVERY: Duration = Duration::from_secs(1);
/// How soon a commit is tried again that failed.
const AGAIN: Duration = Duration::from_millis(200);

/// What the two threads tell each other.
#[derive(Default)]
pub(super) struct Places {
    told: Mutex<Told>,
    changed: Condvar,
    /// Held while places are committed: who gives partitions away has the last word on them.
    turn: Mutex<()>,
}

#[derive(Default)]
struct Told {
    stop: bool,
    hurry: bool,
}

impl Places {
    /// Records wait for a commit.
    pub(super) fn hurry(&self) {
        unpoisoned(&self.told).hurry = true;
        self.changed.notify_one();
    }

    pub(super) fn stop(&self) {
        unpoisoned(&self.told).stop = true;
        self.changed.notify_one();
    }

    /// Waits until something is to be done, no longer than `patience`. Whether to go on.
    fn wait(&self, patience: Duration, calmly: bool) -> bool {
        let idle = |told: &mut Told| !told.stop && (calmly || !told.hurry);
        let waited = self.changed.wait_timeout_while(unpoisoned(&self.told), patience, idle);
        let mut told = match waited {
            Ok((told, _)) => told,
            Err(poisoned) => poisoned.into_inner().0,
        };
        told.hurry = false;
        !told.stop
    }
}

impl Reader {
    /// Commits every now and then, and at once when records wait for it, until told to stop.
    pub(super) fn keep_places(&self, consumer: &BaseConsumer<Self>) {
        let (mut committed, mut failed) = (Instant::now(), false);
        loop {
            let left = EVERY.saturating_sub(committed.elapsed());
            if !self.places.wait(if failed { AGAIN } else { left }, failed) {
                return;
            }
            let due = committed.elapsed() >= EVERY;
            match self.commit(consumer, due) {
                None if due => committed = Instant::now(),
                None => {}
                Some(durable) => {
                    failed = !durable;
                    committed = Instant::now();
                }
            }
        }
    }

    /// Commits what has changed, if it is due or somebody waits for it. Whether it is durable.
    fn commit(&self, consumer: &BaseConsumer<Self>, due: bool) -> Option<bool> {
        let _turn = unpoisoned(&self.places.turn);
        let marks: Vec<(i32, Mark)> = {
            let mut state = self.group.state();
            if !due && !state.tracks.values().any(Track::is_short) {
                return None;
            }
            let window = state.max_in_flight;
            let dirty = state.tracks.iter_mut().filter(|(_, track)| track.is_dirty());
            dirty.map(|(partition, track)| (*partition, track.mark(window))).collect()
        };
        if marks.is_empty() {
            return None;
        }
        let outcome = consumer.commit(&self.list_of(&marks), CommitMode::Sync);
        if let Err(failure) = &outcome {
            tracing::debug!(group = self.group.name, error = %failure, "a place was not committed");
        }
        let hurry = self.group.change(|state| {
            for (partition, mark) in &marks {
                if let Some(track) = state.tracks.get_mut(partition) {
                    track.marked(mark.limit, outcome.is_ok());
                }
            }
            state.unstage();
            state.tracks.values().any(Track::is_short)
        });
        if hurry {
            self.places.hurry();
        }
        Some(outcome.is_ok())
    }

    /// Forgets partitions, and commits where the group stands in them as long as they are ours. `handed` is behind the
    /// last record of each that was handed out.
    pub(super) fn leave(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &[i32],
        handed: &HashMap<i32, i64>,
        lost: bool,
    ) {
        let _turn = unpoisoned(&self.places.turn);
        let marks: Vec<(i32, Mark)> = self.group.change(|state| {
            state.hand.revoke(|(partition, _)| partitions.contains(partition));
            let leave = |partition: &i32| {
                let track = state.tracks.remove(partition)?;
                Some((*partition, track.last_mark(handed.get(partition).copied().unwrap_or(0))))
            };
            partitions.iter().filter_map(leave).collect()
        });
        if lost || marks.is_empty() {
            return;
        }
        // A commit that fails is only a duplicate, or a doubt.
        if let Err(failure) = consumer.commit(&self.list_of(&marks), CommitMode::Sync) {
            tracing::debug!(group = self.group.name, error = %failure, "a place was not committed");
        }
    }

    fn list_of(&self, marks: &[(i32, Mark)]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (partition, mark) in marks {
            let mut element = list.add_partition(&self.topic, *partition);
            // Offsets of ours are never negative, which is all that can be refused.
            let _ = element.set_offset(Offset::Offset(mark.next));
            element.set_metadata(mark.text());
        }
        list
    }
}
