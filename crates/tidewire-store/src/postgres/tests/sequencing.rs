//! Positions, when many commit at once.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures::future::join_all;
use tidewire_core::store::{Conflict, Log};

use super::*;

/// An append as somebody makes it in a transaction of his own, without looking at the version.
async fn emit(connection: &mut PgConnection, key: &str) {
    let row = sqlx::query("select tidewire.lock_stream($1)").bind(key).fetch_one(&mut *connection).await.unwrap();
    let version: i64 = row.get::<i64, _>(0) + 1;
    sqlx::query(
        "with batch as materialized (select nextval('tidewire.batch_id') as id), \
         raised as (update tidewire.stream set version = $2 where key = $1), \
         queued as (insert into tidewire.batch (id, count) select id, 1 from batch) \
         insert into tidewire.event (batch, index, recorded, key, version, bucket, id, source, name, type_version, time) \
         select id, 0, now(), $1, $2, tidewire.bucket($1), $3, '/sql', 'thing.happened', 1, now() from batch",
    )
    .bind(key)
    .bind(version)
    .bind(SystemClock.id().to_string())
    .execute(connection)
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_drawn_early_does_not_jump_the_queue() {
    let Some(server) = server().await else { return };
    let url = server.database().await;
    let store = open(&url).await;
    let (mut early, mut late) = (connect(&url).await, connect(&url).await);
    // The first of the stream is in a transaction that stays open; the second waits for it, and has a transaction
    // number that is lower.
    execute(&mut late, "begin; select pg_current_xact_id()").await;
    execute(&mut early, "begin").await;
    emit(&mut early, "k").await;
    let waiting = tokio::spawn(async move {
        emit(&mut late, "k").await;
        execute(&mut late, "commit").await;
    });
    // Others are numbered meanwhile, and readers pass them.
    for n in 0..5 {
        assert_eq!(put(&store, "other").await.unwrap(), Position(n + 1));
    }
    assert_eq!(read_all(&store).await.len(), 5);
    execute(&mut early, "commit").await;
    waiting.await.unwrap();
    until("all are in the log", || async { store.head().await.unwrap() == Position(7) }).await;
    check_order(&read_all(&store).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_processes_write_and_every_reader_misses_nothing() {
    const STORES: usize = 3;
    const WRITERS: usize = 12;
    const EACH: usize = 40;
    const FOREIGN: usize = 4;
    let total = ((WRITERS + FOREIGN) * EACH) as u64;
    let Some(server) = server().await else { return };
    let url = server.database().await;
    let stores: Vec<_> = join_all((0..STORES).map(|_| open(&url))).await;
    let readers: Vec<_> = stores
        .iter()
        .map(|store| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut log: Vec<Recorded> = Vec::new();
                while (log.len() as u64) < total {
                    let after = Position(log.len() as u64);
                    store.wait(after, Duration::from_secs(10)).await;
                    log.extend(store.read(&Selection { after, limit: 50, ..Default::default() }).await.unwrap());
                }
                check_order(&log);
            })
        })
        .collect();
    let done = Arc::new(AtomicBool::new(false));
    let killer = {
        let (url, done) = (url.clone(), done.clone());
        tokio::spawn(async move {
            let mut connection = connect(&url).await;
            let mut killed = 0;
            while !done.load(Ordering::Relaxed) {
                // Whoever numbers, or waits to.
                let text = "select count(*) from (select pg_terminate_backend(pid) from pg_stat_activity \
                            where application_name = 'tidewire' and datname = current_database() \
                            and query like '%tidewire.sequence(%') k";
                killed += number(&mut connection, text).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            killed
        })
    };
    let writers = (0..WRITERS).map(|writer| {
        let store = stores[writer % STORES].clone();
        tokio::spawn(async move {
            for n in 0..EACH {
                put(&store, &format!("k/{}", (writer + n) % 7)).await.unwrap();
            }
        })
    });
    let foreign = (0..FOREIGN).map(|writer| {
        let url = url.clone();
        tokio::spawn(async move {
            let mut connection = connect(&url).await;
            for n in 0..EACH {
                // One that is rolled back in between, and one that is committed late.
                execute(&mut connection, "begin").await;
                emit(&mut connection, &format!("k/{}", (writer + n) % 7)).await;
                execute(&mut connection, "rollback; begin").await;
                emit(&mut connection, &format!("k/{}", (writer + n) % 7)).await;
                tokio::time::sleep(Duration::from_millis((n % 3) as u64)).await;
                execute(&mut connection, "commit").await;
            }
        })
    });
    let tasks: Vec<_> = writers.chain(foreign.collect::<Vec<_>>()).collect();
    for task in join_all(tasks).await {
        task.unwrap();
    }
    for reader in readers {
        tokio::time::timeout(Duration::from_secs(60), reader).await.unwrap().unwrap();
    }
    done.store(true, Ordering::Relaxed);
    println!("{} sequencers were killed", killer.await.unwrap());
    assert_eq!(stores[0].head().await.unwrap(), Position(total));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_somebody_has_locked_keeps_nobody_else() {
    let Some(server) = server().await else { return };
    let url = server.database().await;
    let store = open(&url).await;
    put(&store, "old").await.unwrap();
    let mut somebody = connect(&url).await;
    execute(&mut somebody, "begin").await;
    emit(&mut somebody, "old").await;
    emit(&mut somebody, "new").await;
    let blocked: Vec<_> = ["old", "new", "old"]
        .map(|key| {
            let store = store.clone();
            tokio::spawn(async move { put(&store, key).await })
        })
        .into();
    let count = Arc::new(AtomicU64::new(0));
    let others = (0..40).map(|n| {
        let (store, count) = (store.clone(), count.clone());
        tokio::spawn(async move {
            put(&store, &format!("free/{n}")).await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
        })
    });
    for other in join_all(others.collect::<Vec<_>>()).await {
        other.unwrap();
    }
    assert_eq!(count.load(Ordering::Relaxed), 40);
    assert!(blocked.iter().all(|blocked| !blocked.is_finished()));
    execute(&mut somebody, "commit").await;
    for blocked in blocked {
        blocked.await.unwrap().unwrap();
    }
    until("all are in the log", || async { store.head().await.unwrap() == Position(46) }).await;
    check_order(&read_all(&store).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_outdated_can_see_by_what() {
    let Some(server) = server().await else { return };
    let url = server.database().await;
    let store = open(&url).await;
    let mut somebody = connect(&url).await;
    for n in 0..20_usize {
        let key = Key::of("k", n);
        emit(&mut somebody, key.as_str()).await;
        let event = event(key.as_str());
        let append = vec![Append { key: key.clone(), expect: Expect::Version(0), events: vec![event] }];
        let found = store.commit(Commit { append, ..Commit::default() }).await;
        assert!(matches!(found, Err(StoreError::Conflict(Conflict::Version { found: 1, .. }))), "{found:?}");
        assert_eq!(store.stream(&key, 0, 10).await.unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_come_to_nothing_leave_nothing() {
    let Some(server) = server().await else { return };
    let url = server.database().await;
    let store = open(&url).await;
    let commits = (0..50).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut commit = appending(event(&format!("k/{n}")));
            commit.seen = vec![tidewire_core::Seen {
                consumer: "h".into(),
                mark: tidewire_core::Mark { source: "/s".into(), id: n.to_string() },
            }];
            if n % 2 == 0 {
                commit.append[0].expect = Expect::Version(7);
            }
            store.commit(commit).await.is_ok()
        })
    });
    let applied =
        join_all(commits.collect::<Vec<_>>()).await.into_iter().filter(|done| *done.as_ref().unwrap()).count();
    assert_eq!(applied, 25);
    let mut connection = connect(&url).await;
    assert_eq!(number(&mut connection, "select count(*) from tidewire.inbox").await, 25);
    assert_eq!(number(&mut connection, "select count(*) from tidewire.stream").await, 25);
    let keys: HashSet<Key> = read_all(&store).await.into_iter().map(|recorded| recorded.envelope.key).collect();
    assert_eq!(keys.len(), 25);
}
