//! Apache Kafka: one node that is broker and controller.

mod program;
mod wire;

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::OnceCell;

use crate::daemon::Daemon;
use crate::environment::{existing, path};
use crate::folder::Folder;
use crate::missing::Missing;
use crate::port::free_port;
use crate::program::{Toolbox, run};
use crate::watch::Watch;

use program::Program;

const VARIABLE: &str = "TIDEWIRE_TEST_KAFKA_BROKERS";
const REMEDY: &str = "get it by installing Java 17 and Maven (`apt-get install default-jre-headless maven`), or name \
                      a running one in TIDEWIRE_TEST_KAFKA_BROKERS, or leave it out with TIDEWIRE_TEST_WITHOUT=kafka";

/// How long a node may take to be ready, on a machine that compiles beside it.
const START: Duration = Duration::from_secs(90);

/// How often a node is tried at other ports, because somebody else was quicker.
const TRIES: usize = 3;

/// The name of every cluster we format: 16 bytes in base64.
const CLUSTER: &str = "dGlkZXdpcmUtdGVzdHMtMQ";

/// For a machine with two cores that compiles: quick to start, small, one thread to collect garbage.
const JAVA: [&str; 4] = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"];

/// What a node of one's own is like.
#[derive(Clone, Debug, Default)]
pub struct KafkaOptions {
    /// The port to listen on, instead of any free one.
    pub port: Option<u16>,
    /// Where clients are told to connect, instead of to the node itself: a proxy in front of it.
    pub advertised: Option<SocketAddr>,
    /// More settings of `server.properties`, by name.
    pub settings: Vec<(String, String)>,
}

/// An Apache Kafka server.
pub struct Kafka {
    brokers: String,
    port: u16,
    node: Option<Node>,
}

/// What only a server that we started has.
struct Node {
    daemon: Daemon,
    folder: Folder,
    program: Program,
}

/// The shared one of this process. Tests of one process tell their topics and groups apart by name.
pub async fn kafka() -> Result<Arc<Kafka>, Missing> {
    static SHARED: OnceCell<Result<Arc<Kafka>, Missing>> = OnceCell::const_new();
    let start = || async {
        match existing(VARIABLE) {
            Some(brokers) => Ok(Arc::new(Kafka { port: port_of(&brokers), brokers, node: None })),
            None => Kafka::start(KafkaOptions::default()).await.map(Arc::new),
        }
    };
    SHARED.get_or_init(start).await.clone()
}

impl Kafka {
    /// Starts one of one's own.
    pub async fn start(options: KafkaOptions) -> Result<Self, Missing> {
        Self::start_with(Toolbox::of_the_machine, options).await.map_err(missing)
    }

