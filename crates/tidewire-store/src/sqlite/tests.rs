//! What only SQLite promises, and the promises of the ports on SQLite.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta};
use tidewire_core::store::{Log, Selection, Upkeep};
use tidewire_core::{
    Append, Clock, Commit, Committed, Draft, Envelope, EventType, Expect, Key, ManualClock, Position, StoreError,
    SystemClock,
};

use super::{SqliteOptions, SqliteStore};
use crate::conformance::{CASES, Rig};

fn start_time() -> DateTime<chrono::Utc> {
    DateTime::from_timestamp(1_790_000_000, 123_456_789).unwrap()
}

async fn open(dir: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(SqliteOptions::new(dir), Arc::new(SystemClock)).await
}

fn event(key: &str) -> Envelope {
    let draft = Draft {
        ty: EventType::new("thing.happened", 1),
        key: Key::new(key).unwrap(),
        data: Some(Bytes::from(format!("{{\"padding\":\"{}\"}}", "x".repeat(900)))),
        datacontenttype: None,
        subject: None,
        id: None,
        correlationid: None,
        expirytime: None,
        dataref: None,
        extensions: Default::default(),
    };
    draft.seal(&SystemClock, "/tests", None)
}

async fn put(store: &SqliteStore, key: &str) -> Result<Committed, StoreError> {
    let event = event(key);
    let append = vec![Append { key: event.key.clone(), expect: Expect::Any, events: vec![event] }];
    store.commit(Commit { append, ..Commit::default() }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_promises_of_the_ports() {
    for (name, case) in CASES {
        println!("{name}");
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(start_time(), 7));
        let store = SqliteStore::open(SqliteOptions::new(dir.path()), clock.clone()).await.unwrap();
        let moved = clock.clone();
        let pass = Arc::new(move |by: Duration| -> futures::future::BoxFuture<'static, ()> {
            moved.advance(TimeDelta::from_std(by).unwrap());
            Box::pin(std::future::ready(()))
        });
        case(Rig { store: Arc::new(store), clock, pass }).await;
    }
}
