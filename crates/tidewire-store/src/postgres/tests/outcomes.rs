//! Commits whose answers are lost.

use servers::{Close, Proxy};
use tidewire_core::store::{Documents, Inbox};
use tidewire_core::{DocumentWrite, ExpectDocument, Mark, Seen};

use super::super::connect::Session;
use super::super::connect::connect_options;
use super::super::outcome::{Outcome, look_up, started};
use super::super::transaction::{Token, Trace};
use super::super::write::Batch;
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_is_looked_up_by_what_was_written() {
    let Some(server) = server().await else { return };
    let url = server.database().await;
    let store = open(&url).await;
    let written = event("k");
    store.commit(appending(written.clone())).await.unwrap();
    let options = connect_options(&PostgresOptions::new(url.as_str())).unwrap();
    let mut connection = connect(&url).await;
    let run = started(&mut connection).await.unwrap();
    let row = sqlx::query("select batch, xmin::text from tidewire.event").fetch_one(&mut connection).await.unwrap();
    let (batch, xid): (i64, String) = (row.get(0), row.get(1));
    let event = Some((written.id.as_str(), written.source.as_str()));
    let ask = async |xid: &str, batch: Option<i64>, event, run: Option<&str>| {
        let token = Token { trace: Trace::Xid(xid.into()), batch: batch.map(|id| Batch { id, count: 1 }) };
        look_up(&options, &token, event, run).await.unwrap()
    };
    assert_eq!(ask(&xid, Some(batch), event, None).await, Outcome::Committed);
    // Somebody else's transaction under a number that was ours before a crash.
    assert_eq!(ask(&xid, Some(batch + 1), event, run.as_deref()).await, Outcome::Gone);
    assert_eq!(ask(&xid, Some(batch), Some(("other", "/tests")), run.as_deref()).await, Outcome::Gone);
    assert_eq!(ask(&xid, None, None, run.as_deref()).await, Outcome::Committed);
    assert_eq!(ask("999999999999", Some(batch), event, run.as_deref()).await, Outcome::Gone);
    let mut transaction = connection.begin().await.unwrap();
    let open: String =
        sqlx::query("select pg_current_xact_id()::text").fetch_one(&mut *transaction).await.unwrap().get(0);
    let asked = tokio::spawn({
        let (options, open) = (options.clone(), open.clone());
        async move { look_up(&options, &Token { trace: Trace::Xid(open), batch: None }, None, None).await }
    });
    transaction.rollback().await.unwrap();
    assert_eq!(asked.await.unwrap().unwrap(), Outcome::Gone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_of_its_own_is_looked_up_by_its_session_and_its_events() {
    let Some(server) = server().await else { return };
    let url = server.database().await;
    let store = open(&url).await;
    let written = event("k");
    store.commit(appending(written.clone())).await.unwrap();
    let options = connect_options(&PostgresOptions::new(url.as_str())).unwrap();
    let mut connection = connect(&url).await;
    let row = sqlx::query("select batch, recorded from tidewire.event").fetch_one(&mut connection).await.unwrap();
    let (batch, recorded): (i64, chrono::DateTime<chrono::Utc>) = (row.get(0), row.get(1));
    let text =
        "set timezone = 'UTC'; select pid::text, backend_start::text from pg_stat_get_activity(pg_backend_pid())";
    let row = sqlx::raw_sql(text).fetch_one(&mut connection).await.unwrap();
    let session = Session { pid: row.get::<String, _>(0).parse().unwrap(), started: row.get(1), receipt: 1 };
    let token = |recorded| Token { trace: Trace::Session { session: session.clone(), recorded }, batch: None };
    let asked = tokio::spawn({
        let (options, token, id) = (options.clone(), token(recorded), written.id.clone());
        async move { look_up(&options, &token, Some((id.as_str(), "/tests")), None).await.unwrap() }
    });
    // While its session is there it may still happen.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!asked.is_finished());
    connection.close().await.unwrap();
    assert_eq!(asked.await.unwrap(), Outcome::CommittedAs(batch));
    let ask = async |token: Token, id: &str| look_up(&options, &token, Some((id, "/tests")), None).await.unwrap();
    assert_eq!(ask(token(recorded), "other").await, Outcome::Gone);
    // The same event by another commit, which is why ours came to nothing.
    assert_eq!(ask(token(recorded + chrono::TimeDelta::microseconds(1)), &written.id).await, Outcome::Gone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_commit_whose_answer_is_lost_is_told_from_one_that_was_not_made() {
    let Some(server) = server().await else { return };
    let url = server.database().await;
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let store = open(&server.url_through(&url, proxy.addr())).await;
    let direct = open(&url).await;
    let (mut applied, mut refused) = (0, 0);
    for n in 0..40_u64 {
        let event = event(&format!("k/{}", n % 7));
        let document = DocumentWrite {
            collection: "c".into(),
            id: n.to_string(),
            expect: ExpectDocument::Any,
            value: Some(Bytes::from_static(b"{}")),
        };
        let is_event = n % 3 > 0;
        let commit = match is_event {
            true => appending(event.clone()),
            false => Commit { documents: vec![document], ..Commit::default() },
        };
        let committing = {
            let store = store.clone();
            tokio::spawn(async move { store.commit(commit).await })
        };
        tokio::time::sleep(Duration::from_micros(n * 60)).await;
        proxy.cut(Close::Reset);
        let answer = committing.await.unwrap();
        if !is_event {
            let is_there = direct.documents("c", &[n.to_string()]).await.unwrap()[0].is_some();
            match answer {
                Ok(Committed::Applied { .. }) => assert!(is_there, "{n}: it was said to be written"),
                Err(StoreError::Unavailable(_)) => assert!(!is_there, "{n}: it was said not to be written"),
                other => panic!("{n}: {other:?}"),
            }
            continue;
        }
        let selection = Selection { id: Some(event.id), limit: 1, ..Default::default() };
        let found = direct.read(&selection).await.unwrap();
        match answer {
            Ok(Committed::Applied { last }) => {
                applied += 1;
                assert_eq!(found.first().map(|recorded| recorded.position), Some(last), "{n}");
            }
            Err(StoreError::Unavailable(_)) => {
                refused += 1;
                assert!(found.is_empty(), "{n}: it was said not to be written");
            }
            other => panic!("{n}: {other:?}"),
        }
    }
    println!("{applied} applied, {refused} refused");
    assert!(applied > 0);
    check_order(&read_all(&direct).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_told_from_one_that_was_not_made() {
    let Some(server) = server().await else { return };
    let url = server.database().await;
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let through = server.url_through(&url, proxy.addr());
    let store = open(&through).await;
    let direct = open(&url).await;
    let (mut applied, mut refused) = (0, 0);
    for n in 0..30_u64 {
        let cause = event("cause");
        let event = event(&format!("k/{n}"));
        let mark = Mark::of(&cause);
        let commit = Commit {
            seen: vec![Seen { consumer: "h".into(), mark: mark.clone() }],
            documents: vec![DocumentWrite {
                collection: "c".into(),
                id: n.to_string(),
                expect: ExpectDocument::Absent,
                value: Some(Bytes::from_static(b"{}")),
            }],
            ..appending(event.clone())
        };
        let committing = {
            let (store, commit) = (store.clone(), commit.clone());
            tokio::spawn(async move { store.commit(commit).await })
        };
        // At some place between its first statement and its answer.
        tokio::time::sleep(Duration::from_micros(n * 120)).await;
        proxy.cut(Close::Reset);
        let answer = committing.await.unwrap();
        let is_there = direct.seen("h", &[mark]).await.unwrap()[0];
        let document = direct.documents("c", &[n.to_string()]).await.unwrap()[0].is_some();
        assert_eq!(is_there, document);
        match answer {
            Ok(Committed::Applied { last }) => {
                applied += 1;
                assert!(is_there, "{n}: it was said to be written");
                let found =
                    direct.read(&Selection { id: Some(event.id), limit: 1, ..Default::default() }).await.unwrap();
                assert_eq!(found[0].position, last);
            }
            Err(StoreError::Unavailable(_)) => {
                refused += 1;
                assert!(!is_there, "{n}: it was said not to be written");
            }
            other => panic!("{n}: {other:?}"),
        }
    }
    println!("{applied} applied, {refused} refused");
    assert!(applied > 0);
    put(&store, "k").await.unwrap();
}