    async fn start_with(toolbox: impl Fn() -> Toolbox, options: KafkaOptions) -> Result<Self, String> {
        let mut why = String::new();
        for _ in 0..TRIES {
            let program = program::get(toolbox()).await?;
            let server = Self::prepare(program, &options)?;
            server.format().await?;
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

    /// A node that neither runs nor has its storage formatted yet.
    fn prepare(program: Program, options: &KafkaOptions) -> Result<Self, String> {
        let failed = |error: std::io::Error| error.to_string();
        let watch = Watch::get()?;
        let folder = Folder::fresh(watch, "kafka", None).map_err(failed)?;
        let port = options.port.unwrap_or_else(free_port);
        let file = folder.path().join("server.properties");
        fs::write(&file, properties(options, port, free_port(), folder.path())).map_err(failed)?;
        let (java, jars) = (program.java.clone(), program.jars.clone());
        let daemon = Daemon::new(watch, folder.path().join("kafka.log"), move || {
            let mut command = java_command(&java, &jars);
            command.arg("kafka.Kafka").arg(&file);
            command
        });
        let brokers = format!("127.0.0.1:{port}");
        Ok(Self { brokers, port, node: Some(Node { daemon, folder, program }) })
    }

    async fn format(&self) -> Result<(), String> {
        let Node { folder, program, .. } = self.own();
        let mut command = java_command(&program.java, &program.jars);
        command.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c"]);
        command.arg(folder.path().join("server.properties"));
        let ran = tokio::task::spawn_blocking(move || run(command, START));
        ran.await.map_err(|error| error.to_string())?.map(|_| ())
    }

    /// Where clients begin: `127.0.0.1:port`, or what was named in the environment.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Where clients connect, as an address on this machine.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
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
        self.ready().await.unwrap_or_else(|error| panic!("Kafka does not start again: {error}"));
    }

    /// SIGSTOP: it holds its connections and answers nothing.
    pub fn pause(&self) {
        self.own().daemon.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.own().daemon.signal(Signal::CONT);
    }

    /// Kills it, removes its data and starts it again: empty, at the same port.
    pub async fn wipe(&self) {
        self.kill().await;
        fs::remove_dir_all(self.own().folder.path().join("data")).expect("its data is there");
        self.format().await.unwrap_or_else(|error| panic!("Kafka's storage: {error}"));
        self.start_again().await;
    }

    fn own(&self) -> &Node {
        self.node.as_ref().expect("a server named in the environment is somebody's: it is not to be hurt")
    }

    async fn ready(&self) -> Result<(), String> {
        self.own().daemon.ready(START, || wire::serves(self.addr(), CLUSTER)).await
    }
}

fn missing(why: String) -> Missing {
    Missing::new("Apache Kafka", REMEDY, why)
}

/// The port of the first of the brokers, or Kafka's usual one.
fn port_of(brokers: &str) -> u16 {
    let first = brokers.split(',').next().unwrap_or(brokers);
    first.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(9092)
}

fn java_command(java: &Path, jars: &Path) -> Command {
    let mut command = Command::new(java);
    command.env_clear().env("PATH", path()).args(JAVA).arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
    command.arg("-cp").arg(jars.join("*"));
    command
}

fn properties(options: &KafkaOptions, port: u16, controller: u16, folder: &Path) -> String {
    let advertised = options.advertised.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let mut text = format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://{advertised}
controller.listener.names=CONTROLLER
log.dirs={}
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
",
        folder.join("data").display()
    );
    for (name, value) in &options.settings {
        let _ = writeln!(text, "{name}={value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_dies_and_comes_back_at_the_same_port() {
        let kafka = Kafka::start(KafkaOptions::default()).await.unwrap_or_else(|missing| panic!("{missing}"));
        let pid = kafka.pid().expect("it runs");
        kafka.kill().await;
        assert!(!wire::serves(kafka.addr(), CLUSTER).await);
        kafka.start_again().await;
        assert_ne!(kafka.pid(), Some(pid));
        kafka.pause();
        assert!(!wire::serves(kafka.addr(), CLUSTER).await, "it is paused");
        kafka.resume();
        let rest = kafka.own().folder.path().join("data").join("rest");
        fs::write(&rest, "rest").expect("the data is there");
        kafka.wipe().await;
        assert!(!rest.exists());
        assert!(!wire::serves(kafka.addr(), "another cluster").await);
    }

    #[tokio::test]
    async fn the_shared_one_is_one() {
        let (a, b) = tokio::join!(kafka(), kafka());
        let (a, b) = (a.expect("a server"), b.expect("a server"));
        assert!(Arc::ptr_eq(&a, &b) && !a.brokers().is_empty());
    }

    #[tokio::test]
    async fn one_that_cannot_be_had_is_one_line() {
        let kept = tempfile::tempdir().expect("a folder");
        let toolbox = || Toolbox { path: "/nowhere".into(), kept: kept.path().to_owned(), may_install: false };
        let why = Kafka::start_with(toolbox, KafkaOptions::default()).await.err().expect("nothing to start");
        let line = missing(why).to_string();
        assert_eq!(line.lines().count(), 1);
        assert!(line.contains("java is not on the search path") && line.contains("apt-get install"), "{line}");
    }
}
