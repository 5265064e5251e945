//! Commits within transactions that somebody else owns.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sqlx::{Connection, Row, query, raw_sql};
use tidewire_core::store::{Conflict, Inbox, Leases, Log, ParkedQuery, Parking, Schedule, Selection};
use tidewire_core::{
    Append, Call, Clock as _, Commit, Committed, DocumentWrite, Effect, Envelope, Expect, ExpectDocument, Fence, Key,
    Mark, Park, Position, Seen, StoreError, SystemClock, Timer, TimerWrite,
};

use super::{Joined, MAX_KEYS_IN, Ticket};
use crate::postgres::emit::tests::{Rig, blocked, event, rig};
use crate::postgres::{PostgresOptions, PostgresStore};

const DEADLINE: Duration = Duration::from_secs(30);

fn append(expect: Expect, events: Vec<Envelope>) -> Commit {
    Commit { append: vec![Append { key: events[0].key.clone(), expect, events }], ..Commit::default() }
}

fn one(id: &str, key: &str) -> Commit {
    append(Expect::Any, vec![event(id, key, Some("{}"))])
}

fn applied(joined: Result<Joined, StoreError>) -> Ticket {
    match joined {
        Ok(Joined::Applied(ticket)) => ticket,
        other => panic!("expected to be applied: {other:?}"),
    }
}

async fn with_orders() -> Option<Rig> {
    let rig = rig().await?;
    raw_sql("create table orders (n integer)").execute(&rig.pool).await.unwrap();
    Some(rig)
}

