//! Opening the file: is it ours, is it whole, and where does everybody stand.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Row, SqliteConnection, SqlitePool};
use tidewire_core::{BrokerError, Clock};
use tokio::time::Instant;

use super::error::{from_io, from_sqlx};
use super::group::Group;
use super::place::{Place, Saved};
use super::reader;
use super::scheduler::{Filter, Scheduler};
use super::schema::{APPLICATION_ID, MIN_SQLITE, PRAGMAS, TABLES, TO_2, VERSION};

/// Readers beside the writer: one for groups that are behind, one for scans.
const READERS: u32 = 2;
/// How many rows travel from a reader's thread at once: one fetch.
const ROW_BUFFER: usize = 256;
/// How long a reader waits for its turn.
const READ_WAIT: Duration = Duration::from_secs(5);
/// How long SQLite waits for a lock of its own. Nobody else has the file, so this is for checkpoints only.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// The file, open, and what it said.
pub(super) struct Opened {
    pub connection: SqliteConnection,
    pub readers: SqlitePool,
    pub head: u64,
    pub names: HashMap<String, i64>,
    pub groups: BTreeMap<String, Arc<Group>>,
    /// Per group: its names as stored and its stored window.
    pub stored: HashMap<i64, (String, usize)>,
    pub damaged: u64,
    /// Names this file.
    pub incarnation: String,
}

/// Opens or creates the file at `path`.
pub(super) async fn open(path: &Path, clock: &dyn Clock) -> Result<Opened, BrokerError> {
    let what = path.display().to_string();
    let (now, fresh) = (clock.now(), clock.id().to_string());
    let new = match std::fs::metadata(path) {
        Ok(file) => file.len() == 0,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => return Err(from_io(&what, &error)),
    };
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .busy_timeout(BUSY_WAIT)
        .disable_statement_logging();
    let mut connection = options.clone().thread_name(|_| "broker-writer".into()).connect().await.map_err(from_sqlx)?;
    check_build(&mut connection).await?;
    if !new {
        check_owner(&mut connection, &what).await?;
    }
    set_pragmas(&mut connection, new).await?;
    if new {
        create(&mut connection).await?;
        sync_directory(path)?;
    }
    let incarnation = name_file(&mut connection, fresh).await?;
    let clean = number(&mut connection, "select clean from meta").await? == 1;
    if !clean {
        tracing::warn!(file = what, "the broker was not closed in order: checking its file");
        check_whole(&mut connection).await?;
    }
    let mut opened = load(connection, readers(options), clean, now).await?;
    opened.incarnation = incarnation;
    mark_open(&mut opened, clean, now).await?;
    Ok(opened)
}

