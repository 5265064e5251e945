//! What only SQLite promises, and the promises of the ports on SQLite.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta};
use tidewire_core::store::{Log, Selection, Upkeep};
use tidewire_core::{
    Append, Clock as _, Commit, Committed, Draft, Envelope, EventType, Expect, Key, ManualClock, Position, StoreError,
    SystemClock,
};

use super::migrate::SCHEMA;
use super::{SqliteOptions, SqliteStore};
use crate::conformance::{CASES, Rig, column};

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
    let dir = tempfile::tempdir().unwrap();
    let info = open(dir.path()).await.unwrap().info().await.unwrap();
    servers::columns::keep("store", "sqlite", &column(&info, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_everything_when_it_is_not_closed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log_id, mut last) = (String::new(), 0);
    for round in 0..3 {
        let store = open(dir.path()).await.unwrap();
        let info = store.info().await.unwrap();
        assert_eq!(info.head, Position(last));
        assert!(round == 0 || info.log_id == log_id);
        log_id = info.log_id;
        for n in 0..10 {
            put(&store, &format!("k/{n}")).await.unwrap();
        }
        last += 10;
        if round == 1 {
            store.close().await;
        }
    }
    let store = open(dir.path()).await.unwrap();
    let found = store.read(&Selection { limit: 100, ..Default::default() }).await.unwrap();
    assert_eq!(found.len(), 30);
    assert_eq!(found[29].envelope.sequence, Some(3));
    assert_eq!(store.durability(), store.info().await.unwrap().durability);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let lock = dir.path().join("log.lock");
    let text = std::fs::read_to_string(&lock).unwrap();
    assert!(text.contains(&std::process::id().to_string()), "{text}");
    // As another process would have left it.
    std::fs::write(&lock, "pid 4711\nopen\n").unwrap();
    let refused = open(dir.path()).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Locked(text) if text.contains("4711")), "{refused}");
    put(&store, "k").await.unwrap();
    store.close().await;
    open(dir.path()).await.unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_schema_and_foreign_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).await.unwrap().close().await;
    let file = dir.path().join("log.db");
    execute(&file, "pragma user_version = 999").await;
    assert!(matches!(open(dir.path()).await, Err(StoreError::Newer { found: 999, known }) if known == SCHEMA));
    execute(&file, "pragma user_version = 1; pragma application_id = 1").await;
    assert!(matches!(open(dir.path()).await, Err(StoreError::Corrupt(text)) if text.contains("not a Tidewire log")));

    std::fs::write(&file, "this is no database, however long it may be".repeat(100)).unwrap();
    let _ = std::fs::remove_file(dir.path().join("log.db-wal"));
    assert!(matches!(open(dir.path()).await, Err(StoreError::Corrupt(_))));

    let a_file = dir.path().join("file");
    std::fs::write(&a_file, "").unwrap();
    assert!(matches!(open(&a_file).await, Err(StoreError::Unavailable(text)) if text.contains("is a file")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unfinished_creation_is_started_over() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("log.new"), "half of a database").unwrap();
    std::fs::write(dir.path().join("log.lock"), "pid 1\nopen\n").unwrap();
    std::fs::write(dir.path().join("log.db"), "").unwrap();
    let store = open(dir.path()).await.unwrap();
    put(&store, "k").await.unwrap();
    assert!(!dir.path().join("log.new").exists());
}

