//! The rules of delivery under thousands of random histories, crashes included.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::*;
use crate::conformance::event;
use crate::embedded::tail::TailEntry;

const KEYS: u64 = 5;
const WINDOW: usize = 6;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }
}

/// A group, the log it reads, and what must hold of it.
struct World {
    scheduler: Scheduler,
    tail: Tail,
    now: Instant,
    /// What the file says; what a commit under way will make it say.
    durable: Place,
    flight: Option<Place>,
    members: Vec<u64>,
    /// token -> (member, seq)
    held: BTreeMap<u64, (u64, u64)>,
    done: BTreeSet<u64>,
    runs: HashMap<u64, u32>,
}

fn key(seq: u64) -> Key {
    // Some keys are much busier than others.
    Key::of("key", [0, 0, 0, 1, 1, 2, 3, 4][(seq.wrapping_mul(0x9E37_79B9) >> 7) as usize % 8] % KEYS)
}

fn entry(seq: u64) -> TailEntry {
    let mut envelope = event("k", &format!("e-{seq}"));
    envelope.key = key(seq);
    TailEntry { name: 1, envelope: Arc::new(envelope), bytes: 100 }
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let place = Place::default();
        Self {
            scheduler: Scheduler::new(WINDOW, Filter::All, place.clone(), 0, (now, DateTime::UNIX_EPOCH)),
            // So small that most is read from the file.
            tail: Tail::new(0, 800),
            now,
            durable: place,
            flight: None,
            members: Vec::new(),
            held: BTreeMap::new(),
            done: BTreeSet::new(),
            runs: HashMap::new(),
        }
    }

    fn publish(&mut self) {
        self.scheduler.appended(1, 1);
        let seq = self.tail.head() + 1;
        self.tail.push(entry(seq));
    }

    fn next(&mut self, member: u64, events: usize) {
        self.scheduler.pump(&self.tail, self.now);
        for handout in self.scheduler.take(member, events, usize::MAX, self.now) {
            self.check_handout(member, &handout);
            self.held.insert(handout.token, (member, handout.token >> 16));
        }
        self.scheduler.demote(member);
        if let Some(fetch) = self.scheduler.fetch(&self.tail) {
            let (upto, seqs): (u64, Vec<u64>) = match &fetch {
                Fetch::These(these) => (u64::MAX, these.clone()),
                Fetch::After { cursor, limit, .. } => {
                    let seqs: Vec<u64> = (cursor + 1..=self.tail.head()).take(*limit).collect();
                    (seqs.last().copied().unwrap_or(*cursor), seqs)
                }
            };
            let read = |seq| Read { seq, name: 1, bytes: 100, envelope: Ok(entry(seq).envelope) };
            let damaged = self.scheduler.read(fetch, upto, seqs.into_iter().map(read).collect());
            assert_eq!(damaged, []);
        }
    }

    /// Order per key, one member per key, and a count that never says less than the truth.
    fn check_handout(&mut self, member: u64, handout: &Handout) {
        let seq = handout.token >> 16;
        let same = |other: &u64| key(*other) == key(seq);
        assert!(!self.done.contains(&seq), "{seq} was acknowledged");
        for (holder, held) in self.held.values().filter(|(_, held)| same(held)) {
            assert_eq!(*holder, member, "{seq} and {held} are of one key");
            assert!(*held < seq, "{seq} after {held}");
        }
        let held: BTreeSet<u64> = self.held.values().map(|(_, held)| *held).collect();
        let skipped = (1..seq).filter(same).find(|other| !self.done.contains(other) && !held.contains(other));
        assert_eq!(skipped, None, "{seq} overtook");
        let runs = self.runs.entry(seq).or_default();
        *runs += 1;
        assert!(handout.attempt >= *runs, "attempt {} of {seq} is its run {runs}", handout.attempt);
    }

    fn snapshot(&mut self) {
        if self.flight.is_none() {
            let snapshot = self.scheduler.snapshot(false, (self.now, DateTime::UNIX_EPOCH));
            self.flight = Place::decode(snapshot.cursor, &snapshot.open);
            assert!(self.flight.is_some());
        }
    }

    fn settle(&mut self, durable: bool) {
        if let Some(place) = self.flight.take() {
            if durable {
                self.durable = place;
            }
            self.scheduler.persisted(durable);
        }
    }

    /// What was in hand at a crash must be in doubt after it.
    fn check_doubt(&self, place: &Place) -> BTreeSet<u64> {
        let open = place.open.iter().filter(|(_, saved)| !saved.waiting).map(|(seq, _)| *seq);
        let doubtful: BTreeSet<u64> = open.chain(place.cursor + 1..=self.tail.head()).take(WINDOW).collect();
        for (_, seq) in self.held.values() {
            assert!(doubtful.contains(seq), "{seq} is running; in doubt are {doubtful:?} of {place:?}");
        }
        doubtful
    }

    fn crash(&mut self) {
        if let Some(flight) = self.flight.take() {
            self.durable = flight;
        }
        let doubtful = self.check_doubt(&self.durable.clone());
        let mut open: BTreeMap<u64, Saved> = self.durable.open.iter().copied().collect();
        doubtful.iter().for_each(|seq| open.entry(*seq).or_default().attempts += 1);
        let cursor = doubtful.last().copied().unwrap_or(0).max(self.durable.cursor);
        // What was acknowledged and not yet durable comes again.
        self.done.retain(|seq| *seq <= cursor && !open.contains_key(seq));
        self.held.clear();
        self.members.clear();
        let place = Place { cursor, open: open.into_iter().collect() };
        self.durable = place.clone();
        let beyond = self.tail.head() - cursor;
        self.scheduler = Scheduler::new(WINDOW, Filter::All, place, beyond, (self.now, DateTime::UNIX_EPOCH));
        self.tail = Tail::new(self.tail.head(), 800);
    }

    /// Deliveries that came back by themselves are no longer held.
    fn drop_returned(&mut self) {
        let scheduler = &self.scheduler;
        self.held.retain(|token, (_, seq)| {
            let slot = scheduler.slots.get(seq);
            slot.is_some_and(|slot| {
                matches!(slot.state, State::InHand { .. }) && super::token(*seq, slot.attempts) == *token
            })
        });
    }

    fn step(&mut self, dice: &mut Dice) {
        match dice.roll(100) {
            0..20 => self.publish(),
            20..25 if self.members.len() < 3 => self.members.push(self.scheduler.join(WINDOW, Duration::from_secs(30))),
            25..50 if !self.members.is_empty() => {
                let member = self.members[dice.roll(self.members.len() as u64) as usize];
                self.next(member, 1 + dice.roll(4) as usize);
            }
            50..78 if !self.held.is_empty() => {
                let (&token, &(_, seq)) = self.held.iter().nth(dice.roll(self.held.len() as u64) as usize).unwrap();
                self.held.remove(&token);
                match dice.roll(4) {
                    0 => self.scheduler.retry(token, Duration::ZERO, self.now),
                    1 => self.scheduler.retry(token, Duration::from_secs(dice.roll(20)), self.now),
                    _ => {
                        self.scheduler.ack(token);
                        self.done.insert(seq);
                    }
                }
            }
            78..86 => self.snapshot(),
            86..94 => self.settle(dice.roll(8) > 0),
            94..96 => self.now += Duration::from_secs(dice.roll(15)),
            96 if !self.members.is_empty() => {
                let member = self.members.remove(dice.roll(self.members.len() as u64) as usize);
                self.scheduler.leave(member, self.now);
            }
            97 if dice.roll(3) == 0 => self.crash(),
            _ => {}
        }
        self.scheduler.expire(self.now);
        self.drop_returned();
        self.check();
    }

    fn check(&self) {
        assert!(self.scheduler.open <= WINDOW, "{} are open", self.scheduler.open);
        assert_eq!(self.scheduler.deadlines.len(), self.held.len());
        let waiting = self.scheduler.slots.values().filter(|slot| matches!(slot.state, State::Waiting(_))).count();
        assert_eq!(self.scheduler.waiting, waiting);
        assert_eq!(self.scheduler.lag().0, self.tail.head() - self.done.len() as u64);
        self.check_doubt(&self.durable);
        if let Some(flight) = &self.flight {
            self.check_doubt(flight);
        }
    }

    /// Once everything is acknowledged at once, everything comes, whatever happened before.
    fn drain(&mut self) {
        let member = self.scheduler.join(WINDOW, Duration::from_secs(30));
        let mut idle = 0;
        while self.done.len() < self.tail.head() as usize {
            let before = self.done.len();
            self.next(member, 4);
            for (token, (_, seq)) in std::mem::take(&mut self.held) {
                self.scheduler.ack(token);
                self.done.insert(seq);
            }
            self.settle(true);
            self.snapshot();
            self.now += Duration::from_secs(1);
            self.scheduler.expire(self.now);
            idle = if self.done.len() > before { 0 } else { idle + 1 };
            assert!(idle < 200, "stuck at {} of {}", before, self.tail.head());
        }
        self.settle(true);
        self.snapshot();
        self.settle(true);
        assert_eq!(self.durable, Place { cursor: self.tail.head(), open: Vec::new() });
        assert_eq!((self.scheduler.open, self.scheduler.waiting, self.scheduler.ready_bytes), (0, 0, 0));
        assert!(self.scheduler.lines.is_empty() && self.scheduler.urgency() == Urgency::None);
    }
}

