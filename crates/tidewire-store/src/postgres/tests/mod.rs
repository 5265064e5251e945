//! What only PostgreSQL promises, and the promises of the ports on PostgreSQL.

mod connections;
mod opening;
mod outcomes;
mod plans;
mod sequencing;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use servers::Postgres;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};
use tidewire_core::store::{Log, Selection};
use tidewire_core::{
    Append, Clock, Commit, Committed, Envelope, EventType, Expect, Key, Position, Recorded, StoreError, SystemClock,
};

use super::{PostgresOptions, PostgresStore};
use crate::conformance::{CASES, Pass, Rig, column};

/// The shared server; none, if it was left out on purpose.
async fn server() -> Option<Arc<Postgres>> {
    if servers::left_out("postgres") {
        println!("left out: PostgreSQL");
        return None;
    }
    Some(servers::postgres().await.unwrap_or_else(|missing| panic!("{missing}")))
}

/// A server of one's own.
async fn own_server(settings: &[(&str, &str)]) -> Option<Postgres> {
    if servers::left_out("postgres") {
        println!("left out: PostgreSQL");
        return None;
    }
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let options = servers::PostgresOptions { settings, ..Default::default() };
    Some(Postgres::start(options).await.unwrap_or_else(|missing| panic!("{missing}")))
}

async fn try_open(url: &str) -> Result<PostgresStore, StoreError> {
    PostgresStore::open(PostgresOptions::new(url), Arc::new(SystemClock)).await
}

async fn open(url: &str) -> Arc<PostgresStore> {
    Arc::new(try_open(url).await.unwrap())
}

/// A connection of somebody else.
async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

async fn execute(connection: &mut PgConnection, text: &'static str) {
    sqlx::raw_sql(text).execute(connection).await.unwrap();
}

async fn number(connection: &mut PgConnection, text: &'static str) -> i64 {
    sqlx::query(text).fetch_one(connection).await.unwrap().get(0)
}

fn event(key: &str) -> Envelope {
    Envelope {
        id: SystemClock.id().to_string(),
        source: "/tests".into(),
        ty: EventType::new("thing.happened", 1),
        subject: None,
        time: SystemClock.now(),
        key: Key::new(key).unwrap(),
        datacontenttype: None,
        dataschema: None,
        data: Some(Bytes::from_static(b"{}")),
        sequence: None,
        correlationid: None,
        causationid: None,
        traceparent: None,
        recordedtime: None,
        expirytime: None,
        dataref: None,
        extensions: Default::default(),
    }
}

fn appending(event: Envelope) -> Commit {
    let append = vec![Append { key: event.key.clone(), expect: Expect::Any, events: vec![event] }];
    Commit { append, ..Commit::default() }
}

async fn put(store: &PostgresStore, key: &str) -> Result<Position, StoreError> {
    match store.commit(appending(event(key))).await? {
        Committed::Applied { last } => Ok(last),
        Committed::Duplicate => panic!("a fresh event cannot be a duplicate"),
    }
}

async fn read_all(store: &PostgresStore) -> Vec<Recorded> {
    let mut found: Vec<Recorded> = Vec::new();
    loop {
        let after = found.last().map_or(Position(0), |last| last.position);
        let page = store.read(&Selection { after, limit: 1_000, ..Default::default() }).await.unwrap();
        if page.is_empty() {
            return found;
        }
        found.extend(page);
    }
}

/// Positions from 1 without a gap, versions of each key from 1 without a gap and in the order of the positions.
fn check_order(log: &[Recorded]) {
    let mut versions = std::collections::HashMap::new();
    for (n, recorded) in (1..).zip(log) {
        assert_eq!(recorded.position, Position(n));
        let last = versions.entry(recorded.envelope.key.clone()).or_insert(0);
        *last += 1;
        assert_eq!(recorded.envelope.sequence, Some(*last), "{} at {n}", recorded.envelope.key);
    }
}

/// Polls until it is so.
async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !is_so().await {
        assert!(tokio::time::Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn rig(server: &Postgres) -> Rig {
    let store = open(&server.database().await).await;
    // The store's time is the server's, which nobody moves.
    let pass: Pass = Arc::new(|by| Box::pin(tokio::time::sleep(by)));
    Rig { store, clock: Arc::new(SystemClock), pass }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_promises_of_the_ports() {
    let Some(server) = server().await else { return };
    let cases = CASES.iter().map(|(name, case)| {
        let server = server.clone();
        async move {
            let rig = rig(&server).await;
            let store = rig.store.clone();
            let kept = tokio::spawn(case(rig)).await;
            store.close().await;
            println!("{} {name}", if kept.is_ok() { "kept" } else { "BROKEN" });
            kept.is_err().then_some(*name)
        }
    });
    let broken: Vec<&str> =
        futures::stream::iter(cases).buffer_unordered(4).filter_map(|broken| async move { broken }).collect().await;
    assert!(broken.is_empty(), "broken: {broken:?}");
    // What `opening` finds on a server with the settings people have; the shared one of the tests is faster and less durable.
    let store = open(&server.database().await).await;
    let mut info = tidewire_core::store::Upkeep::info(store.as_ref()).await.unwrap();
    info.durability = "disk".into();
    servers::columns::keep("store", "postgres", &column(&info, true));
}
