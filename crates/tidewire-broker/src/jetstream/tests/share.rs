//! Several processes in one group. Two brokers share nothing here but the server.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidewire_core::{Broker, Delivery};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Audit, JetStreamBroker, JetStreamOptions, PATIENCE, fresh, open, publish_surely, rows, server};
use crate::conformance::{consume, group, ids, join, publish, receive, until_lag};

/// Handles what comes until told to stop, as consumers do: recorded, then acknowledged.
/// How much it was.
async fn work(broker: Arc<JetStreamBroker>, audit: Arc<Mutex<Audit>>, mut stop: watch::Receiver<bool>) -> usize {
    let mut handled = 0;
    let Ok(mut seat) = broker.subscribe(group("all")).await else { return handled };
    loop {
        let deliveries = tokio::select! {
            _ = async { let _ = stop.wait_for(|stop| *stop).await; } => return handled,
            next = seat.next(16, usize::MAX) => match next {
                Ok(deliveries) => deliveries,
                Err(_) => return handled,
            },
        };
        for delivery in deliveries {
            audit.lock().unwrap().see(&delivery.envelope);
            delivery.ack();
            handled += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_come_and_go_keep_every_key_in_order() {
    const KEYS: usize = 40;
    const EACH: usize = 150;
    let Some(server) = server().await else { return };
    let options = fresh(server.url());
    let publisher = open(&options).await;
    let audit = Arc::new(Mutex::new(Audit::default()));
    let (stop_all, stopped) = watch::channel(false);
    let steady = open(&options).await;
    let steady_work = tokio::spawn(work(steady.clone(), audit.clone(), stopped));
    let publishing = tokio::spawn({
        let publisher = publisher.clone();
        async move {
            for n in 0..EACH {
                publish_surely(&publisher, rows(KEYS, n, 1)).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let began = Instant::now();
    let (mut round, mut joins, mut by_others) = (0, 0, 0);
    let mut others: Vec<(Arc<JetStreamBroker>, watch::Sender<bool>, tokio::task::JoinHandle<usize>)> = Vec::new();
    while audit.lock().unwrap().handled.len() < KEYS * EACH {
        assert!(began.elapsed() < PATIENCE, "{} of {}", audit.lock().unwrap().handled.len(), KEYS * EACH);
        if others.len() < 3 && round % 2 == 0 {
            let broker = open(&options).await;
            let (stop, stopped) = watch::channel(false);
            others.push((broker.clone(), stop, tokio::spawn(work(broker, audit.clone(), stopped))));
            joins += 1;
        } else if !others.is_empty() {
            let (broker, stop, working) = others.remove(0);
            stop.send_replace(true);
            by_others += working.await.expect("a member ends");
            broker.close().await;
        }
        round += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    publishing.await.expect("publishing ends");
    stop_all.send_replace(true);
    steady_work.await.expect("the steady member ends");
    for (broker, _, working) in others {
        working.abort();
        broker.close().await;
    }
    steady.close().await;
    publisher.close().await;
    let audit = audit.lock().unwrap();
    let duplicates = audit.duplicates();
    println!(
        "{joins} joins, {} events, {by_others} by those who came and went, {duplicates} twice",
        audit.handled.len()
    );
    assert!(joins >= 3 && by_others > 100, "those who came and went did their share");
    assert_eq!(audit.inversions, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_the_work_and_one_hands_over_what_it_has() {
    let Some(server) = server().await else { return };
    let options = fresh(server.url());
    let (one, two) = (open(&options).await, open(&options).await);
    let mut first = join(&*one, group("all")).await;
    let mut second = join(&*two, group("all")).await;
    // Until the slots are dealt, everything may be with the first.
    let mut n = 0;
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < PATIENCE, "the second was never given anything");
        publish(&*one, rows(64, n, 1)).await;
        n += 1;
        let mut got = HashSet::new();
        while let Ok(Ok(more)) = tokio::time::timeout(Duration::from_millis(300), second.next(64, usize::MAX)).await {
            got.extend(more.iter().map(|delivery| delivery.envelope.key.clone()));
            more.into_iter().for_each(Delivery::ack);
        }
        while let Ok(Ok(more)) = tokio::time::timeout(Duration::from_millis(300), first.next(64, usize::MAX)).await {
            assert!(more.iter().all(|delivery| !got.contains(&delivery.envelope.key)), "a key is with both");
            more.into_iter().for_each(Delivery::ack);
        }
        if (16..=48).contains(&got.len()) {
            break;
        }
    }
    let lag = two.lag().await.expect("lag").remove(0);
    assert_eq!(lag.pending, 0);
    until_lag(&*two, "all", |lag| lag.members == 2).await;
    // What the second has in hand when it goes comes to the first, in order, and counted.
    publish(&*one, rows(64, n, 3)).await;
    let held = receive(&mut *second, 12).await;
    let held_ids = ids(&held);
    drop((second, held));
    two.close().await;
    let mut again = Vec::new();
    while again.len() < 192 {
        let more = receive(&mut *first, 1).await;
        for delivery in more {
            again.push((delivery.envelope.id.clone(), delivery.attempt));
            delivery.ack();
        }
    }
    for id in held_ids {
        let (_, attempt) = again.iter().find(|(other, _)| *other == id).expect("it comes again");
        assert!(*attempt > 1, "{id} counts as never handed out");
    }
    let mut audit = std::collections::HashMap::new();
    for (id, _) in &again {
        let (key, number) = id.rsplit_once('-').expect("a row");
        let last = audit.insert(key.to_owned(), number.parse::<usize>().expect("a number"));
        assert!(last.is_none_or(|last| last < number.parse().expect("a number")), "{id} after {last:?}");
    }
    until_lag(&*one, "all", |lag| lag.pending == 0 && lag.members == 1).await;
    one.close().await;
}

/// Its runtime is dropped with everything in it: nothing says good-bye, as after a kill.
#[test]
fn what_a_killed_process_had_is_taken_over() {
    let survivor = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let Some(server) = survivor.block_on(server()) else { return };
    let options = JetStreamOptions { member_ttl: Duration::from_secs(3), ..fresh(server.url()) };
    let doomed = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let acked = doomed.block_on(async {
        let broker = open(&options).await;
        let mut seat = join(&*broker, group("all")).await;
        publish(&*broker, rows(8, 0, 5)).await;
        let acked = consume(&mut *seat, 10).await;
        let held = receive(&mut *seat, 10).await;
        // The acknowledgements are under way before the end.
        until_lag(&*broker, "all", |lag| lag.pending == 30).await;
        std::mem::forget((held, seat, broker));
        acked
    });
    doomed.shutdown_background();
    survivor.block_on(async {
        let broker = open(&options).await;
        let began = Instant::now();
        let mut seat = join(&*broker, group("all")).await;
        let mut audit = Audit::default();
        for id in &acked {
            audit.see(&crate::conformance::event(id.rsplit_once('-').unwrap().0, id));
        }
        let mut attempts = Vec::new();
        while audit.handled.len() < 40 {
            let delivery = receive(&mut *seat, 1).await.remove(0);
            audit.see(&delivery.envelope);
            attempts.push(delivery.attempt);
            delivery.ack();
        }
        println!("taken over after {:?}; {} came again that was done", began.elapsed(), audit.duplicates());
        assert_eq!(audit.inversions, [""; 0]);
        assert!(attempts.iter().filter(|attempt| **attempt > 1).count() >= 10, "{attempts:?}");
        until_lag(&*broker, "all", |lag| lag.pending == 0 && lag.members == 1).await;
        broker.close().await;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_outlive_an_orderly_restart() {
    let Some(server) = server().await else { return };
    let options = fresh(server.url());
    let broker = open(&options).await;
    publish(&*broker, rows(1, 0, 2)).await;
    let mut seat = join(&*broker, group("all")).await;
    for _ in 0..4 {
        receive(&mut *seat, 1).await.remove(0).retry(Duration::ZERO);
    }
    drop(seat);
    broker.close().await;
    let broker = open(&options).await;
    let mut seat = join(&*broker, group("all")).await;
    let again = receive(&mut *seat, 2).await;
    assert_eq!(again.iter().map(|delivery| delivery.attempt).collect::<Vec<_>>(), [5, 1]);
    broker.close().await;
}
