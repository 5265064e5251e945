//! Real processes, to be killed for real.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};

/// How long a process may take to be ready, on a machine that compiles beside it.
const START: Duration = Duration::from_secs(60);

/// The binary under test.
pub fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_tidewire-under-test")
}

/// A command with a clean environment: nothing of the machine's configuration leaks in.
#[allow(clippy::disallowed_methods)] // A test has no configuration to ask.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    let kept = std::env::vars().filter(|(name, _)| matches!(name.as_str(), "PATH" | "HOME" | "LLVM_PROFILE_FILE"));
    command.args(args).env_clear().envs(kept.collect::<Vec<_>>()).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// A finished command.
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {:?}\n{}", self.stdout, self.stderr))
    }
}

/// Runs a command to its end, in a folder, with more environment.
pub async fn run_in(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Finished {
    let mut command = command(args);
    command.current_dir(dir).envs(env.iter().copied());
    let output = tokio::time::timeout(Duration::from_secs(300), command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{args:?} did not end")).expect("it runs");
    Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// `tidewire up`, or `tidewire run`, as a process.
pub struct Instance {
    child: Child,
    pub url: String,
    log: PathBuf,
}

impl Instance {
    /// Starts it on a data directory. `Err` holds its log if it ended before it was ready.
    pub async fn up(dir: &Path, env: &[(&str, &str)]) -> Result<Self, String> {
        Self::start(&["up"], dir, env).await
    }

    /// The same with more options.
    pub async fn up_with(options: &[&str], dir: &Path, env: &[(&str, &str)]) -> Result<Self, String> {
        Self::start(&[&["up"], options].concat(), dir, env).await
    }

    /// `tidewire run` with these roles instead. The data directory is its own, whatever it shares with others.
    pub async fn run(roles: &[&str], dir: &Path, env: &[(String, String)]) -> Result<Self, String> {
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Self::start(&[&["run"], roles].concat(), dir, &env).await
    }

    async fn start(args: &[&str], dir: &Path, env: &[(&str, &str)]) -> Result<Self, String> {
        tidewire::install_tls();
        let log = dir.with_extension("log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log file");
        let data = dir.to_str().expect("UTF-8");
        let mut command = command(&[args, &["--data-dir", data, "--listen", "127.0.0.1:0"]].concat());
        command.envs(env.iter().copied()).stdout(Stdio::null()).stderr(file);
        let mut child = command.spawn().expect("it starts");
        let pid = child.id().expect("it has an id");
        let ready = async {
            loop {
                if child.try_wait().expect("a child").is_some() {
                    return None;
                }
                if let Some(url) = announced(dir, pid)
                    && let Ok(answer) = reqwest::get(format!("{url}/readyz")).await
                    && answer.status().is_success()
                {
                    return Some(url);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        match tokio::time::timeout(START, ready).await {
            Ok(Some(url)) => Ok(Self { child, url, log }),
            Ok(None) => Err(said()),
            Err(_) => panic!("{args:?} is not ready within {START:?}: {}", said()),
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// SIGKILL, and waits for the end.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("killed");
    }

    /// SIGTERM, and waits for the end.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let ended = tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("it did not end: {}", self.log())).expect("a status")
    }

    /// SIGSTOP: it does nothing at all, and does not know.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.child.id() {
            let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
            let _ = kill_process(pid, signal);
        }
    }

    /// What it logged, in all its lives.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// GETs JSON.
    pub async fn get(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.url);
        let answer = reqwest::get(&url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        assert!(status.is_success(), "{url}: {status}: {text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{url}: {error}: {text}"))
    }
}

/// Where the process with this id says it answers.
fn announced(dir: &Path, pid: u32) -> Option<String> {
    let found: Value = serde_json::from_slice(&std::fs::read(dir.join("run.json")).ok()?).ok()?;
    (found["pid"].as_u64() == Some(u64::from(pid))).then(|| found["url"].as_str().map(str::to_owned))?
}
