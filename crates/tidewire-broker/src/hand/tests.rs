//! Tables: what happens in what order, and what is out at the end.

use std::sync::Arc;
use std::time::Duration;

use tidewire_core::{Envelope, EventType, Key};
use tokio::time::Instant;

use super::{Counts, Hand, MAX_HELD};

const WAIT: Duration = Duration::from_secs(30);
const DELAY: Duration = Duration::from_secs(5);

/// `a-0` is the first event of key `a`.
fn event(id: &str) -> Arc<Envelope> {
    let key = id.split('-').next().unwrap();
    Arc::new(Envelope {
        id: id.into(),
        source: "/hand".into(),
        ty: EventType::new("hand.happened", 1),
        subject: None,
        time: Default::default(),
        key: Key::of("key", key),
        datacontenttype: None,
        dataschema: None,
        data: None,
        sequence: None,
        correlationid: None,
        causationid: None,
        traceparent: None,
        recordedtime: None,
        expirytime: None,
        dataref: None,
        extensions: Default::default(),
    })
}

/// A hand, what is out of it, and the time.
struct Table {
    hand: Hand<u32>,
    out: Vec<(String, u64)>,
    now: Instant,
}

impl Table {
    fn new(max_in_flight: usize, ids: &[&str]) -> Self {
        let mut table = Self { hand: Hand::new(max_in_flight, WAIT), out: Vec::new(), now: Instant::now() };
        table.take(ids);
        table
    }

    /// Places are 0, 1, 2 … by what follows the dash.
    fn take(&mut self, ids: &[&str]) {
        for id in ids {
            let place = id.split('-').nth(1).unwrap().parse().unwrap();
            self.hand.take(place, event(id), 1, 100);
        }
    }

    /// What a member is handed: ids with their attempts.
    fn next(&mut self, member: u64, events: usize) -> Vec<String> {
        let handouts = self.hand.next(member, events, usize::MAX, self.now);
        self.out.extend(handouts.iter().map(|handout| (handout.envelope.id.clone(), handout.token)));
        handouts.iter().map(|handout| format!("{}x{}", handout.envelope.id, handout.attempt)).collect()
    }

    fn token(&mut self, id: &str) -> u64 {
        let index = self.out.iter().rposition(|(out, _)| out == id).expect("it is out");
        self.out.remove(index).1
    }

    fn ack(&mut self, id: &str) -> Option<u32> {
        let token = self.token(id);
        self.hand.ack(token)
    }

    fn retry(&mut self, id: &str, after: Duration) {
        let token = self.token(id);
        assert!(self.hand.retry(token, after, self.now));
    }

    fn counts(&self) -> (usize, usize, usize) {
        let Counts { entries, in_hand, retrying } = self.hand.counts();
        (entries, in_hand, retrying)
    }
}

#[test]
fn oldest_first_whatever_the_key() {
    let mut table = Table::new(10, &["a-0", "b-0", "a-1"]);
    assert_eq!(table.next(1, 2), ["a-0x1", "b-0x1"]);
    assert_eq!(table.next(1, 9), ["a-1x1"]);
    assert_eq!(table.ack("b-0"), Some(0));
    assert_eq!(table.counts(), (2, 2, 0));
}

#[test]
fn bytes_are_a_limit_beyond_the_first() {
    let mut table = Table::new(10, &["a-0", "a-1", "a-2"]);
    assert_eq!(table.hand.next(1, 9, 1, table.now).len(), 1);
    assert_eq!(table.hand.next(1, 9, 200, table.now).len(), 2);
}

#[test]
fn a_key_is_with_one_member() {
    let mut table = Table::new(10, &["a-0", "a-1", "b-0"]);
    assert_eq!(table.next(1, 1), ["a-0x1"]);
    assert_eq!(table.next(2, 9), ["b-0x1"]);
    assert_eq!(table.next(1, 9), ["a-1x1"]);
    table.take(&["a-2"]);
    table.ack("a-0");
    table.ack("a-1");
    assert_eq!(table.next(2, 9), ["a-2x1"]);
}

#[test]
fn in_flight_is_bounded_and_room_follows() {
    let mut table = Table::new(2, &["a-0", "b-0", "c-0"]);
    assert_eq!(table.hand.room(), 1);
    assert_eq!(table.next(1, 9), ["a-0x1", "b-0x1"]);
    assert_eq!(table.next(2, 9), [""; 0]);
    assert!(!table.hand.has_offers());
    table.ack("a-0");
    assert_eq!(table.hand.room(), 2);
    assert_eq!(table.next(2, 9), ["c-0x1"]);
}

