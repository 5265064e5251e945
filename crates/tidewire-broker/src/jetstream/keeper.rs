//! The keeper of a group: sees to it that this process has its share of the slots, and reads them.
//!
//! Level-triggered: every step reads the roll, decides what must change, writes that as one compare-and-set, and only
//! then does it. A step that fails half-way, or whose writing ends unknown, is made up for by the next one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tidewire_core::{Backoff, BrokerError};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::group::{Group, MAX_BATCH, State};
use super::node::BEAT;
use super::reader::Reader;
use super::roll::{self, Place, Roll};
use super::{answer, subject};

/// What members have of a slot that is to be given away is waited for so long; then it comes again elsewhere.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the writing of a roll is tried before somebody else is let go first.
const MAX_RACES: usize = 20;
/// After so long the server delivers again what it heard nothing of. Nothing waits for that: what a dead process had
/// is taken over through the roll, what was lost on the way is looked for. It is the last resort, and far longer than
/// handlers take.
const ACK_WAIT: Duration = Duration::from_secs(120);
/// Requests for deliveries that may stand at once, old ones of broken connections included.
const MAX_WAITING: usize = 64;
/// Deliveries of one consumer that may be open beside those that may be handed out: more than are ever kept waiting
/// here (behind a retry of their key), or what is kept waiting would keep everything waiting.
const MAX_ACK_PENDING: usize = 16_384;
/// Waits after a step failed.
const AGAIN: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// What a step found out and decided.
struct Plan {
    roll: Roll,
    revision: u64,
    /// The roll must be written.
    changed: bool,
    /// What others read by now.
    lost: Vec<usize>,
    /// What is given away.
    released: Vec<usize>,
    /// What is read anew, and from where: (reader, slots, whether they are ours anyway).
    claims: Vec<Claim>,
    /// Consumers that nobody reads any more.
    obsolete: BTreeSet<String>,
}

struct Claim {
    reader: Arc<str>,
    slots: Vec<(usize, Place)>,
    is_replacement: bool,
}

impl Claim {
    fn start(&self) -> u64 {
        self.slots.iter().map(|(_, place)| place.start()).min().unwrap_or(1)
    }
}

/// Keeps a group until nobody here is in it any more.
pub(super) async fn keep(group: Arc<Group>) {
    let answers = tokio::spawn(answer::send(group.clone()));
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failures = 0;
    loop {
        tokio::select! {
            () = group.nudge.notified() => {}
            _ = beat.tick() => {}
        }
        let asked = group.asked.load(Ordering::Acquire);
        match group.step().await {
            Ok(()) => {
                failures = 0;
                group.settled.send_modify(|settled| settled.done = settled.done.max(asked));
                if group.end_if_empty(asked) {
                    break;
                }
            }
            Err(error) => {
                failures += 1;
                if failures > 1 {
                    let code = error.code();
                    tracing::warn!(group = group.name, code, %error, "the group's seats cannot be kept; trying again");
                }
                group.settled.send_modify(|settled| settled.failed = Some((asked, error)));
                group.shared.mend().await;
                if group.shared.is_closed() && failures > 2 {
                    break;
                }
                let wait = AGAIN.after(failures, group.shared.clock.random());
                tokio::time::sleep(wait).await;
                group.nudge.notify_one();
            }
        }
        let refusal = group.shared.link.refusal().map(BrokerError::Denied);
        let mut state = group.state();
        state.denied = refusal;
        state.tell(ACK_WAIT / 3);
        drop(state);
        group.wake();
    }
    group.end();
    let _ = answers.await;
}

impl Group {
    /// Ends if nobody is here and nobody asked to come meanwhile.
    fn end_if_empty(&self, asked: u64) -> bool {
        let mut groups = super::unpoisoned(&self.shared.groups);
        let mut state = self.state();
        let is_empty = state.members.is_empty() && state.slots.iter().all(Option::is_none);
        if !is_empty || self.asked.load(Ordering::Acquire) != asked {
            return false;
        }
        state.ended = true;
        groups.remove(&self.name);
        true
    }

    fn end(&self) {
        super::unpoisoned(&self.shared.groups).remove(&self.name);
        let mut state = self.state();
        state.ended = true;
        state.readers.clear();
        drop(state);
        self.wake();
    }