async fn execute(file: &Path, text: &'static str) {
    use sqlx::{Connection, sqlite::SqliteConnection};
    let mut connection = SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    sqlx::raw_sql(text).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Every way of looking at a store, stopping at the first error.
async fn look_everywhere(store: &SqliteStore) -> Result<(), StoreError> {
    use tidewire_core::Mark;
    use tidewire_core::store::{DocumentQuery, Documents, Inbox, ParkedQuery, Parking, Schedule};
    let names = ["thing.happened".to_owned()];
    let events = store.read(&Selection { limit: 10_000, ..Default::default() }).await?;
    for n in 0..20 {
        store.stream(&Key::of("k", n), 0, 100).await?;
    }
    store.types().await?;
    store.seen("h", &events.iter().map(|r| Mark::of(&r.envelope)).collect::<Vec<_>>()).await?;
    store.unhandled("h", &names, Position(1_000), 10).await?;
    store.list(&DocumentQuery { collection: "c".into(), limit: 100, ..Default::default() }).await?;
    store.parked(&ParkedQuery { limit: 100, ..Default::default() }).await?;
    store.next_due(&names).await?;
    put(store, "k/1").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_refused_or_reported_and_never_read_as_data() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    for n in 0..200 {
        put(&store, &format!("k/{}", n % 20)).await.unwrap();
    }
    let before = store.read(&Selection { limit: 1_000, ..Default::default() }).await.unwrap();
    store.close().await;
    let good = std::fs::read(dir.path().join("log.db")).unwrap();
    let clock = ManualClock::new(start_time(), 42);
    let mut reported = 0;
    for round in 0..60_u64 {
        let damaged = tempfile::tempdir().unwrap();
        let mut bytes = good.clone();
        for _ in 0..1 + round % 8 {
            let at = clock.random() as usize % bytes.len();
            bytes[at] ^= 1 << (clock.random() % 8);
        }
        if round % 10 == 9 {
            bytes.truncate(clock.random() as usize % bytes.len());
        }
        std::fs::write(damaged.path().join("log.db"), &bytes).unwrap();
        std::fs::write(damaged.path().join("log.lock"), "pid 1\nopen\n").unwrap();
        let outcome = match open(damaged.path()).await {
            Err(error) => Err(error),
            Ok(store) => {
                // What is read is what was written, or an error.
                if let Ok(found) = store.read(&Selection { limit: 1_000, ..Default::default() }).await {
                    assert!(found.iter().zip(&before).all(|(found, before)| found == before), "round {round}");
                }
                let outcome = look_everywhere(&store).await;
                store.close().await;
                outcome
            }
        };
        reported += u32::from(outcome.is_err());
    }
    assert!(reported > 20, "only {reported} of 60 damaged files were noticed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_record_is_named_by_its_position() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    for _ in 0..3 {
        put(&store, "k").await.unwrap();
    }
    store.close().await;
    execute(&dir.path().join("log.db"), "update event set data = x'7b7d' where position = 2").await;
    let store = open(dir.path()).await.unwrap();
    let found = store.read(&Selection { limit: 10, ..Default::default() }).await;
    assert!(matches!(&found, Err(StoreError::Corrupt(text)) if text.contains("position 2")), "{found:?}");
    let after = store.read(&Selection { after: Position(2), limit: 10, ..Default::default() }).await.unwrap();
    assert_eq!(after.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_directory_is_said_to_be_one() {
    let Some(mounted) = Mounted::new("ro") else { return };
    let refused = open(&mounted.path().join("log")).await.unwrap_err();
    assert!(matches!(refused, StoreError::ReadOnly(_)), "{refused}");
    let refused = open(mounted.path()).await.unwrap_err();
    assert!(matches!(refused, StoreError::ReadOnly(_)), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_commits_until_there_is_room() {
    let Some(mounted) = Mounted::new("size=3m") else { return };
    let ballast = mounted.path().join("ballast");
    std::fs::write(&ballast, vec![1u8; 1 << 20]).unwrap();
    let store = open(&mounted.path().join("log")).await.unwrap();
    assert_eq!(store.durability(), "mem");
    let mut written = 0;
    let refused = loop {
        match put(&store, "k").await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 10_000, "the disk never filled up");
    };
    assert!(matches!(refused, StoreError::Full(_)), "{refused:?}");
    assert_eq!(store.head().await.unwrap(), Position(written));
    assert!(store.ping().await.is_err());
    let found = store.read(&Selection { limit: 10_000, ..Default::default() }).await.unwrap();
    assert_eq!(found.len() as u64, written);
    std::fs::remove_file(&ballast).unwrap();
    assert_eq!(put(&store, "k").await.unwrap(), Committed::Applied { last: Position(written + 1) });
    store.ping().await.unwrap();
    store.close().await;
    let store = open(&mounted.path().join("log")).await.unwrap();
    assert_eq!(store.head().await.unwrap(), Position(written + 1));
    store.close().await;
}

/// A small file system of its own; only root can mount one.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(options: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mount =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir.path()).output();
        if mount.is_ok_and(|done| done.status.success()) {
            return Some(Self(dir));
        }
        println!("skipped: no file system can be mounted here");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_back_breaks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(start_time(), 1));
    let store = SqliteStore::open(SqliteOptions::new(dir.path()), clock.clone()).await.unwrap();
    for _ in 0..3 {
        put(&store, "k").await.unwrap();
        clock.advance(TimeDelta::days(-1));
    }
    let found = store.read(&Selection { limit: 10, ..Default::default() }).await.unwrap();
    assert_eq!(found.iter().map(|r| r.position.0).collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_statement_of_the_writer_finds_its_rows_by_an_index() {
    use sqlx::sqlite::SqliteConnection;
    use sqlx::{AssertSqlSafe, Connection, Row};
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).await.unwrap().close().await;
    let url = format!("sqlite:{}", dir.path().join("log.db").display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let tables = ["stream", "event", "consumer", "inbox", "document", "parked", "timer", "effect", "lease", "snapshot"];
    // Aliases under which the statements know them.
    let aliases = ["i", "p", "a", "e", "d", "t", "s", "inbox_attempt"];
    for rows in super::lookup::ALL.iter().chain(&super::write::ALL) {
        let text = format!("explain query plan {}", rows.text(8));
        let plan = sqlx::query(AssertSqlSafe(text)).fetch_all(&mut connection).await.unwrap();
        for row in plan {
            let step: String = row.try_get("detail").unwrap();
            let walked = step.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
            assert!(!tables.contains(&walked) && !aliases.contains(&walked), "{step}: {}", rows.text(1));
        }
    }
}
