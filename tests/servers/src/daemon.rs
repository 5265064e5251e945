//! A server's process.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::watch::Watch;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// How long a server may take to end once asked to, before a test calls it broken.
pub(crate) const END: Duration = Duration::from_secs(30);

/// A server's process: the same command, started again and again.
pub(crate) struct Daemon {
    watch: &'static Watch,
    command: Box<dyn Fn() -> Command + Send + Sync>,
    log: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Daemon {
    /// One whose output goes to `log`. It does not run yet.
    pub fn new(watch: &'static Watch, log: PathBuf, command: impl Fn() -> Command + Send + Sync + 'static) -> Self {
        Self { watch, command: Box::new(command), log, child: Mutex::new(None) }
    }

    /// Starts it, unless it runs.
    pub fn start(&self) -> io::Result<()> {
        let mut child = self.child();
        if let Some(running) = child.as_mut()
            && running.try_wait()?.is_none()
        {
            return Ok(());
        }
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = (self.command)();
        command.process_group(self.watch.group()).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        *child = Some(command.spawn()?);
        Ok(())
    }

    /// Its process id, while it runs or has not been waited for.
    pub fn pid(&self) -> Option<Pid> {
        self.child().as_ref().and_then(|child| Pid::from_raw(i32::try_from(child.id()).ok()?))
    }

    /// Whether it does not run.
    pub fn has_ended(&self) -> bool {
        let mut child = self.child();
        let ended = child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
        if ended {
            *child = None;
        }
        ended
    }

    /// Sends it a signal, if it runs.
    pub fn signal(&self, signal: Signal) {
        // Not waited for, so the number is still its own.
        if !self.has_ended()
            && let Some(pid) = self.pid()
        {
            let _ = kill_process(pid, signal);
            if signal == Signal::STOP {
                until_stopped(pid);
            }
        }
    }

    /// Sends it a signal and waits until it has ended.
    ///
    /// # Panics
    /// When it has not ended after [`END`].
    pub async fn end(&self, signal: Signal) {
        self.signal(signal);
        let deadline = Instant::now() + END;
        while !self.has_ended() {
            assert!(Instant::now() < deadline, "it did not end within {END:?}: {}", self.last_words());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until `probe` says it is ready. Fails when it ends before, or after `patience`.
    pub async fn ready<F>(&self, patience: Duration, mut probe: impl FnMut() -> F) -> Result<(), String>
    where
        F: Future<Output = bool>,
    {
        let deadline = Instant::now() + patience;
        loop {
            if self.has_ended() {
                return Err(format!("it ended at once: {}", self.last_words()));
            }
            if probe().await {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(format!("not ready within {patience:?}: {}", self.last_words()));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What it logged, in all its lives.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The last lines of its log.
    fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().rev().filter(|line| !line.trim().is_empty()).take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A process that was told to stop goes on until each of its threads has come by: another processor may be running one.
fn until_stopped(pid: Pid) {
    let begun = Instant::now();
    let is_stopped = || {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())) else { return true };
        threads.flatten().all(|thread| {
            let status = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            // The name before it may hold anything, brackets included.
            status.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['T', 'Z']))
        })
    };
    while !is_stopped() && begun.elapsed() < END {
        std::thread::sleep(Duration::from_millis(1));
    }
}