fn readers(options: SqliteConnectOptions) -> SqlitePool {
    let options = options
        .create_if_missing(false)
        .row_buffer_size(ROW_BUFFER)
        .pragma("query_only", "on")
        .pragma("temp_store", "memory")
        .pragma("cell_size_check", "on")
        .pragma("trusted_schema", "off")
        .thread_name(|_| "broker-reader".into());
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(READ_WAIT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

async fn number(connection: &mut SqliteConnection, sql: &'static str) -> Result<i64, BrokerError> {
    sqlx::query(sql).fetch_one(connection).await.and_then(|row| row.try_get(0)).map_err(from_sqlx)
}

async fn check_build(connection: &mut SqliteConnection) -> Result<(), BrokerError> {
    let row = sqlx::query("select sqlite_version()").fetch_one(connection).await.map_err(from_sqlx)?;
    let found: String = row.try_get(0).map_err(from_sqlx)?;
    let mut parts = found.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    if (next(), next(), next()) < MIN_SQLITE {
        let (major, minor, patch) = MIN_SQLITE;
        return Err(BrokerError::Unavailable(format!(
            "this build links SQLite {found}, which can corrupt files; {major}.{minor}.{patch} or later is needed"
        )));
    }
    Ok(())
}

async fn check_owner(connection: &mut SqliteConnection, what: &str) -> Result<(), BrokerError> {
    let application = number(connection, "pragma application_id").await?;
    let version = number(connection, "pragma user_version").await?;
    if application != APPLICATION_ID {
        return Err(BrokerError::Corrupt(format!("{what} is not a broker's file")));
    }
    if version > VERSION {
        return Err(BrokerError::Newer(format!("{what} has version {version}; this build knows up to {VERSION}")));
    }
    if version == 1 {
        return execute(connection, TO_2).await;
    }
    if version < VERSION {
        return Err(BrokerError::Corrupt(format!("{what} has version {version}, which never was")));
    }
    Ok(())
}

/// A file is named once, when it is made (or was made before files had names).
async fn name_file(connection: &mut SqliteConnection, fresh: String) -> Result<String, BrokerError> {
    let sql =
        "update meta set incarnation = case incarnation when '' then ? else incarnation end returning incarnation";
    sqlx::query(sql).bind(fresh).fetch_one(connection).await.and_then(|row| row.try_get(0)).map_err(from_sqlx)
}

async fn set_pragmas(connection: &mut SqliteConnection, new: bool) -> Result<(), BrokerError> {
    if new {
        // Only possible while the file is empty, and it is no longer once the journal mode is set.
        execute(connection, "pragma auto_vacuum = incremental").await?;
    }
    let set: String = PRAGMAS.iter().map(|(name, value, _)| format!("pragma {name} = {value};")).collect();
    execute(connection, set).await?;
    for (name, value, expected) in PRAGMAS {
        let row = sqlx::query(AssertSqlSafe(format!("pragma {name}")))
            .fetch_one(&mut *connection)
            .await
            .map_err(from_sqlx)?;
        // Some answer with a number, some with a word.
        let number = row.try_get::<i64, _>(0).map(|number| number.to_string());
        let found = number.or_else(|_| row.try_get(0)).map_err(from_sqlx)?;
        if found != *expected {
            return Err(BrokerError::Unavailable(format!("pragma {name} = {value} had no effect: it is {found}")));
        }
    }
    Ok(())
}

async fn execute(connection: &mut SqliteConnection, sql: impl Into<String>) -> Result<(), BrokerError> {
    sqlx::query(AssertSqlSafe(sql.into())).persistent(false).execute(connection).await.map_err(from_sqlx)?;
    Ok(())
}

async fn create(connection: &mut SqliteConnection) -> Result<(), BrokerError> {
    let sql = format!(
        "begin immediate; pragma application_id = {APPLICATION_ID}; pragma user_version = {VERSION}; {TABLES} commit;"
    );
    execute(connection, sql).await
}

/// A file is only there after a power loss if its directory entry is.
fn sync_directory(path: &Path) -> Result<(), BrokerError> {
    let Some(directory) = path.parent() else { return Ok(()) };
    let sync = std::fs::File::open(directory).and_then(|directory| directory.sync_all());
    sync.map_err(|error| from_io(&directory.display().to_string(), &error))
}

async fn check_whole(connection: &mut SqliteConnection) -> Result<(), BrokerError> {
    let row = sqlx::query("pragma quick_check(3)").fetch_all(connection).await.map_err(from_sqlx)?;
    let findings: Vec<String> = row.iter().filter_map(|row| row.try_get(0).ok()).collect();
    if findings == ["ok"] { Ok(()) } else { Err(BrokerError::Corrupt(findings.join("; "))) }
}

async fn load(
    mut connection: SqliteConnection,
    readers: SqlitePool,
    clean: bool,
    now: DateTime<Utc>,
) -> Result<Opened, BrokerError> {
    let newest = number(&mut connection, "select coalesce(max(seq), 0) from entry").await?;
    let furthest = number(&mut connection, "select coalesce(max(cursor), 0) from grp").await?;
    let damaged = number(&mut connection, "select count(*) from damaged").await?;
    let mut names = HashMap::new();
    for row in sqlx::query("select id, text from name").fetch_all(&mut connection).await.map_err(from_sqlx)? {
        names.insert(row.try_get(1).map_err(from_sqlx)?, row.try_get(0).map_err(from_sqlx)?);
    }
    let mut opened = Opened {
        connection,
        readers,
        head: newest.max(furthest) as u64,
        names,
        groups: BTreeMap::new(),
        stored: HashMap::new(),
        damaged: damaged as u64,
        incarnation: String::new(),
    };
    let rows = sqlx::query("select id, name, names, window, cursor, beyond, counted, place from grp")
        .fetch_all(&mut opened.connection)
        .await
        .map_err(from_sqlx)?;
    for row in rows {
        let stored = StoredGroup::read(&row).map_err(from_sqlx)?;
        load_group(&mut opened, stored, clean, now).await?;
    }
    Ok(opened)
}

struct StoredGroup {
    id: i64,
    name: String,
    names: String,
    window: i64,
    cursor: i64,
    beyond: i64,
    counted: i64,
    place: Vec<u8>,
}

impl StoredGroup {
    fn read(row: &sqlx::sqlite::SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get(0)?,
            name: row.try_get(1)?,
            names: row.try_get(2)?,
            window: row.try_get(3)?,
            cursor: row.try_get(4)?,
            beyond: row.try_get(5)?,
            counted: row.try_get(6)?,
            place: row.try_get(7)?,
        })
    }
}