#[test]
fn a_retry_holds_back_its_key_and_nothing_else() {
    let mut table = Table::new(10, &["a-0", "a-1"]);
    assert_eq!(table.next(1, 1), ["a-0x1"]);
    table.retry("a-0", DELAY);
    table.take(&["b-0"]);
    assert_eq!(table.next(1, 9), ["b-0x1"]);
    assert_eq!(table.counts(), (3, 1, 1));
    let due = table.now + DELAY;
    assert_eq!(table.hand.wake_at(), Some(due));
    table.now = due;
    assert_eq!(table.next(1, 9), ["a-0x2", "a-1x1"]);
    assert_eq!(table.counts(), (3, 3, 0));
}

#[test]
fn followers_come_again_in_order_whatever_the_order_they_came_back_in() {
    for order in [["a-0", "a-1", "a-2"], ["a-2", "a-1", "a-0"], ["a-1", "a-2", "a-0"]] {
        let mut table = Table::new(10, &["a-0", "a-1", "a-2", "a-3"]);
        table.next(1, 3);
        for id in order {
            // Nothing of the key goes out before all came back.
            table.retry(id, if id == "a-0" { DELAY } else { Duration::ZERO });
            assert_eq!(table.next(1, 9), [""; 0], "{order:?}");
        }
        table.now += DELAY;
        assert_eq!(table.next(2, 9), ["a-0x2", "a-1x2", "a-2x2", "a-3x1"], "{order:?}");
    }
}

#[test]
fn a_follower_that_waits_longer_than_its_front_is_waited_for() {
    let mut table = Table::new(10, &["a-0", "a-1", "a-2"]);
    table.next(1, 3);
    table.retry("a-0", Duration::ZERO);
    table.retry("a-1", DELAY);
    table.retry("a-2", Duration::ZERO);
    assert_eq!(table.next(1, 9), ["a-0x2"]);
    table.ack("a-0");
    assert_eq!(table.next(1, 9), [""; 0]);
    table.now += DELAY;
    assert_eq!(table.next(1, 9), ["a-1x2", "a-2x2"]);
}

#[test]
fn followers_acknowledged_do_not_come_again() {
    let mut table = Table::new(10, &["a-0", "a-1", "a-2", "a-3"]);
    table.next(1, 3);
    table.retry("a-0", DELAY);
    assert_eq!((table.ack("a-1"), table.ack("a-2")), (Some(1), Some(2)));
    table.now += DELAY;
    assert_eq!(table.next(1, 9), ["a-0x2", "a-3x1"]);
}

#[test]
fn silence_is_taken_for_loss_and_progress_is_not_silence() {
    let mut table = Table::new(10, &["a-0", "b-0"]);
    table.next(1, 9);
    table.now += WAIT / 2;
    let token = table.token("a-0");
    assert!(table.hand.progress(token, table.now));
    table.now += WAIT / 2;
    assert_eq!(table.next(2, 9), ["b-0x2"]);
    table.now += WAIT / 2;
    assert_eq!(table.next(2, 9), ["a-0x2"]);
    // Too late: it falls flat.
    assert_eq!((table.hand.ack(token), table.hand.place(token)), (None, None));
    assert!(!table.hand.progress(token, table.now) && !table.hand.retry(token, DELAY, table.now));
    assert_eq!(table.ack("a-0"), Some(0));
}

#[test]
fn a_member_that_leaves_hands_everything_back() {
    let mut table = Table::new(10, &["a-0", "a-1", "b-0", "a-2"]);
    table.next(1, 2);
    table.next(2, 1);
    table.ack("a-0");
    table.hand.leave(1, table.now);
    assert_eq!(table.next(2, 9), ["a-1x2", "a-2x1"]);
    assert_eq!(table.counts(), (3, 3, 0));
}

#[test]
fn what_was_revoked_is_forgotten_in_hand_or_not() {
    let mut table = Table::new(10, &["a-0", "b-1", "a-2", "b-3", "c-2"]);
    table.next(1, 3);
    let lost = table.token("a-0");
    assert_eq!(table.hand.in_hand(|place| place % 2 == 0), 2);
    assert_eq!(table.hand.revoke(|place| place % 2 == 0), 3);
    assert_eq!(table.hand.ack(lost), None);
    assert_eq!(table.counts(), (2, 1, 0));
    // Given back by the server later: another handing out under another name.
    table.hand.take(0, event("a-0"), 2, 100);
    assert_eq!(table.hand.ack(lost), None);
    assert_eq!(table.next(1, 9), ["b-3x1", "a-0x2"]);
}