#[test]
fn random_histories_keep_every_promise() {
    for seed in 0..60 {
        let outcome = std::panic::catch_unwind(|| {
            let (mut world, mut dice) = (World::new(), Dice(seed));
            for _ in 0..800 {
                world.step(&mut dice);
            }
            world.drain();
        });
        assert!(outcome.is_ok(), "seed {seed}");
    }
}

#[test]
fn late_answers_fall_flat() {
    let mut world = World::new();
    let (first, second) =
        (world.scheduler.join(WINDOW, Duration::from_secs(1)), world.scheduler.join(WINDOW, Duration::from_secs(9)));
    world.publish();
    world.scheduler.pump(&world.tail, world.now);
    let old = world.scheduler.take(first, 1, 0, world.now).remove(0).token;
    world.now += Duration::from_secs(2);
    world.scheduler.pump(&world.tail, world.now);
    assert!(world.scheduler.take(second, 1, 0, world.now).is_empty(), "the attempt is not counted durably yet");
    world.snapshot();
    world.settle(true);
    world.scheduler.pump(&world.tail, world.now);
    let new = world.scheduler.take(second, 1, 0, world.now).remove(0);
    assert_eq!(new.attempt, 2);
    world.scheduler.ack(old);
    world.scheduler.retry(old, Duration::ZERO, world.now);
    world.scheduler.progress(old, world.now);
    world.scheduler.ack(u64::MAX);
    assert_eq!(world.scheduler.lag(), (1, 1, 0));
    world.scheduler.ack(new.token);
    assert_eq!(world.scheduler.lag(), (0, 0, 0));
}
