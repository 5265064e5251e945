//! Several processes in one group: brokers of their own on one domain.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tidewire_core::broker::Subscribe;
use tidewire_core::{Broker, Delivery};
use tokio::time::Instant;

use super::{fresh, open};
use crate::conformance::{PATIENCE, consume, event, group, ids, join, publish, receive, until_lag, within};
use crate::kafka::KafkaOptions;
use crate::kafka::desk;
use crate::kafka::track::Mark;

const KEYS: usize = 40;
const EVENTS: usize = 6_000;

/// Takes a seat with a broker of its own until told to stop, and tells what it acknowledged.
async fn member(
    options: KafkaOptions,
    stop: Arc<AtomicBool>,
    seen: tokio::sync::mpsc::UnboundedSender<String>,
) -> Result<(), tidewire_core::BrokerError> {
    let broker = open(&options).await;
    let mut seat = join(&*broker, Subscribe { max_in_flight: 256, ..group("all") }).await;
    while !stop.load(Ordering::Relaxed) {
        let Ok(deliveries) = tokio::time::timeout(Duration::from_millis(100), seat.next(32, usize::MAX)).await else {
            continue;
        };
        for delivery in deliveries? {
            let _ = seen.send(delivery.envelope.id.clone());
            delivery.ack();
        }
    }
    drop(seat);
    broker.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_come_and_go_lose_nothing_and_keep_the_order() {
    let Some(options) = fresh(8).await else { return };
    let broker = open(&options).await;
    let publishing = tokio::spawn({
        let broker = broker.clone();
        async move {
            for start in (0..EVENTS).step_by(100) {
                let some = |n: usize| event(&format!("k{}", n % KEYS), &format!("k{}-{}", n % KEYS, n / KEYS));
                publish(&*broker, (start..start + 100).map(some).collect()).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let start = |stop: &Arc<AtomicBool>| tokio::spawn(member(options.clone(), stop.clone(), sender.clone()));
    let steady_stop = Arc::new(AtomicBool::new(false));
    let steady = start(&steady_stop);
    let coming_and_going = async {
        for _ in 0..4 {
            let stop = Arc::new(AtomicBool::new(false));
            let guest = start(&stop);
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            stop.store(true, Ordering::Relaxed);
            guest.await.expect("a member does not panic").expect("a member is delivered to");
        }
    };
    let auditing = async {
        let (mut next, mut done, mut again, started) = (HashMap::new(), 0, 0, Instant::now());
        while done < EVENTS {
            assert!(started.elapsed() < PATIENCE * 3, "{done} of {EVENTS} arrived");
            let id = within("an event", receiver.recv()).await.expect("a member");
            let (key, number) = id.split_once('-').expect("an id of ours");
            let (number, expected): (usize, _) =
                (number.parse().expect("a number"), next.entry(key.to_owned()).or_insert(0));
            assert!(number <= *expected, "{id} came before {expected}");
            if number == *expected {
                *expected += 1;
                done += 1;
            } else {
                again += 1;
            }
        }
        again
    };
    let ((), again) = tokio::join!(coming_and_going, auditing);
    publishing.await.expect("publishing succeeds");
    eprintln!("{EVENTS} events, {again} of them again, through 8 changes of members");
    steady_stop.store(true, Ordering::Relaxed);
    steady.await.expect("a member does not panic").expect("a member is delivered to");
    until_lag(&*broker, "all", |lag| lag.pending == 0 && lag.members == 0).await;
    broker.close().await;
}

/// What the cluster holds as the group's place in the one partition.
async fn mark(options: &KafkaOptions) -> Option<Mark> {
    let options = options.clone();
    let look = move || {
        let client = desk::client(&options, &options.group_id("all")).expect("a client");
        let mut list = TopicPartitionList::new();
        list.add_partition(&options.topic(), 0);
        let committed = client.committed_offsets(list, PATIENCE).expect("the place");
        let element = &committed.elements()[0];
        let Offset::Offset(next) = element.offset() else { return None };
        Mark::parse(next, element.metadata())
    };
    tokio::task::spawn_blocking(look).await.expect("looking does not panic")
}

/// So that whoever comes after a kill knows what may have been running.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_handed_out_is_known_to_the_cluster_before() {
    let Some(options) = fresh(1).await else { return };
    let broker = open(&options).await;
    publish(&*broker, (0..500).map(|n| event("a", &format!("a-{n}"))).collect()).await;
    let mut seat = join(&*broker, Subscribe { max_in_flight: 500, ..group("all") }).await;
    let mut held = Vec::new();
    while held.len() < 400 {
        held.extend(receive(&mut *seat, 40).await);
        let mark = mark(&options).await.expect("a place of ours");
        assert!(mark.limit >= held.len() as i64, "{} are out, {mark:?}", held.len());
        assert!(held.iter().all(|delivery| delivery.attempt == 1));
    }
    // All but two are finished, one of them in the middle.
    let kept: Vec<Delivery> = vec![held.remove(399), held.remove(200)];
    held.into_iter().for_each(Delivery::ack);
    until_lag(&*broker, "all", |lag| lag.pending == 102).await;
    drop(seat);
    broker.close().await;
    // An orderly end: exactly these are in doubt, and nothing that is finished comes again.
    let mark = mark(&options).await.expect("a place of ours");
    assert_eq!(mark, Mark { next: 200, limit: 400, done: vec![(201, 399)] });
    drop(kept);
    let broker = open(&options).await;
    let mut seat = join(&*broker, Subscribe { max_in_flight: 500, ..group("all") }).await;
    let again = receive(&mut *seat, 102).await;
    assert_eq!(ids(&again)[..3], ["a-200", "a-399", "a-400"]);
    let attempts: Vec<u32> = again.iter().map(|delivery| delivery.attempt).collect();
    assert_eq!((attempts[..3].to_vec(), attempts[101]), (vec![2, 2, 1], 1));
    drop(again);
    drop(seat);
    broker.close().await;
}

/// Waiting retries must not stop the reading, and a full hand must not stop the polling.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_hand_pauses_and_goes_on() {
    let Some(options) = fresh(2).await else { return };
    let broker = open(&options).await;
    publish(&*broker, (0..2_000).map(|n| event(&format!("k{}", n % 50), &format!("e{n}"))).collect()).await;
    let mut seat = join(&*broker, Subscribe { max_in_flight: 8, ..group("all") }).await;
    for round in 0..4 {
        let held = receive(&mut *seat, 8).await;
        // Longer than it takes to pause.
        let full = tokio::time::timeout(Duration::from_millis(700), seat.next(1, 1)).await;
        assert!(full.is_err(), "{round}: a ninth was handed out");
        held.into_iter().for_each(Delivery::ack);
    }
    let rest = consume(&mut *seat, 2_000 - 32).await;
    assert_eq!(rest.len(), 2_000 - 32);
    until_lag(&*broker, "all", |lag| lag.pending == 0).await;
    drop(seat);
    broker.close().await;
}
