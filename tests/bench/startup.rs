//! Start-up and resident memory of the real program.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::place::Place;

/// A program that is not ready by then will not be.
const DEADLINE: Duration = Duration::from_secs(20);
/// How long it is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(3);
/// Between two questions whether it is ready.
const ASK_EVERY: Duration = Duration::from_millis(1);

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Up {
    pub ready_seconds: f64,
    /// Resident, after some seconds without work.
    pub idle_bytes: u64,
    /// The most it ever had resident until then.
    pub peak_bytes: u64,
    /// From SIGTERM to the end.
    pub stop_seconds: f64,
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `up` on an empty directory until it is ready, idle, and ended.
pub fn up(program: &Path, place: &Place) -> anyhow::Result<Up> {
    let dir = place.fresh()?;
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let started = Instant::now();
    let child = Command::new(program)
        .args(["up", "--no-config", "--listen", &format!("127.0.0.1:{port}"), "--data-dir"])
        .arg(dir.path())
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let mut child = Killed(child);
    while !is_ready(port) {
        if let Some(status) = child.0.try_wait()? {
            bail!("`up` ended before it was ready: {status}");
        }
        ensure!(started.elapsed() < DEADLINE, "`up` was not ready after {DEADLINE:?}");
        std::thread::sleep(ASK_EVERY);
    }
    let ready_seconds = started.elapsed().as_secs_f64();
    std::thread::sleep(IDLE);
    let pid = child.0.id();
    let (idle_bytes, peak_bytes) = (memory(pid, "VmRSS:")?, memory(pid, "VmHWM:")?);
    let stopping = Instant::now();
    let pid = Pid::from_raw(i32::try_from(pid)?).context("no process id")?;
    kill_process(pid, Signal::TERM)?;
    let status = child.0.wait()?;
    ensure!(status.success(), "`up` ended with {status} after SIGTERM");
    Ok(Up { ready_seconds, idle_bytes, peak_bytes, stop_seconds: stopping.elapsed().as_secs_f64() })
}

fn is_ready(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(4_096).read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}

fn memory(pid: u32, field: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).with_context(|| format!("no {field}"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}