#[test]
fn what_may_have_begun_is_known() {
    let mut table = Table::new(10, &["a-0", "b-1", "c-2", "d-3"]);
    table.hand.take(9, event("e-9"), 2, 100);
    table.next(1, 3);
    table.ack("a-0");
    table.retry("b-1", DELAY);
    let mut handed = Vec::new();
    table.hand.each_handed(|place| handed.push(*place));
    assert_eq!(handed, [1, 2, 9]);
}

#[test]
fn what_nobody_wants_any_more_is_discarded_unless_it_is_out() {
    let mut table = Table::new(10, &["a-0", "b-0", "b-1", "a-1"]);
    table.next(1, 2);
    assert_eq!(table.hand.discard(|_, envelope| envelope.key == Key::of("key", "b")), [1]);
    assert_eq!(table.ack("b-0"), Some(0));
    assert_eq!(table.next(1, 9), ["a-1x1"]);
}

#[test]
fn what_stands_still_takes_no_room_until_there_is_too_much_of_it() {
    let mut table = Table::new(4, &["a-0"]);
    table.next(1, 1);
    table.retry("a-0", DELAY);
    for n in 1..MAX_HELD {
        assert_eq!(table.hand.room(), 8, "{n}");
        table.hand.take(n as u32, event(&format!("a-{n}")), 1, 1);
    }
    assert_eq!(table.hand.room(), 0);
    table.now += DELAY;
    table.next(1, 4);
    for n in 0..4 {
        assert!(table.ack(&format!("a-{n}")).is_some());
    }
    // They move again, and are as good as any; there are still more of them than hands.
    assert_eq!(table.hand.room(), 0);
}

/// Anything in any order: at the end all is acknowledged once, and no key was out of order or in two hands.
#[test]
fn random_histories_end_well() {
    for seed in 0..200_u64 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1;
        let mut draw = move |n: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % n
        };
        let mut table = Table::new(5, &[]);
        let keys = ["a", "b", "c"];
        let mut sent = [0_u32; 3];
        let mut done: [Vec<u32>; 3] = Default::default();
        let mut out: Vec<(u64, u64, String)> = Vec::new();
        for step in 0..2_000 {
            let draining = step > 1_000;
            match draw(8) {
                0 | 1 if !draining && table.hand.room() > 0 => {
                    let key = draw(3) as usize;
                    table.take(&[&format!("{}-{}", keys[key], sent[key])]);
                    sent[key] += 1;
                }
                2 | 3 => {
                    let member = draw(2);
                    for handout in table.hand.next(member, 3, usize::MAX, table.now) {
                        let id = handout.envelope.id.clone();
                        let key = id[..1].to_owned();
                        assert!(out.iter().all(|(holder, _, other)| *holder == member || other[..1] != key), "{seed}");
                        out.push((member, handout.token, id));
                    }
                }
                4 if draw(10) == 0 => {
                    let member = draw(2);
                    table.hand.leave(member, table.now);
                    out.retain(|(holder, ..)| *holder != member);
                }
                5 if !draining => table.now += Duration::from_secs(1),
                6 if !out.is_empty() && !draining => {
                    // A failure hands back its key, as consumers do.
                    let key = out[draw(out.len() as u64) as usize].2[..1].to_owned();
                    out.retain(|(_, token, id)| {
                        let of_key = id[..1] == key;
                        if of_key {
                            table.hand.retry(*token, Duration::from_secs(token % 3), table.now);
                        }
                        !of_key
                    });
                }
                _ if !out.is_empty() => {
                    let (_, token, id) = out.remove(0);
                    if table.hand.ack(token).is_some() {
                        let key = keys.iter().position(|key| id.starts_with(key)).unwrap();
                        done[key].push(id[2..].parse().unwrap());
                    }
                }
                _ => table.now += Duration::from_millis(700),
            }
        }
        table.now += Duration::from_secs(60);
        let left = table.hand.counts().entries;
        let finished: usize = done.iter().map(Vec::len).sum();
        assert_eq!(finished + left, sent.iter().sum::<u32>() as usize, "{seed}");
        for done in &mut done {
            let mut sorted = done.clone();
            sorted.dedup();
            assert_eq!(sorted.len(), done.len(), "{seed}: twice");
        }
        assert!(left < 30, "{seed}: {left} were left behind");
    }
}
