//! What is taken of what a reader brings, and where slots stand.

use std::sync::Arc;
use std::time::Duration;

use tidewire_core::broker::Subscribe;
use tokio::time::Instant;

use super::super::arrival::Arrival;
use super::super::roll::{Place, SLOTS};
use super::{State, Wish};
use crate::conformance::event;

/// A state with all slots, read by `reader` from the beginning.
fn reading(reader: &Arc<str>, place: &Place) -> State {
    let mut state = State::new();
    let request =
        Subscribe { group: "g".into(), names: Vec::new(), max_in_flight: 64, ack_wait: Duration::from_secs(30) };
    state.join(&request);
    state.install(reader, (0..SLOTS).map(|slot| (slot, place.clone())).collect(), place.start());
    state
}

/// The `delivery`-th delivery: what lies at `seq`, stored at that time unless otherwise said.
fn arrival(delivery: u64, seq: u64, stored: i64) -> Arrival {
    let envelope = event("k", &format!("k-{seq}@{stored}"));
    let slot = crate::jetstream::roll::slot_of(envelope.key.bucket());
    let ack = format!("ack.{delivery}").into();
    Arrival { seq, delivery, handouts: 1, slot, ack, stored, envelope: Ok(envelope), size: 100 }
}

fn handed_out(state: &mut State) -> Vec<(String, u32)> {
    let out = state.next(1, 100, usize::MAX);
    out.iter().map(|handout| (handout.envelope.id.clone(), handout.attempt)).collect()
}

fn answered(state: &mut State) -> Vec<String> {
    std::mem::take(&mut state.answers).into_iter().map(|answer| answer.subject.to_string()).collect()
}

#[test]
fn a_row_with_a_gap_is_taken_up_to_it() {
    let reader: Arc<str> = "r".into();
    let mut state = reading(&reader, &Place::default());
    assert!(state.arrive(&reader, vec![arrival(1, 1, 1), arrival(2, 4, 4), arrival(4, 6, 6)]).is_err());
    assert_eq!(handed_out(&mut state), [("k-1@1".into(), 1), ("k-4@4".into(), 1)]);
}

#[test]
fn what_is_here_is_not_taken_twice_and_what_is_done_is_answered_again() {
    let reader: Arc<str> = "r".into();
    let mut state = reading(&reader, &Place::default());
    assert!(state.arrive(&reader, vec![arrival(1, 1, 1), arrival(2, 2, 2)]).is_ok());
    let token = state.next(1, 1, 1)[0].token;
    let spot = state.hand.ack(token).unwrap();
    state.open.remove(&spot.seq);
    assert!(state.arrive(&reader, vec![arrival(3, 1, 1), arrival(4, 2, 2)]).is_ok());
    assert_eq!(answered(&mut state), ["ack.3"]);
    assert_eq!(state.open[&2].ack.as_str(), "ack.4", "answered where it came last");
    assert_eq!(handed_out(&mut state), [("k-2@2".into(), 1)]);
}

#[test]
fn a_slot_given_away_and_taken_again_stands_where_it_stood() {
    let reader: Arc<str> = "r".into();
    let mut state = reading(&reader, &Place::default());
    let slot = arrival(1, 1, 1).slot;
    let all = (1..=4).map(|n| arrival(n, n * 10, n as i64)).collect();
    assert!(state.arrive(&reader, all).is_ok());
    let tokens: Vec<u64> = state.next(1, 3, usize::MAX).iter().map(|handout| handout.token).collect();
    let spot = state.hand.ack(tokens[1]).unwrap();
    state.open.remove(&spot.seq);
    state.release(slot);
    assert_eq!(state.released(Duration::MAX).len(), 0, "a member has some of it");
    // Comes too late for us.
    assert!(state.arrive(&reader, vec![arrival(5, 50, 5)]).is_ok());
    state.hand.retry(tokens[0], Duration::ZERO, Instant::now());
    state.hand.retry(tokens[2], Duration::ZERO, Instant::now());
    state.keep_back();
    assert_eq!(handed_out(&mut state), []);
    assert_eq!(state.released(Duration::MAX), [slot]);
    let place = state.place(slot);
    assert_eq!((place.next, &place.open[..]), (41, &[(10, 1), (30, 1), (40, 0)][..]));

    let next: Arc<str> = "next".into();
    let mut state = reading(&next, &place);
    let all = (1..=5).map(|n| arrival(n, n * 10, n as i64)).collect();
    assert!(state.arrive(&next, all).is_ok());
    assert_eq!(answered(&mut state), ["ack.2"], "what was done is");
    let expected = [("k-10@1", 2), ("k-30@3", 2), ("k-40@4", 1), ("k-50@5", 1)];
    assert_eq!(handed_out(&mut state), expected.map(|(id, attempt)| (id.to_owned(), attempt)));
}

#[test]
fn what_was_stored_in_place_of_lost_events_is_new() {
    let reader: Arc<str> = "r".into();
    let mut state = reading(&reader, &Place::default());
    assert!(state.arrive(&reader, (1..=5).map(|n| arrival(n, n, n as i64)).collect()).is_ok());
    assert_eq!(handed_out(&mut state).len(), 5);
    // 4 and 5 were lost; others lie there now.
    assert!(state.arrive(&reader, vec![arrival(6, 3, 3), arrival(7, 4, 9), arrival(8, 5, 10)]).is_ok());
    state.leave(1);
    state.members.insert(1, Wish { max_in_flight: 64, ack_wait: Duration::from_secs(30) });
    let ids: Vec<String> = handed_out(&mut state).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["k-1@1", "k-2@2", "k-3@3", "k-4@9", "k-5@10"]);
    // The same for a slot that was taken over.
    let slot = arrival(1, 1, 1).slot;
    let place = Place { open: Vec::new(), ..state.place(slot) };
    let mut state = reading(&reader, &place);
    assert!(state.arrive(&reader, vec![arrival(1, 4, 9), arrival(2, 5, 77)]).is_ok());
    assert_eq!(handed_out(&mut state), [("k-5@77".into(), 1)]);
}
