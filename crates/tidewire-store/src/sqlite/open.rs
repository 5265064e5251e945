//! Opening: the directory, the lock, the file, its settings, its health.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Row, query};
use tidewire_core::{Clock, Position, StoreError};
use tokio::sync::{mpsc, watch};

use super::error::{classify, file};
use super::lock::{LastEnd, Lock};
use super::migrate::{migrate, pragma};
use super::options::SqliteOptions;
use super::parking::Tally;
use super::state;
use super::store::SqliteStore;
use super::writer::Writer;

/// The oldest SQLite we trust: before it, two connections that reset the write-ahead log at the same moment could
/// lose a commit.
const OLDEST_SQLITE: (u32, u32, u32) = (3, 51, 3);
/// How long a connection waits for a lock of another one.
const BUSY: Duration = Duration::from_secs(5);
/// How long a reader waits for a free connection.
const ACQUIRE: Duration = Duration::from_secs(5);
/// How many rows travel from a connection's thread at once.
const ROW_BUFFER: usize = 512;
/// Statements kept prepared by the writer: its texts come in nine sizes.
const STATEMENTS: usize = 256;
/// Pages in the write-ahead log after which a commit moves them into the file (4 MiB).
const AUTOCHECKPOINT: &str = "1000";
/// What the write-ahead log is cut to when it starts over, in bytes.
const JOURNAL_LIMIT: &str = "67108864";

impl SqliteStore {
    /// Opens the log in `options.dir`, creating it if there is none. To be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`StoreError::Locked`]: another process has it open (it is named). [`StoreError::ReadOnly`],
    /// [`StoreError::Full`]: the directory cannot be written. [`StoreError::Newer`]: written by a newer build.
    /// [`StoreError::Corrupt`]: not a log, or a damaged one; the files are left as they are.
    /// [`StoreError::Unavailable`]: anything else about the directory.
    pub async fn open(options: SqliteOptions, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let dir = options.dir.clone();
        let prepared = tokio::task::spawn_blocking(move || prepare(&dir)).await;
        let (lock, last_end, durability) = prepared.map_err(|error| StoreError::Unavailable(error.to_string()))??;
        let path = options.dir.join("log.db");
        if std::fs::metadata(&path).map_or(true, |found| found.len() == 0) {
            create(&path, clock.as_ref()).await?;
        }
        let connect = connect_options(&path);
        let mut connection = connect.clone().connect().await.map_err(classify)?;
        check_version(&mut connection).await?;
        check_settings(&mut connection).await?;
        if last_end == LastEnd::Unclean {
            check_pages(&mut connection, &path).await?;
        }
        migrate(&mut connection, &path.display().to_string()).await?;
        let log_id = log_id(&mut connection).await?;
        let state = state::load(&mut connection).await?;
        let (head, head_seen) = watch::channel(Position(state.head));
        let (requests, receiver) = mpsc::channel(options.queue.max(1));
        let parking = Arc::new(Tally::new(state.parked));
        let writer = Writer {
            connection,
            state: Some(state),
            clock,
            head,
            lock,
            group_commits: options.group_commits.max(1),
            group_bytes: options.group_bytes,
            on_flush: options.on_flush,
            parking: parking.clone(),
            flush: Duration::ZERO,
            stopped: None,
            failing: false,
        };
        let readers = readers(connect, &options);
        tokio::spawn(writer.run(receiver));
        Ok(Self::new(requests, readers, head_seen, path, log_id, durability, parking))
    }
}

/// The part that blocks: the directory and the lock.
fn prepare(dir: &Path) -> Result<(Lock, LastEnd, &'static str), StoreError> {
    match std::fs::metadata(dir) {
        Ok(found) if !found.is_dir() => {
            return Err(StoreError::Unavailable(format!("{} is a file; expected a directory", dir.display())));
        }
        Ok(_) => {}
        Err(_) => {
            std::fs::create_dir_all(dir).map_err(|error| file("create", dir, &error))?;
            if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                sync_dir(parent)?;
            }
        }
    }
    let (lock, last_end) = Lock::take(&dir.join("log.lock"))?;
    Ok((lock, last_end, durability(dir)))
}

/// A file that was created is only there after a power loss once its directory was written too.
fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| file("sync", dir, &error))
}

/// `synchronous` is checked elsewhere; what remains is whether the directory is on a disk at all.
fn durability(dir: &Path) -> &'static str {
    #[cfg(target_os = "linux")]
    {
        /// `TMPFS_MAGIC` and `RAMFS_MAGIC`.
        const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
        if rustix::fs::statfs(dir).is_ok_and(|found| IN_MEMORY.contains(&(found.f_type as u64))) {
            return "mem";
        }
    }
    let _ = dir;
    "disk"
}