    /// One look at the roll, and what follows from it.
    async fn step(self: &Arc<Self>) -> Result<(), BrokerError> {
        for _ in 0..MAX_RACES {
            self.prepare_to_go().await;
            let Some(mut plan) = self.plan().await? else { return Ok(()) };
            if plan.changed {
                let value = serde_json::to_vec(&plan.roll).map_err(|error| BrokerError::Invalid(error.to_string()))?;
                match self.shared.board.change(&self.key(), value, plan.revision).await? {
                    Some(_) => {}
                    None => continue,
                }
            }
            self.apply(&mut plan);
            self.run_readers(&plan.roll).await?;
            for reader in &plan.obsolete {
                if let Err(error) = self.shared.api.delete_consumer(&self.shared.stream, reader).await {
                    tracing::warn!(group = self.name, reader, %error, "a consumer that nobody reads was not deleted");
                }
            }
            if plan.released.is_empty() && plan.lost.is_empty() {
                return Ok(());
            }
        }
        Err(BrokerError::Unavailable("others change the group's seats all the time".into()))
    }

    /// When nobody is here any more nothing more is read; what is under way stays with the server. Before slots are
    /// given away, it is asked up to where their readers passed over what nobody asked for.
    async fn prepare_to_go(&self) {
        let readers: BTreeSet<Arc<str>> = {
            let mut state = self.state();
            if state.members.is_empty() {
                state.readers.values_mut().for_each(|progress| progress.running = None);
                (0..roll::SLOTS).for_each(|slot| state.release(slot));
            }
            state
                .released(PATIENCE)
                .into_iter()
                .filter_map(|slot| state.slots[slot].as_ref())
                .map(|own| own.reader.clone())
                .collect()
        };
        for reader in readers {
            if let Ok(Some(info)) = self.shared.api.consumer(&self.shared.stream, &reader).await {
                let mut state = self.state();
                state.passed_over(&reader, info.delivered.consumer_seq, info.delivered.stream_seq);
            }
        }
    }

    /// Reads the roll and decides. `None` when there is nothing here and nothing there.
    async fn plan(&self) -> Result<Option<Plan>, BrokerError> {
        let shared = &self.shared;
        let me = &shared.nodes.id;
        let incarnation = shared.incarnation();
        let noted = shared.board.get(&self.key()).await?;
        let revision = noted.as_ref().map_or(0, |noted| noted.revision);
        let before = noted.filter(|noted| !noted.value.is_empty());
        let before: Option<Roll> = before.and_then(|noted| serde_json::from_slice(&noted.value).ok());
        let before = before.filter(Roll::is_whole);
        let mut roll = match &before {
            Some(roll) if roll.incarnation == incarnation => roll.clone(),
            Some(roll) => {
                tracing::warn!(group = self.name, "the stream is another one than before: the group begins anew");
                Roll { names: roll.names.clone(), members: roll.members.clone(), ..Roll::new(&self.name, &incarnation) }
            }
            None => Roll::new(&self.name, &incarnation),
        };
        let dead = self.dead(&roll).await?;
        roll.members.retain(|member| !dead.contains(member));
        let (lost, mut released) = (Vec::new(), Vec::new());
        let mut plan = Plan {
            roll,
            revision,
            changed: false,
            lost,
            released: Vec::new(),
            claims: Vec::new(),
            obsolete: BTreeSet::new(),
        };
        {
            let mut state = self.state();
            let state = &mut *state;
            if let Some(names) = &state.asked_names {
                plan.roll.names = names.clone();
            }
            let is_ours = |slot: usize, state: &State| {
                let (there, here) = (&plan.roll.slots[slot], &state.slots[slot]);
                let reader = here.as_ref().map(|own| &*own.reader);
                there.owner.as_ref() == Some(me) && there.reader.as_deref() == reader
            };
            plan.lost =
                (0..roll::SLOTS).filter(|slot| state.slots[*slot].is_some() && !is_ours(*slot, state)).collect();
            if !state.members.is_empty() {
                plan.roll.members.insert(me.clone());
                let owned: Vec<usize> = (0..roll::SLOTS).filter(|slot| is_ours(*slot, state)).collect();
                let surplus = owned.len().saturating_sub(plan.roll.share(me));
                owned.into_iter().rev().take(surplus).for_each(|slot| state.release(slot));
            }
            released.extend(state.released(PATIENCE).into_iter().filter(|slot| !plan.lost.contains(slot)));
            for slot in &released {
                plan.roll.slots[*slot].owner = None;
                plan.roll.slots[*slot].place = state.place(*slot);
            }
            self.plan_replacements(&mut plan, state);
        }
        plan.released = released;
        if self.state().members.is_empty() {
            if plan.roll.owned(me).is_empty() {
                plan.roll.members.remove(me);
            }
        } else {
            self.plan_claims(&mut plan, before.as_ref()).await?;
        }
        plan.changed = before.as_ref() != Some(&plan.roll);
        if before.is_none() && self.state().members.is_empty() {
            return Ok(None);
        }
        plan.obsolete = before.map(|before| before.readers()).unwrap_or_default();
        let readers = plan.roll.readers();
        plan.obsolete.retain(|reader| !readers.contains(reader));
        Ok(Some(plan))
    }

