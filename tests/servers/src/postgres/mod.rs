//! PostgreSQL: throw-away clusters, and fresh databases in them.

mod processes;
mod program;
mod url;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use tokio::sync::OnceCell;

use crate::daemon::{Daemon, END};
use crate::environment::{existing, path};
use crate::folder::{Folder, User, hex, random};
use crate::missing::Missing;
use crate::port::free_port;
use crate::program::{Toolbox, run, run_on};
use crate::watch::Watch;

use processes::{children, is_left};
use url::Url;

const VARIABLE: &str = "TIDEWIRE_TEST_POSTGRES_URL";
const REMEDY: &str = "get it with `apt-get install postgresql` (15 or later), or name a running one in \
                      TIDEWIRE_TEST_POSTGRES_URL (a role that may create databases), or leave it out with \
                      TIDEWIRE_TEST_WITHOUT=postgres";

/// How long a cluster may take to be ready, recovery included, on a machine that compiles beside it.
const START: Duration = Duration::from_secs(60);

/// How long a statement of ours may take.
const STATEMENT: Duration = Duration::from_secs(60);

/// How often a cluster is tried at other ports, because somebody else was quicker.
const TRIES: usize = 4;

/// What a cluster of one's own is like.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Whether a commit is on disk when it returns (`fsync`, `full_page_writes`). The default; without it a
    /// cluster is quicker, and still survives whatever is done to its processes.
    pub durable: bool,
    /// `max_connections`.
    pub max_connections: u32,
    /// More settings, by name.
    pub settings: Vec<(String, String)>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self { durable: true, max_connections: 200, settings: Vec::new() }
    }
}

/// A PostgreSQL server.
pub struct Postgres {
    url: Url,
    programs: PathBuf,
    databases: AtomicU32,
    cluster: Option<Cluster>,
}

/// What only a server that we started has.
struct Cluster {
    daemon: Daemon,
    watch: &'static Watch,
    _folder: Folder,
}

/// The shared one of this process, for logic: it does not wait for the disk. Every test takes a fresh
/// [`Postgres::database`].
pub async fn postgres() -> Result<Arc<Postgres>, Missing> {
    static SHARED: OnceCell<Result<Arc<Postgres>, Missing>> = OnceCell::const_new();
    let start = || async {
        match existing(VARIABLE) {
            Some(url) => Postgres::existing(&url).await.map(Arc::new).map_err(missing),
            None => Postgres::start(PostgresOptions { durable: false, ..Default::default() }).await.map(Arc::new),
        }
    };
    SHARED.get_or_init(start).await.clone()
}

impl Postgres {
    /// Starts one of one's own.
    pub async fn start(options: PostgresOptions) -> Result<Self, Missing> {
        Self::start_with(Toolbox::of_the_machine(), options).await.map_err(missing)
    }

