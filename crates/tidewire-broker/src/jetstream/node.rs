//! Nodes: the processes that share groups, and whether they live.
//!
//! A node writes a sign of life to the board every second. Others take it for dead when they have seen the same sign
//! for longer than its life: by their own clock, and only while they themselves get through to the board, so that
//! neither clocks that differ nor a broker that stands still make anybody die.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidewire_core::BrokerError;
use tokio::time::Instant;

use super::board::Board;
use super::unpoisoned;

/// How often a node says that it lives, and looks at its groups.
pub(super) const BEAT: Duration = Duration::from_secs(1);

/// What a node says of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Presence {
    pub members: u32,
    pub in_flight: u64,
    pub retrying: u64,
}

#[derive(Default, Serialize, Deserialize)]
struct Sign {
    beat: u64,
    groups: BTreeMap<String, Presence>,
}

struct Seen {
    revision: u64,
    since: Instant,
    polled: Instant,
    groups: BTreeMap<String, Presence>,
}

/// This node, and what it knows of others.
pub(super) struct Nodes {
    /// This one's name.
    pub id: String,
    board: Board,
    ttl: Duration,
    beat: Mutex<u64>,
    seen: Mutex<HashMap<String, Seen>>,
}

impl Nodes {
    pub(super) fn new(id: String, board: Board, ttl: Duration) -> Self {
        Self { id, board, ttl, beat: Mutex::default(), seen: Mutex::default() }
    }

    /// Says that this node lives, and what of its groups. After a failure nobody else is taken for dead until it
    /// succeeded again and their time has passed anew.
    pub(super) async fn say(&self, groups: BTreeMap<String, Presence>) -> Result<(), BrokerError> {
        let beat = {
            let mut beat = unpoisoned(&self.beat);
            *beat += 1;
            *beat
        };
        // A map of numbers cannot fail to be written.
        let sign = serde_json::to_vec(&Sign { beat, groups }).unwrap_or_default();
        let said = self.board.put(&key(&self.id), sign).await;
        if said.is_err() {
            let now = Instant::now();
            unpoisoned(&self.seen).values_mut().for_each(|seen| seen.since = now);
        }
        said.map(|_| ())
    }

    /// Takes the sign away: whoever looks knows at once.
    pub(super) async fn leave(&self) {
        if let Err(error) = self.board.remove(&key(&self.id)).await {
            tracing::debug!(%error, "could not say good-bye; others will find out");
        }
    }

    /// Whether another node is dead.
    pub(super) async fn is_dead(&self, id: &str) -> Result<bool, BrokerError> {
        if id == self.id {
            return Ok(false);
        }
        let now = Instant::now();
        let is_fresh = unpoisoned(&self.seen).get(id).is_some_and(|seen| now - seen.polled < BEAT / 2);
        if !is_fresh && !self.look(id).await? {
            return Ok(true);
        }
        Ok(unpoisoned(&self.seen).get(id).is_some_and(|seen| seen.since.elapsed() > self.ttl))
    }

    /// Looks for another node's sign; `false` when there is none.
    async fn look(&self, id: &str) -> Result<bool, BrokerError> {
        let noted = self.board.get(&key(id)).await?;
        let Some(noted) = noted.filter(|noted| !noted.value.is_empty()) else {
            unpoisoned(&self.seen).remove(id);
            return Ok(false);
        };
        let sign: Sign = serde_json::from_slice(&noted.value).unwrap_or_default();
        let now = Instant::now();
        let mut all = unpoisoned(&self.seen);
        let seen = all.entry(id.to_owned()).or_insert_with(|| Seen {
            revision: noted.revision,
            since: now,
            polled: now,
            groups: BTreeMap::new(),
        });
        seen.polled = now;
        seen.groups = sign.groups;
        if seen.revision != noted.revision {
            (seen.revision, seen.since) = (noted.revision, now);
        }
        Ok(true)
    }

    /// Takes away the sign of a node that is dead.
    pub(super) async fn bury(&self, id: &str) {
        unpoisoned(&self.seen).remove(id);
        let _ = self.board.remove(&key(id)).await;
    }

    /// What another node said last of a group; nothing when it is dead.
    pub(super) async fn presence(&self, id: &str, group: &str) -> Result<Presence, BrokerError> {
        if self.is_dead(id).await? {
            return Ok(Presence::default());
        }
        let seen = unpoisoned(&self.seen);
        Ok(seen.get(id).and_then(|seen| seen.groups.get(group)).copied().unwrap_or_default())
    }
}

fn key(id: &str) -> String {
    format!("node.{id}")
}
