//! Connections: what they set, what they check, and the pools of them.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Row, raw_sql};
use tidewire_core::StoreError;

use super::options::PostgresOptions;

/// How long a connection may take to be made, name look-up and TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a caller waits for a free connection.
const ACQUIRE: Duration = Duration::from_secs(5);
/// How old a connection gets, so that a failover or a new password reaches all of them.
const LIFETIME: Duration = Duration::from_secs(30 * 60);
/// Statements kept prepared: there are about sixty, and reads vary with what they select.
const STATEMENTS: usize = 256;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Migrations: they take as long as they take.
    Migrate,
    /// The writer of groups. A lock that is not there soon is somebody's long transaction: the commits that want it
    /// are moved aside, and the group goes on.
    Group,
    /// Whatever else writes.
    Work,
    /// Reads.
    Read,
}

impl Role {
    /// `lock_timeout` and `statement_timeout`, in milliseconds.
    fn timeouts(self) -> (u32, u32) {
        match self {
            Self::Migrate => (60_000, 0),
            Self::Group => (100, 10_000),
            Self::Work => (1_000, 10_000),
            Self::Read => (1_000, 10_000),
        }
    }

    /// What every session sets. The tables are large or will be, and every statement has an index to go by; without
    /// `enable_seqscan` the planner goes by it even while a table is new and nothing is known about it. A server
    /// that acknowledges before the disk has it is asked not to: what was acknowledged is never lost.
    fn settings(self) -> String {
        let (lock, statement) = self.timeouts();
        let read_only = if self == Self::Read { "on" } else { "off" };
        // Whoever writes gives arrays, which the planner takes for ten rows while it does not see them. It would plan every
        // statement anew each time, for longer than it runs, to find the one plan there is.
        let plans = if matches!(self, Self::Group | Self::Work) { "force_generic_plan" } else { "auto" };
        format!(
            "set lock_timeout = {lock}; set statement_timeout = {statement}; \
             set idle_in_transaction_session_timeout = 30000; set default_transaction_isolation = 'read committed'; \
             set default_transaction_read_only = {read_only}; set enable_seqscan = off; set jit = off; \
             set plan_cache_mode = {plans}; set client_min_messages = error; set timezone = 'UTC'; \
             select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'; \
             select pg_is_in_recovery()::text as replica"
        )
    }
}

/// How to connect.
pub(super) fn connect_options(options: &PostgresOptions) -> Result<PgConnectOptions, StoreError> {
    // The error says what is wrong with the URL without repeating it.
    let parsed = PgConnectOptions::from_str(&options.url)
        .map_err(|error| StoreError::Misconfigured(format!("the URL of the store cannot be used: {error}")))?;
    Ok(parsed
        .application_name(&options.application_name)
        .statement_cache_capacity(STATEMENTS)
        .disable_statement_logging())
}

/// A connection of its own.
pub(super) async fn connect(options: &PgConnectOptions, role: Role) -> Result<PgConnection, sqlx::Error> {
    let connecting = async {
        let mut connection = options.connect().await?;
        prepare(&mut connection, role).await?;
        Ok(connection)
    };
    match tokio::time::timeout(CONNECT, connecting).await {
        Ok(result) => result,
        Err(_) => Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no connection in time"))),
    }
}

/// Settles a session, and refuses a replica: it lags, so what it does not show may be there.
async fn prepare(connection: &mut PgConnection, role: Role) -> Result<(), sqlx::Error> {
    let rows = raw_sql(AssertSqlSafe(role.settings())).fetch_all(connection).await?;
    let replica: Option<String> = rows.last().and_then(|row| row.try_get("replica").ok());
    if replica.as_deref() == Some("false") {
        return Ok(());
    }
    Err(sqlx::Error::Configuration("the server is a read replica; the primary is needed, for reading too".into()))
}

/// A pool of connections for `role`.
///
/// A caller that is cancelled while a transaction begins leaves it open (sqlx 0.9): the next one to get the connection
/// would write into a transaction that nobody commits. So every connection is rolled back when it comes back.
pub(super) fn pool(options: &PgConnectOptions, role: Role, size: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(ACQUIRE)
        .max_lifetime(LIFETIME)
        .after_connect(move |connection, _| Box::pin(prepare(connection, role)))
        .after_release(|connection, _| {
            Box::pin(async move { raw_sql("rollback").execute(connection).await.map(|_| true) })
        })
        .connect_lazy_with(options.clone())
}

/// Who the server knows us as: when this is gone, nothing that was sent over it can happen any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    /// Its process there.
    pub pid: i32,
    /// When that was started, as text: numbers of processes come again.
    pub started: String,
    /// The number of the last receipt that was asked for over it.
    pub receipt: i64,
}

impl Session {
    async fn of(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let text = "select pid::text, backend_start::text from pg_stat_get_activity(pg_backend_pid())";
        let row = raw_sql(text).fetch_one(connection).await?;
        let pid: String = row.try_get(0)?;
        let pid = pid.parse().map_err(|error: std::num::ParseIntError| sqlx::Error::Decode(error.into()))?;
        Ok(Self { pid, started: row.try_get(1)?, receipt: 0 })
    }

    /// What its receipts are filed under.
    pub(super) fn name(&self) -> String {
        format!("{}@{}", self.pid, self.started)
    }
}

/// A connection that is made when it is needed, and again after it was lost.
pub(super) struct Link {
    options: PgConnectOptions,
    role: Role,
    connection: Option<PgConnection>,
    session: Option<Session>,
}

impl Link {
    pub(super) fn new(options: PgConnectOptions, role: Role) -> Self {
        Self { options, role, connection: None, session: None }
    }

    /// The connection.
    pub(super) async fn get(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        if self.connection.is_none() {
            self.session = None;
            self.connection = Some(connect(&self.options, self.role).await?);
        }
        // It was just put there.
        self.connection.as_mut().ok_or(sqlx::Error::WorkerCrashed)
    }

    /// The connection, and who it is to the server.
    pub(super) async fn get_known(&mut self) -> Result<(&mut PgConnection, &mut Session), sqlx::Error> {
        self.get().await?;
        let connection = self.connection.as_mut().ok_or(sqlx::Error::WorkerCrashed)?;
        let session = match &mut self.session {
            Some(session) => session,
            unknown => unknown.insert(Session::of(connection).await?),
        };
        Ok((connection, session))
    }

    /// Gives the connection up: it is lost, or in a state nobody knows.
    pub(super) fn drop_connection(&mut self) {
        (self.connection, self.session) = (None, None);
    }

    /// Ends a transaction that failed; without one nothing happens.
    pub(super) async fn roll_back(&mut self) {
        if let Some(connection) = &mut self.connection
            && raw_sql("rollback").execute(connection).await.is_err()
        {
            self.drop_connection();
        }
    }

    /// Says good-bye to the server.
    pub(super) async fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            let _ = sqlx::Connection::close(connection).await;
        }
    }
}