    async fn start_with(toolbox: Toolbox, options: PostgresOptions) -> Result<Self, String> {
        let programs = programs(toolbox).await?;
        let mut why = String::new();
        for _ in 0..TRIES {
            let server = {
                let (programs, options) = (programs.clone(), options.clone());
                let prepared = tokio::task::spawn_blocking(move || Self::prepare(programs, &options));
                prepared.await.map_err(|error| error.to_string())??
            };
            server.own().daemon.start().map_err(|error| error.to_string())?;
            match server.ready().await {
                Ok(()) => return Ok(server),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    async fn existing(url: &str) -> Result<Self, String> {
        let url = Url::parse(url).ok_or_else(|| format!("{VARIABLE} is not a URL of PostgreSQL"))?;
        let programs = programs(Toolbox { may_install: false, ..Toolbox::of_the_machine() }).await?;
        Ok(Self { url, programs, databases: AtomicU32::new(0), cluster: None })
    }

    /// A cluster that does not run yet.
    fn prepare(programs: PathBuf, options: &PostgresOptions) -> Result<Self, String> {
        let failed = |error: std::io::Error| error.to_string();
        let watch = Watch::get()?;
        let user = program::user()?;
        let folder = Folder::fresh(watch, "postgres", user).map_err(failed)?;
        let data = folder.path().join("data");
        let password = hex(&random::<16>());
        create(&programs, folder.path(), &data, user, &password)?;
        let port = free_port();
        let arguments = arguments(&data, port, options);
        let server = programs.join("postgres");
        let daemon = Daemon::new(watch, folder.path().join("postgres.log"), move || {
            let mut command = as_user(&server, user);
            command.args(&arguments);
            command
        });
        let url = Url::new("postgres", &password, port);
        let cluster = Cluster { daemon, watch, _folder: folder };
        Ok(Self { url, programs, databases: AtomicU32::new(0), cluster: Some(cluster) })
    }

    /// A fresh and empty database: its URL, with the password in it.
    ///
    /// # Panics
    /// When it cannot be created.
    pub async fn database(&self) -> String {
        let name = format!("tidewire_test_{}_{}", self.databases.fetch_add(1, Ordering::Relaxed), hex(&random::<4>()));
        self.execute(&format!("create database {name}")).await;
        self.url.with_database(&name)
    }

    /// The URL of the database that is always there, with the password in it.
    pub fn url(&self) -> String {
        self.url.to_string()
    }

    /// Where clients connect, as an address on this machine.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.url.port))
    }

    /// A URL of this server, at another address: that of a proxy in front of it.
    ///
    /// # Panics
    /// When `url` is not one that this server gave out.
    pub fn url_through(&self, url: &str, addr: SocketAddr) -> String {
        let mut url = Url::parse(url).expect("a URL of this server");
        (url.host, url.port) = (addr.ip().to_string(), addr.port());
        url.to_string()
    }

    /// Runs statements on the database that is always there, and answers their rows: columns by `|`, rows by lines.
    ///
    /// # Panics
    /// When they fail.
    pub async fn execute(&self, sql: &str) -> String {
        self.try_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Runs a script in the database of a URL that this server gave out, as psql does: statement by statement, each a
    /// transaction of its own unless the script says otherwise, up to the first that fails. Answers the rows: columns
    /// by `|`, rows by lines.
    pub async fn script(&self, url: &str, sql: &str) -> Result<String, String> {
        let url = Url::parse(url).ok_or("not a URL of PostgreSQL")?;
        let (command, sql) = (self.psql(&url), sql.to_owned());
        let ran = tokio::task::spawn_blocking(move || run_on(sql, command, STATEMENT));
        ran.await.map_err(|error| error.to_string())?
    }

    /// The folder of the programs (`psql`, `pgbench`, ...) that belong to this server.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// The server's process id, if it runs.
    ///
    /// # Panics
    /// For a server that was named in the environment, as everything below.
    pub fn pid(&self) -> Option<u32> {
        self.own().daemon.pid().and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok())
    }

    /// What it logged, in all its lives.
    pub fn log(&self) -> String {
        self.own().daemon.log()
    }

    /// `-m immediate`: every process of it ends on the spot, as when the power fails, and the next start recovers.
    pub async fn stop_immediate(&self) {
        self.own().daemon.end(Signal::QUIT).await;
    }

    /// `-m fast`: transactions are rolled back, connections closed.
    pub async fn stop(&self) {
        self.own().daemon.end(Signal::INT).await;
    }

    /// SIGKILL for every process of it, and waits for the end.
    pub async fn kill(&self) {
        let daemon = &self.own().daemon;
        // Stopped first, or it would replace what is killed before it.
        daemon.signal(Signal::STOP);
        let children = daemon.pid().map(children).unwrap_or_default();
        daemon.end(Signal::KILL).await;
        for child in &children {
            let _ = kill_process(*child, Signal::KILL);
        }
        let deadline = Instant::now() + END;
        while children.iter().any(|child| is_left(*child)) {
            assert!(Instant::now() < deadline, "PostgreSQL's processes did not end within {END:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops it (fast) if it runs, and starts it again on the same port and data. Returns when it is ready.
    pub async fn restart(&self) {
        self.stop().await;
        self.start_again().await;
    }

    /// Starts it on the same port and data, after any end. Returns when it has recovered.
    pub async fn start_again(&self) {
        self.own().daemon.start().expect("it started before");
        self.ready().await.unwrap_or_else(|error| panic!("PostgreSQL does not start again: {error}"));
    }

    /// SIGSTOP for every process of it: connections stay open and nothing answers.
    pub fn pause(&self) {
        let Cluster { daemon, watch, .. } = self.own();
        daemon.signal(Signal::STOP);
        for child in daemon.pid().map(children).unwrap_or_default() {
            watch.resume_at_end(child.as_raw_nonzero().get()).expect("the watchdog listens");
            let _ = kill_process(child, Signal::STOP);
        }
    }

    /// SIGCONT for every process of it.
    pub fn resume(&self) {
        let daemon = &self.own().daemon;
        for child in daemon.pid().map(children).unwrap_or_default() {
            let _ = kill_process(child, Signal::CONT);
        }
        daemon.signal(Signal::CONT);
    }

    fn own(&self) -> &Cluster {
        self.cluster.as_ref().expect("a server named in the environment is somebody's: it is not to be hurt")
    }

    async fn ready(&self) -> Result<(), String> {
        // Only our own server knows our password.
        self.own().daemon.ready(START, || async { self.try_execute("select 1").await.is_ok() }).await
    }

    async fn try_execute(&self, sql: &str) -> Result<String, String> {
        let mut command = self.psql(&self.url);
        command.args(["-c", sql]);
        let ran = tokio::task::spawn_blocking(move || run(command, STATEMENT));
        ran.await.map_err(|error| error.to_string())?
    }

    fn psql(&self, url: &Url) -> Command {
        let mut command = Command::new(self.programs.join("psql"));
        // The password goes by the environment: arguments can be read by everyone on the machine.
        command.env_clear().env("PATH", path()).env("PGPASSWORD", &url.password).env("PGCONNECT_TIMEOUT", "5");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &url.without_password()]);
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Its children end with it, paused or not; stopped first, or it would replace them.
        self.daemon.signal(Signal::STOP);
        for child in self.daemon.pid().map(children).unwrap_or_default() {
            let _ = kill_process(child, Signal::KILL);
        }
    }
}

fn missing(why: String) -> Missing {
    Missing::new("PostgreSQL", REMEDY, why)
}

async fn programs(toolbox: Toolbox) -> Result<PathBuf, String> {
    tokio::task::spawn_blocking(move || program::get(&toolbox)).await.map_err(|error| error.to_string())?
}

/// A command with a clean environment, as that user.
fn as_user(program: &Path, user: Option<User>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", path()).env("LC_ALL", "C").current_dir("/");
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    command
}

/// Creates the cluster's files. Text sorts as people sort where the build can do that, as in most productions:
/// whoever relies on the order of bytes has to say so.
fn create(programs: &Path, folder: &Path, data: &Path, user: Option<User>, password: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let file = folder.join("password");
    fs::write(&file, password).map_err(failed)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    if let Some(user) = user {
        chown(&file, Some(user.uid), Some(user.gid)).map_err(failed)?;
    }
    let initdb = |locale: &[&str]| {
        let mut command = as_user(&programs.join("initdb"), user);
        command.arg("-D").arg(data).arg(format!("--pwfile={}", file.display())).args(locale);
        command.args(["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--no-sync"]);
        run(command, START)
    };
    initdb(&["--locale=C", "--locale-provider=icu", "--icu-locale=en"]).or_else(|_| initdb(&["--locale=C"]))?;
    fs::remove_file(&file).map_err(failed)
}

fn arguments(data: &Path, port: u16, options: &PostgresOptions) -> Vec<String> {
    let mut settings = vec![
        ("listen_addresses".to_owned(), "127.0.0.1".to_owned()),
        ("port".into(), port.to_string()),
        ("unix_socket_directories".into(), String::new()),
        ("max_connections".into(), options.max_connections.to_string()),
        ("log_line_prefix".into(), "%m [%p] ".into()),
    ];
    if !options.durable {
        settings.extend([("fsync".into(), "off".into()), ("full_page_writes".into(), "off".into())]);
    }
    settings.extend(options.settings.iter().cloned());
    let named = settings.into_iter().flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]);
    ["-D".to_owned(), data.display().to_string()].into_iter().chain(named).collect()
}

#[cfg(test)]
mod tests;
