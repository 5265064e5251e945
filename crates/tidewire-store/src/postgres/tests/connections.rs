//! Connections that are cancelled, cut or killed under the store.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use futures::future::join_all;
use servers::Proxy;
use tidewire_core::store::Log;

use super::super::connect::{Role, connect_options, pool};
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_begin_loses_nothing() {
    const ROUNDS: u64 = 60;
    let Some(server) = server().await else { return };
    let url = server.database().await;
    let mut other = connect(&url).await;
    execute(&mut other, "create table written (n bigint)").await;
    // A slow way to the server: whoever gives up after some milliseconds does so between a `begin` and its answer.
    let proxy = Proxy::start(server.addr()).await.unwrap();
    proxy.delay(Duration::from_millis(4), Duration::ZERO);
    let url = server.url_through(&url, proxy.addr());
    let pool = pool(&connect_options(&PostgresOptions::new(url.as_str())).unwrap(), Role::Work, 1);
    let (mut given_up, mut acknowledged) = (0, 0);
    for n in 0..ROUNDS {
        let begin = tokio::time::timeout(Duration::from_millis(1 + n % 30), pool.begin()).await;
        given_up += i64::from(begin.is_err());
        drop(begin);
        let written = sqlx::query("insert into written values ($1)").bind(n as i64).execute(&pool).await;
        acknowledged += i64::from(written.is_ok());
    }
    pool.close().await;
    drop(proxy);
    assert!(given_up > 10 && acknowledged > 10, "{given_up} were given up, {acknowledged} were acknowledged");
    assert_eq!(number(&mut other, "select count(*) from written").await, acknowledged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_killed_lose_nothing_and_write_nothing_twice() {
    const WRITERS: usize = 8;
    const EACH: usize = 60;
    /// However fast the writers are, so many connections are killed under them.
    const KILLED: i64 = 10;
    const MOST: usize = 100_000;
    let Some(server) = server().await else { return };
    let url = server.database().await;
    let stores = [open(&url).await, open(&url).await];
    let done = Arc::new(AtomicBool::new(false));
    let killed = Arc::new(AtomicI64::new(0));
    let killer = {
        let (url, done, killed) = (url.clone(), done.clone(), killed.clone());
        tokio::spawn(async move {
            let mut connection = connect(&url).await;
            while !done.load(Ordering::Relaxed) {
                let text = "select count(*) from (select pg_terminate_backend(pid) from pg_stat_activity \
                            where application_name = 'tidewire' and datname = current_database() \
                            order by random() limit 2) k";
                killed.fetch_add(number(&mut connection, text).await, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
        })
    };
    let writers = (0..WRITERS).map(|writer| {
        let (store, killed) = (stores[writer % 2].clone(), killed.clone());
        tokio::spawn(async move {
            let mut n = 0;
            while n < EACH || (killed.load(Ordering::Relaxed) <= KILLED && n < MOST) {
                let event = event(&format!("k/{}", n % 5));
                // Tried until it is in the log: what was said not to be written is not, or the log refuses it.
                loop {
                    match store.commit(appending(event.clone())).await {
                        Ok(Committed::Applied { .. }) => break,
                        Err(error) if error.is_transient() => {}
                        other => panic!("{other:?}"),
                    }
                }
                n += 1;
            }
            n
        })
    });
    let mut written = 0;
    for writer in join_all(writers.collect::<Vec<_>>()).await {
        written += writer.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    killer.await.unwrap();
    let killed = killed.load(Ordering::Relaxed);
    assert!(killed > KILLED, "only {killed} connections were killed");
    let store = open(&url).await;
    until("everything has a position", || async { store.head().await.unwrap().0 == written as u64 }).await;
    let log = read_all(&store).await;
    assert_eq!(log.len(), written);
    check_order(&log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_and_comes_back_has_everything_that_was_acknowledged() {
    let Some(server) = own_server(&[]).await else { return };
    let url = server.database().await;
    let store = open(&url).await;
    let stopped = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (store, stopped) = (store.clone(), stopped.clone());
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                while !stopped.load(Ordering::Relaxed) {
                    let event = event(&format!("k/{writer}"));
                    let id = event.id.clone();
                    match store.commit(appending(event)).await {
                        Ok(_) => acknowledged.push(id),
                        Err(error) => {
                            assert!(error.is_transient(), "{error}");
                            tokio::task::yield_now().await;
                        }
                    }
                }
                acknowledged
            })
        })
        .collect();
    for _ in 0..3 {
        let before = store.horizon.head.borrow().0;
        until("writing goes on", || async { store.horizon.head.borrow().0 > before + 50 }).await;
        server.stop_immediate().await;
        server.start_again().await;
    }
    let before = store.horizon.head.borrow().0;
    until("writing goes on", || async { store.horizon.head.borrow().0 > before + 50 }).await;
    stopped.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    until("everything has a position", || async {
        number(&mut connect(&url).await, "select count(*) from tidewire.batch where first_position is null").await == 0
    })
    .await;
    let log = read_all(&store).await;
    check_order(&log);
    let there: std::collections::HashSet<&str> = log.iter().map(|recorded| recorded.envelope.id.as_str()).collect();
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    assert!(acknowledged.iter().all(|id| there.contains(id.as_str())), "an acknowledged event is lost");
}
