//! What connections cost that do nothing.

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

/// The memory that a process holds, in KiB.
fn resident(data: &std::path::Path) -> u64 {
    let run: serde_json::Value = serde_json::from_slice(&std::fs::read(data.join("run.json")).expect("published"))
        .expect("JSON");
    let status = std::fs::read_to_string(format!("/proc/{}/status", run["pid"])).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// A connection that has asked once and stays.
async fn idle(address: std::net::SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("sent");
    let mut answer = [0; 4_096];
    let bytes = stream.read(&mut answer).await.expect("answered");
    assert!(answer[..bytes].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..bytes]));
    stream
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_idle_connections_cost_less_than_a_hundred_mebibytes() {
    let dir = TempDir::new().expect("a folder");
    let data = dir.path().join("data");
    let env = [("TIDEWIRE_HTTP__HEADER_TIMEOUT", "4m"), ("TIDEWIRE_HTTP__REQUEST_TIMEOUT", "5m")];
    let instance = Instance::up(&data, &env).await.expect("it starts");
    // What the first requests warm up is no cost of connections.
    for _ in 0..20 {
        instance.get("/v1/status").await;
    }
    let before = resident(&data);
    let opened = stream::iter(0..CONNECTIONS).map(|_| idle(address(&instance))).buffer_unordered(64);
    let opened = tokio::time::timeout(Duration::from_secs(120), opened.collect::<Vec<_>>()).await.expect("in time");
    let after = resident(&data);
    let cost = after.saturating_sub(before);
    println!("{} idle connections: {:.1} MiB, {:.1} KiB each", opened.len(), cost as f64 / 1024.0, cost as f64 / CONNECTIONS as f64);
    assert!(cost <= MAX_MIB * 1024, "{cost} KiB for {CONNECTIONS} connections");
    assert_eq!(instance.get("/readyz").await["status"], "ready", "and others are served beside them");
    // They are connections, not corpses.
    for mut stream in opened.into_iter().step_by(500) {
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("sent");
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).await.expect("answered"), 1);
    }
}