    async fn dead(&self, roll: &Roll) -> Result<BTreeSet<String>, BrokerError> {
        let mut dead = BTreeSet::new();
        for member in &roll.members {
            if self.shared.nodes.is_dead(member).await? {
                tracing::warn!(group = self.name, node = member, "a member is gone; its share goes to the others");
                self.shared.nodes.bury(member).await;
                dead.insert(member.clone());
            }
        }
        Ok(dead)
    }

    /// Readers whose row broke: the same slots through a new consumer, from the first event that is open.
    fn plan_replacements(&self, plan: &mut Plan, state: &State) {
        for broken in &state.broken {
            let is_of = |slot: &usize| state.slots[*slot].as_ref().is_some_and(|own| own.reader == *broken);
            let slots: Vec<usize> = plan.roll.read_by(broken).into_iter().filter(is_of).collect();
            let slots: Vec<usize> = slots.into_iter().filter(|slot| plan.roll.slots[*slot].owner.is_some()).collect();
            if slots.is_empty() {
                continue;
            }
            let reader = self.new_reader();
            let slots: Vec<(usize, Place)> = slots.into_iter().map(|slot| (slot, state.place(slot))).collect();
            for (slot, place) in &slots {
                plan.roll.slots[*slot].reader = Some(reader.to_string());
                plan.roll.slots[*slot].place = place.clone();
            }
            plan.claims.push(Claim { reader, slots, is_replacement: true });
        }
    }

    /// Slots that nobody has, up to our share: from where the last reader left them.
    async fn plan_claims(&self, plan: &mut Plan, before: Option<&Roll>) -> Result<(), BrokerError> {
        let me = &self.shared.nodes.id;
        let held: BTreeSet<usize> = {
            let state = self.state();
            (0..roll::SLOTS).filter(|slot| state.slots[*slot].is_some() && !plan.lost.contains(slot)).collect()
        };
        let owned = plan.roll.owned(me);
        // Ours by the roll, but not here: a claim of which only the writing succeeded.
        let stray: Vec<usize> = owned.iter().copied().filter(|slot| !held.contains(slot)).collect();
        let room = plan.roll.share(me).saturating_sub(owned.len());
        let vacant = plan.roll.vacant().into_iter().filter(|slot| !held.contains(slot));
        let claimed: Vec<usize> = stray.into_iter().chain(vacant.take(room)).collect();
        if claimed.is_empty() {
            return Ok(());
        }
        let reader = self.new_reader();
        let mut slots = Vec::with_capacity(claimed.len());
        let mut known = std::collections::BTreeMap::new();
        let last = self.last().await?;
        for slot in claimed {
            let there = &plan.roll.slots[slot];
            let mut place = there.place.clone();
            if let (Some(_), Some(last)) = (&there.owner, &there.reader) {
                if !known.contains_key(last) {
                    known.insert(last.clone(), self.standing(last).await?);
                }
                let (floor, delivered) = known.get(last).copied().unwrap_or_default();
                place = place.taken_over(floor, delivered);
            }
            slots.push((slot, place.within(last)));
        }
        for (slot, place) in &slots {
            let there = &mut plan.roll.slots[*slot];
            (there.owner, there.reader, there.place) = (Some(me.clone()), Some(reader.to_string()), place.clone());
        }
        if before.is_some() {
            tracing::info!(group = self.name, slots = slots.len(), "taking a share of the group");
        }
        plan.claims.push(Claim { reader, slots, is_replacement: false });
        Ok(())
    }