async fn load_group(
    opened: &mut Opened,
    group: StoredGroup,
    clean: bool,
    now: DateTime<Utc>,
) -> Result<(), BrokerError> {
    let corrupt = || BrokerError::Corrupt(format!("the place of group `{}` cannot be read", group.name));
    let names: Vec<String> = serde_json::from_str(&group.names).map_err(|_| corrupt())?;
    let filter = filter(&names, &opened.names).ok_or_else(corrupt)?;
    let window = usize::try_from(group.window).map_err(|_| corrupt())?;
    let mut place = Place::decode(group.cursor as u64, &group.place).ok_or_else(corrupt)?;
    let mut beyond = group.beyond as u64 + reader::count(&mut opened.connection, group.counted as u64, &filter).await?;
    if !clean {
        let doubtful = doubt(&mut opened.connection, &mut place, &filter, window).await?;
        beyond = beyond.saturating_sub(doubtful);
    }
    let scheduler = Scheduler::new(window, filter, place, beyond, (Instant::now(), now));
    opened.stored.insert(group.id, (group.names, window));
    opened.groups.insert(group.name.clone(), Arc::new(Group::new(group.id, group.name, scheduler)));
    Ok(())
}

/// After an end without a close: what may have been running is counted as handed out. Returns how many entries
/// were taken from beyond the cursor.
async fn doubt(
    connection: &mut SqliteConnection,
    place: &mut Place,
    filter: &Filter,
    window: usize,
) -> Result<u64, BrokerError> {
    let mut left = window;
    for (_, saved) in place.open.iter_mut().filter(|(_, saved)| !saved.waiting).take(window) {
        saved.attempts = saved.attempts.saturating_add(1);
        left -= 1;
    }
    let beyond = reader::first_after(connection, place.cursor, filter, left).await?;
    place.cursor = beyond.last().copied().unwrap_or(place.cursor);
    place.open.extend(beyond.iter().map(|seq| (*seq, Saved { attempts: 1, ..Saved::default() })));
    Ok(beyond.len() as u64)
}

/// What `names` stand for; `None` if one is not in the dictionary.
pub(super) fn filter(names: &[String], ids: &HashMap<String, i64>) -> Option<Filter> {
    if names.is_empty() {
        return Some(Filter::All);
    }
    names.iter().map(|name| ids.get(name).copied()).collect::<Option<_>>().map(Filter::Names)
}

/// From here on the file is in use, and what is in doubt is on record.
async fn mark_open(opened: &mut Opened, clean: bool, now: DateTime<Utc>) -> Result<(), BrokerError> {
    execute(&mut opened.connection, "begin immediate; update meta set clean = 0;").await?;
    if !clean {
        for group in opened.groups.values() {
            let snapshot = group.scheduler().snapshot(false, (Instant::now(), now));
            sqlx::query("update grp set cursor = ?, beyond = ?, counted = ?, place = ? where id = ?")
                .bind(snapshot.cursor as i64)
                .bind(snapshot.beyond as i64)
                .bind(opened.head as i64)
                .bind(snapshot.open)
                .bind(group.id)
                .execute(&mut opened.connection)
                .await
                .map_err(from_sqlx)?;
            group.scheduler().persisted(true);
        }
    }
    execute(&mut opened.connection, "commit").await
}