async fn orders(rig: &Rig) -> Vec<i32> {
    let rows = query("select n from orders order by n").fetch_all(&rig.pool).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_and_its_event_are_there_together_or_not_at_all() {
    let Some(rig) = with_orders().await else { return };
    for (n, commits) in [(1, true), (2, false), (3, true)] {
        let mut transaction = rig.pool.begin().await.unwrap();
        query("insert into orders values ($1)").bind(n).execute(&mut *transaction).await.unwrap();
        applied(rig.store.commit_in(&mut transaction, one(&n.to_string(), "order/1")).await);
        match commits {
            true => transaction.commit().await.unwrap(),
            false => transaction.rollback().await.unwrap(),
        }
    }
    let found = rig.log(2).await;
    let found: Vec<_> = found.iter().map(|r| (r.envelope.id.as_str(), r.envelope.sequence)).collect();
    assert_eq!(found, [("1", Some(1)), ("3", Some(2))]);
    assert_eq!(orders(&rig).await, [1, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_sees_it_before_the_commit_and_it_can_be_waited_for() {
    let Some(rig) = with_orders().await else { return };
    rig.store.commit(one("before", "k")).await.unwrap();
    let mut transaction = rig.pool.begin().await.unwrap();
    let two = append(Expect::Version(0), vec![event("a", "new", None), event("b", "new", None)]);
    let ticket = applied(rig.store.commit_in(&mut transaction, two).await);
    assert_eq!(rig.store.position(ticket, Duration::from_millis(300)).await.unwrap(), None);
    rig.log(1).await;
    assert!(rig.store.stream(&Key::new("new").unwrap(), 0, 10).await.unwrap().is_empty());
    transaction.commit().await.unwrap();
    assert_eq!(rig.store.position(ticket, DEADLINE).await.unwrap(), Some(Position(3)));
    assert_eq!(rig.store.head().await.unwrap(), Position(3));
    rig.log(3).await;
    // Without events: the log as it is.
    let mut transaction = rig.pool.begin().await.unwrap();
    let ticket = applied(rig.store.commit_in(&mut transaction, Commit::default()).await);
    transaction.commit().await.unwrap();
    assert_eq!(rig.store.position(ticket, DEADLINE).await.unwrap(), Some(Position(3)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_leaves_the_transaction_as_it_was() {
    let Some(rig) = with_orders().await else { return };
    rig.store.commit(one("known", "k")).await.unwrap();
    let mut transaction = rig.pool.begin().await.unwrap();
    query("insert into orders values (1)").execute(&mut *transaction).await.unwrap();
    let document = |expect| DocumentWrite {
        collection: "c".into(),
        id: "d".into(),
        expect,
        value: Some(Bytes::from_static(b"{}")),
    };
    let stale = append(Expect::Version(0), vec![event("a", "k", None)]);
    let twice = append(Expect::Any, vec![event("known", "other", None)]);
    let behind = Commit { documents: vec![document(ExpectDocument::Revision(3))], ..one("b", "k") };
    let fenced = Commit { fence: Some(Fence { lease: "l".into(), epoch: 1 }), ..one("c", "k") };
    let key = Key::new("k").unwrap();
    let refused = rig.store.commit_in(&mut transaction, stale).await.unwrap_err();
    assert!(
        matches!(&refused, StoreError::Conflict(Conflict::Version { key: found, expected: 0, found: 1 }) if *found == key)
    );
    let refused = rig.store.commit_in(&mut transaction, twice).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Conflict(Conflict::Event { id }) if id == "known"), "{refused}");
    let refused = rig.store.commit_in(&mut transaction, behind).await.unwrap_err();
    assert!(matches!(refused, StoreError::Conflict(Conflict::Document { .. })), "{refused}");
    let refused = rig.store.commit_in(&mut transaction, fenced).await.unwrap_err();
    assert!(matches!(refused, StoreError::Fenced { .. }), "{refused}");
    let nonsense = append(Expect::Any, vec![event("e\0", "k", None)]);
    assert!(matches!(rig.store.commit_in(&mut transaction, nonsense).await, Err(StoreError::Invalid(_))));
    query("insert into orders values (2)").execute(&mut *transaction).await.unwrap();
    let good = Commit { documents: vec![document(ExpectDocument::Absent)], ..one("d", "k") };
    applied(rig.store.commit_in(&mut transaction, good).await);
    transaction.commit().await.unwrap();
    let ids: Vec<String> = rig.log(2).await.into_iter().map(|recorded| recorded.envelope.id).collect();
    assert_eq!(ids, ["known", "d"]);
    assert_eq!(orders(&rig).await, [1, 2]);
    assert!(rig.store.stream(&Key::new("other").unwrap(), 0, 1).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_in_a_commit_is_written_once() {
    let Some(rig) = with_orders().await else { return };
    let (cause, poison) = (event("cause", "in", None), event("poison", "in", None));
    let lease = rig.store.lease("l", "me", DEADLINE).await.unwrap().unwrap();
    let everything = || {
        let timer = Timer {
            owner: "h".into(),
            id: "t".into(),
            key: cause.key.clone(),
            due: SystemClock.now(),
            data: Bytes::new(),
        };
        let call = Call::Mail { to: "a@example.com".into(), subject: "s".into(), text: "t".into() };
        Commit {
            seen: vec![Seen { consumer: "h".into(), mark: Mark::of(&cause) }],
            park: vec![Park {
                consumer: "h".into(),
                envelope: poison.clone(),
                code: "handler.failed".into(),
                reason: "it fails".into(),
                attempts: 3,
                follower: false,
                place: None,
            }],
            timers: vec![TimerWrite::Set(timer)],
            effects: vec![Effect::new("h", &cause.source, &cause.id, 0, call)],
            fence: Some(Fence { lease: "l".into(), epoch: lease }),
            ..one("out", "out")
        }
    };
    for (n, commits) in [(1, false), (2, true), (3, true)] {
        let mut transaction = rig.pool.begin().await.unwrap();
        let joined = rig.store.commit_in(&mut transaction, everything()).await.unwrap();
        assert_eq!(joined == Joined::Duplicate, n == 3, "{joined:?}");
        query("insert into orders values ($1)").bind(n).execute(&mut *transaction).await.unwrap();
        match commits {
            true => transaction.commit().await.unwrap(),
            false => transaction.rollback().await.unwrap(),
        }
        let there = commits as usize;
        rig.log(there).await;
        let later = SystemClock.now() + chrono::TimeDelta::days(1);
        assert_eq!(rig.store.due_timers(&["h".into()], later, 9).await.unwrap().len(), there);
        assert_eq!(rig.store.due_effects(later, 9).await.unwrap().len(), there);
        let parked = rig.store.parked(&ParkedQuery { limit: 9, ..Default::default() }).await.unwrap();
        assert_eq!(parked.len(), there);
        let marks = [Mark::of(&cause), Mark::of(&poison)];
        assert_eq!(rig.store.seen("h", &marks).await.unwrap(), [commits; 2]);
    }
    assert_eq!(orders(&rig).await, [2, 3]);
    // What `commit` handled is a duplicate here too.
    let other = || Commit { seen: vec![Seen { consumer: "g".into(), mark: Mark::of(&cause) }], ..Commit::default() };
    rig.store.commit(other()).await.unwrap();
    let mut transaction = rig.pool.begin().await.unwrap();
    assert_eq!(rig.store.commit_in(&mut transaction, other()).await.unwrap(), Joined::Duplicate);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_handle_the_same_event_do_it_once() {
    let Some(rig) = with_orders().await else { return };
    let handle = |n: i32| {
        let (store, pool) = (rig.store.clone(), rig.pool.clone());
        let seen = Seen { consumer: "h".into(), mark: Mark { source: "/s".into(), id: "cause".into() } };
        tokio::spawn(async move {
            let mut transaction = pool.begin().await.unwrap();
            let commit = Commit { seen: vec![seen], ..one(&n.to_string(), &format!("k/{n}")) };
            match store.commit_in(&mut transaction, commit).await.unwrap() {
                Joined::Duplicate => transaction.rollback().await.unwrap(),
                Joined::Applied(_) => {
                    query("insert into orders values ($1)").bind(n).execute(&mut *transaction).await.unwrap();
                    transaction.commit().await.unwrap();
                }
            }
        })
    };
    for task in (0..10).map(handle).collect::<Vec<_>>() {
        task.await.unwrap();
    }
    rig.log(1).await;
    assert_eq!(orders(&rig).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_keeps_its_order_and_other_keys_flow() {
    let Some(rig) = with_orders().await else { return };
    for round in 0..3_u64 {
        let id = |name: &str| format!("{name} {round}");
        let mut first = rig.pool.begin().await.unwrap();
        applied(rig.store.commit_in(&mut first, one(&id("first"), "k")).await);
        let second = {
            let (store, pool, commit) = (rig.store.clone(), rig.pool.clone(), one(&id("second"), "k"));
            tokio::spawn(async move {
                let mut second = pool.begin().await.unwrap();
                applied(store.commit_in(&mut second, commit).await);
                second.commit().await.unwrap();
            })
        };
        blocked(&rig, 1).await;
        let third = {
            let (store, commit) = (rig.store.clone(), one(&id("third"), "k"));
            tokio::spawn(async move { store.commit(commit).await })
        };
        for n in 0..10 {
            let other = rig.store.commit(one(&id(&format!("other {n}")), &format!("other/{round}/{n}")));
            let done = tokio::time::timeout(Duration::from_secs(5), other).await;
            assert!(matches!(done, Ok(Ok(Committed::Applied { .. }))), "{done:?}");
        }
        assert!(!second.is_finished() && !third.is_finished());
        applied(rig.store.commit_in(&mut first, one(&id("first again"), "k")).await);
        first.commit().await.unwrap();
        second.await.unwrap();
        third.await.unwrap().unwrap();
        rig.log(14 * (round as usize + 1)).await;
        let stream = rig.store.stream(&Key::new("k").unwrap(), round * 4, 10).await.unwrap();
        assert_eq!(stream.len(), 4);
        assert!(stream.is_sorted_by_key(|recorded| recorded.position));
        assert_eq!(stream[0].envelope.id, id("first"));
        assert_eq!(stream[1].envelope.id, id("first again"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_writers_of_every_kind_keep_the_order_of_a_stream() {
    const EACH: usize = 25;
    let Some(rig) = with_orders().await else { return };
    let writer = |name: usize| {
        let (store, pool) = (rig.store.clone(), rig.pool.clone());
        tokio::spawn(async move {
            for n in 0..EACH {
                let commit = one(&format!("{name} {n}"), "k");
                if name.is_multiple_of(2) {
                    store.commit(commit).await.unwrap();
                } else {
                    let mut transaction = pool.begin().await.unwrap();
                    applied(store.commit_in(&mut transaction, commit).await);
                    transaction.commit().await.unwrap();
                }
            }
        })
    };
    for task in (0..6).map(writer).collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let versions: Vec<_> = rig.log(6 * EACH).await.into_iter().filter_map(|r| r.envelope.sequence).collect();
    assert_eq!(versions, (1..=6 * EACH as u64).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_such_transaction_is_refused() {
    let Some(rig) = with_orders().await else { return };
    let mut connection = rig.pool.acquire().await.unwrap();
    let refused = rig.store.commit_in(&mut connection, one("a", "k")).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Invalid(why) if why.contains("transaction")), "{refused}");
    raw_sql("begin isolation level repeatable read").execute(&mut *connection).await.unwrap();
    let refused = rig.store.commit_in(&mut connection, one("a", "k")).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Invalid(why) if why.contains("repeatable read")), "{refused}");
    raw_sql("rollback").execute(&mut *connection).await.unwrap();
    // Another log, and a database without any.
    let elsewhere = servers::postgres().await.unwrap().database().await;
    for has_log in [false, true] {
        if has_log {
            PostgresStore::open(PostgresOptions::new(&elsewhere), Arc::new(SystemClock)).await.unwrap();
        }
        let mut stranger = sqlx::PgConnection::connect(&elsewhere).await.unwrap();
        let mut transaction = stranger.begin().await.unwrap();
        let refused = rig.store.commit_in(&mut transaction, one("a", "k")).await.unwrap_err();
        assert!(matches!(refused, StoreError::Misconfigured(_)), "{refused}");
    }
    let mut transaction = rig.pool.begin().await.unwrap();
    let mut many = Commit::default();
    for n in 0..=MAX_KEYS_IN {
        many.append.extend(one(&n.to_string(), &format!("k/{n}")).append);
    }
    let refused = rig.store.commit_in(&mut transaction, many.clone()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Invalid(_)), "{refused}");
    many.append.pop();
    applied(rig.store.commit_in(&mut transaction, many).await);
    transaction.commit().await.unwrap();
    rig.log(MAX_KEYS_IN).await;
    assert_eq!(rig.store.read(&Selection { limit: 2_000, ..Default::default() }).await.unwrap().len(), MAX_KEYS_IN);
}