    /// Of a reader that its owner did not give away: below what everything is acknowledged, and up to where it may
    /// have handed out.
    async fn standing(&self, reader: &str) -> Result<(u64, u64), BrokerError> {
        let shared = &self.shared;
        Ok(match shared.api.consumer(&shared.stream, reader).await? {
            Some(info) if info.num_ack_pending == 0 => (info.delivered.stream_seq + 1, info.delivered.stream_seq),
            Some(info) => (info.ack_floor.stream_seq + 1, info.delivered.stream_seq),
            // Never made, or deleted: the place at the beginning is all that is known, and anything may have run.
            None => (0, self.last().await?),
        })
    }

    /// Where the stream ends.
    async fn last(&self) -> Result<u64, BrokerError> {
        let info = self.shared.api.stream(&self.shared.stream, None).await?;
        Ok(info.ok_or_else(|| BrokerError::Unavailable("there is no stream".into()))?.state.last_seq)
    }

    fn new_reader(&self) -> Arc<str> {
        format!("{}-{:016x}", subject::label(&self.name), self.shared.clock.random()).into()
    }

    /// The roll is written: now it is so here.
    fn apply(&self, plan: &mut Plan) {
        let mut state = self.state();
        let state = &mut *state;
        for slot in plan.lost.iter().chain(&plan.released) {
            state.forget(*slot);
        }
        for claim in std::mem::take(&mut plan.claims) {
            let start = claim.start();
            if claim.is_replacement {
                let slots: Vec<usize> = claim.slots.iter().map(|(slot, _)| *slot).collect();
                state.replace(&claim.reader, &slots, start);
            } else {
                state.install(&claim.reader, claim.slots, start);
            }
        }
        state.broken.clear();
        if state.asked_names.as_ref() == Some(&plan.roll.names) {
            state.asked_names = None;
        }
        state.set_names(&plan.roll.names);
        state.set_limits();
        let slots = &state.slots;
        state.readers.retain(|reader, _| slots.iter().flatten().any(|own| own.reader == *reader));
    }

    /// Makes the consumers there should be, tells them what to read, and reads them.
    async fn run_readers(self: &Arc<Self>, roll: &Roll) -> Result<(), BrokerError> {
        let readers: Vec<(Arc<str>, u64, Vec<String>, bool)> = {
            let state = self.state();
            let all = state.readers.iter();
            all.map(|(name, it)| (name.clone(), it.start, it.filters.clone(), it.running.is_some())).collect()
        };
        for (name, start, filters, is_running) in readers {
            let wanted = self.filters(roll, &name);
            if wanted.is_empty() || self.state().members.is_empty() {
                continue;
            }
            if filters != wanted {
                let config = self.consumer(&name, start, &wanted);
                self.shared.api.put_consumer(&self.shared.stream, &config).await?;
            }
            let mut state = self.state();
            let Some(progress) = state.readers.get_mut(&name) else { continue };
            progress.filters = wanted;
            if !is_running {
                let (stop, stopped) = watch::channel(false);
                progress.running = Some(stop);
                tokio::spawn(Reader { group: self.clone(), name, stop: stopped }.run());
            }
        }
        Ok(())
    }

    fn filters(&self, roll: &Roll, reader: &str) -> Vec<String> {
        let buckets = roll::buckets(roll.read_by(reader));
        subject::filters(&self.shared.options.domain, &buckets, &roll.names).0
    }

    fn consumer(&self, name: &str, start: u64, filters: &[String]) -> serde_json::Value {
        let max_ack_pending = MAX_ACK_PENDING + 2 * self.state().widest();
        json!({
            "name": name,
            "durable_name": name,
            "description": format!("The group {}", self.name),
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": start,
            "ack_policy": "explicit",
            "ack_wait": ACK_WAIT.as_nanos() as u64,
            "max_deliver": -1,
            "filter_subjects": filters,
            "replay_policy": "instant",
            "max_ack_pending": max_ack_pending,
            "max_waiting": MAX_WAITING,
            "max_batch": MAX_BATCH,
            "num_replicas": 0,
            "metadata": { "tw_group": self.name },
        })
    }

    /// The group's key on the board.
    pub(super) fn key(&self) -> String {
        key(&self.name)
    }
}

/// The key on the board of the group called `name`.
pub(super) fn key(name: &str) -> String {
    format!("{KEYS}{}", subject::label(name))
}

/// What the keys of groups begin with.
pub(super) const KEYS: &str = "group.";