fn connect_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .pragma("temp_store", "memory")
        .pragma("mmap_size", "0")
        .pragma("wal_autocheckpoint", AUTOCHECKPOINT)
        .pragma("journal_size_limit", JOURNAL_LIMIT)
        .pragma("cell_size_check", "on")
        .pragma("trusted_schema", "off")
        .pragma("fullfsync", "on")
        .pragma("checkpoint_fullfsync", "on")
        .busy_timeout(BUSY)
        .statement_cache_capacity(STATEMENTS)
        .row_buffer_size(ROW_BUFFER)
        .disable_statement_logging()
}

fn readers(connect: SqliteConnectOptions, options: &SqliteOptions) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(options.readers.clamp(1, 64))
        .acquire_timeout(ACQUIRE)
        // A connection to a file does not go away by itself.
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(connect.pragma("query_only", "on"))
}

async fn check_version(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let row = query("select sqlite_version()").fetch_one(connection).await.map_err(classify)?;
    let text: String = row.try_get(0).map_err(classify)?;
    let mut parts = text.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let found = (parts.next().unwrap_or(0), parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if found < OLDEST_SQLITE {
        let (major, minor, patch) = OLDEST_SQLITE;
        return Err(StoreError::Unavailable(format!(
            "SQLite {text} is too old: {major}.{minor}.{patch} or later is needed"
        )));
    }
    Ok(())
}

/// Settings are wishes until they are read back.
async fn check_settings(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let row = query("pragma journal_mode").fetch_one(&mut *connection).await.map_err(classify)?;
    let journal: String = row.try_get(0).map_err(classify)?;
    if journal != "wal" {
        return Err(StoreError::Unavailable(format!(
            "the file system allows no write-ahead log (journal mode {journal})"
        )));
    }
    let expected = [
        ("pragma synchronous", 2),
        ("pragma auto_vacuum", 2),
        ("pragma foreign_keys", 1),
        ("pragma temp_store", 2),
        ("pragma cell_size_check", 1),
        ("pragma trusted_schema", 0),
        ("pragma wal_autocheckpoint", 1000),
        ("pragma journal_size_limit", 67_108_864),
    ];
    for (text, expected) in expected {
        let found = pragma(connection, text).await?;
        if found != expected {
            return Err(StoreError::Unavailable(format!("SQLite did not take `{text} = {expected}`: it is {found}")));
        }
    }
    Ok(())
}

/// After an unclean end: whether every page is in order.
async fn check_pages(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let found = query("pragma quick_check(5)").fetch_all(connection).await.map_err(classify)?;
    let lines: Vec<String> = found.iter().filter_map(|row| row.try_get(0).ok()).collect();
    if lines == ["ok"] {
        return Ok(());
    }
    Err(StoreError::Corrupt(format!(
        "{} is damaged ({}); keep the file, and restore the last backup into an empty directory",
        path.display(),
        lines.join("; ")
    )))
}

/// Makes a new log beside its place, and moves it there when it is whole: a file that is there is a log, even
/// after a power loss in the middle of this.
async fn create(path: &Path, clock: &dyn Clock) -> Result<(), StoreError> {
    let unfinished = path.with_extension("new");
    for leftover in [unfinished.clone(), unfinished.with_extension("new-wal"), unfinished.with_extension("new-shm")] {
        match std::fs::remove_file(&leftover) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(file("remove", &leftover, &error));
            }
            _ => {}
        }
    }
    let connect = SqliteConnectOptions::new().filename(&unfinished).create_if_missing(true);
    // Nothing of this counts until it is moved, so one sync at the end will do. `auto_vacuum` is set here only:
    // setting it is a write, even to what it already is, and a reader must not need room to open.
    let connect = connect
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Memory)
        .synchronous(SqliteSynchronous::Off);
    let mut connection = connect.connect().await.map_err(classify)?;
    migrate(&mut connection, &unfinished.display().to_string()).await?;
    query("insert into meta (name, value) values ('log_id', ?)")
        .bind(clock.id().to_string())
        .execute(&mut connection)
        .await
        .map_err(classify)?;
    query("pragma journal_mode = wal").execute(&mut connection).await.map_err(classify)?;
    connection.close().await.map_err(classify)?;
    let moved =
        File::open(&unfinished).and_then(|file| file.sync_all()).and_then(|()| std::fs::rename(&unfinished, path));
    moved.map_err(|error| file("create", path, &error))?;
    sync_dir(path.parent().unwrap_or(path))
}

/// The identity of the log, drawn when it was created.
async fn log_id(connection: &mut SqliteConnection) -> Result<String, StoreError> {
    let row = query("select value from meta where name = 'log_id'").fetch_one(connection).await.map_err(classify)?;
    row.try_get(0).map_err(classify)
}

/// The files of a log, as far as they exist.
pub(super) fn files(path: &Path) -> [PathBuf; 2] {
    [path.to_owned(), path.with_extension("db-wal")]
}
