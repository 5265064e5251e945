//! What connections cost that do nothing.

use std::net::SocketAddr;
use std::time::Duration;

use futures::{StreamExt, stream};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::address;
use crate::support::process::Instance;

const CONNECTIONS: usize = 5_000;
/// What all of them may cost.
const MAX_MIB: u64 = 100;
/// What they may cost after a request, in a build without optimisation.
const MAX_KEPT_MIB: u64 = 150;
/// For all of them, on a machine that compiles beside it.
const PATIENCE: Duration = Duration::from_secs(120);

/// The memory that a process holds, in KiB.
fn resident(data: &std::path::Path) -> u64 {
    let run: serde_json::Value =
        serde_json::from_slice(&std::fs::read(data.join("run.json")).expect("published")).expect("JSON");
    let status = std::fs::read_to_string(format!("/proc/{}/status", run["pid"])).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// A connection that says nothing.
async fn silent(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("connected")
}

/// A connection that has asked once and stays.
async fn kept(address: SocketAddr) -> TcpStream {
    let mut stream = silent(address).await;
    ask(&mut stream).await;
    stream
}

async fn ask(stream: &mut TcpStream) {
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("sent");
    let mut answer = [0; 4_096];
    let bytes = stream.read(&mut answer).await.expect("answered");
    assert!(answer[..bytes].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..bytes]));
}

/// Opens all of them, and answers what they cost in KiB.
async fn cost<F: Future<Output = TcpStream>>(what: &str, open: impl Fn(SocketAddr) -> F) -> u64 {
    let dir = TempDir::new().expect("a folder");
    let data = dir.path().join("data");
    let env = [("TIDEWIRE_HTTP__HEADER_TIMEOUT", "4m"), ("TIDEWIRE_HTTP__REQUEST_TIMEOUT", "5m")];
    let instance = Instance::up(&data, &env).await.expect("it starts");
    // What the first requests warm up is no cost of connections.
    for _ in 0..20 {
        instance.get("/v1/status").await;
    }
    let before = resident(&data);
    let address = address(&instance);
    let opened = stream::iter(0..CONNECTIONS).map(|_| open(address)).buffer_unordered(64);
    let opened = tokio::time::timeout(PATIENCE, opened.collect::<Vec<_>>()).await.expect("in time");
    // Served after all of them: they are not in the backlog any more.
    assert_eq!(instance.get("/readyz").await["status"], "ready");
    let cost = resident(&data).saturating_sub(before);
    let each = cost as f64 / CONNECTIONS as f64;
    println!("{CONNECTIONS} connections, {what}: {:.1} MiB, {each:.1} KiB each", cost as f64 / 1024.0);
    // They are connections, not corpses.
    for mut stream in opened.into_iter().step_by(500) {
        ask(&mut stream).await;
    }
    cost
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_idle_connections_cost_less_than_a_hundred_mebibytes() {
    let cost = cost("silent", silent).await;
    assert!(cost <= MAX_MIB * 1024, "{cost} KiB for {CONNECTIONS} connections");
}

/// Those that asked before have the buffers of hyper, 8 KiB to read and 8 KiB to write, for as long as they are kept:
/// `http.header_timeout`.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn connections_kept_alive_cost_their_buffers_and_little_more() {
    let cost = cost("kept alive", kept).await;
    assert!(cost <= MAX_KEPT_MIB * 1024, "{cost} KiB for {CONNECTIONS} connections");
}
