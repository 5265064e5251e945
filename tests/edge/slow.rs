//! Slow clients: whoever dribbles delays nobody and is shown out.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::address;
use crate::support::process::Instance;

/// Clients that dribble, half of them in the head of a request, half in its body.
const SLOW: usize = 200;
/// How long the server has patience with a head.
const PATIENCE: Duration = Duration::from_secs(3);
/// Until everybody slow must be gone, on a machine that compiles beside it.
const GONE: Duration = Duration::from_secs(30);

const HEAD: &str = "POST /v1/events HTTP/1.1\r\nhost: localhost\r\n";
const BODY: &str = "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/cloudevents+json\r\ncontent-length: 100000\r\n\r\n{";

/// Sends a little every 100 ms until the server closes; answers what the server said.
async fn dribble(mut stream: TcpStream, piece: &'static [u8]) -> String {
    let (mut said, mut chunk) = (Vec::new(), [0; 1_024]);
    loop {
        tokio::select! {
            read = stream.read(&mut chunk) => match read {
                Ok(0) | Err(_) => return String::from_utf8_lossy(&said).into_owned(),
                Ok(bytes) => said.extend_from_slice(&chunk[..bytes]),
            },
            () = tokio::time::sleep(Duration::from_millis(100)) => {
                if stream.write_all(piece).await.is_err() {
                    return String::from_utf8_lossy(&said).into_owned();
                }
            }
        }
    }
}

async fn begin(address: SocketAddr, start: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(start.as_bytes()).await.expect("sent");
    stream
}

/// The median and the longest of `many` ordinary requests, each on a connection of its own.
async fn ordinary(instance: &Instance, many: usize) -> (Duration, Duration) {
    let mut times = Vec::with_capacity(many);
    for _ in 0..many {
        let begun = Instant::now();
        instance.get("/v1/events?limit=1").await;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    (times[many / 2], times[many - 1])
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_slow_clients_delay_nobody_and_are_shown_out() {
    let dir = TempDir::new().expect("a folder");
    let patience = format!("{}s", PATIENCE.as_secs());
    let env = [("TIDEWIRE_HTTP__HEADER_TIMEOUT", patience.as_str())];
    let instance = Instance::up(&dir.path().join("data"), &env).await.expect("it starts");
    let alone = ordinary(&instance, 100).await;

    let mut slow = Vec::new();
    for n in 0..SLOW {
        let (start, piece): (&str, &'static [u8]) = if n % 2 == 0 { (HEAD, b"x") } else { (BODY, b" ") };
        let stream = begin(address(&instance), start).await;
        slow.push((n % 2 == 0, tokio::spawn(dribble(stream, piece))));
    }
    let beside = ordinary(&instance, 100).await;
    println!("one request: {alone:?} alone, {beside:?} beside {SLOW} slow clients (median, longest)");
    assert!(beside.0 < alone.0 * 5 + Duration::from_millis(100), "{alone:?} {beside:?}");
    assert!(beside.1 < PATIENCE, "nobody waits until the slow ones are gone: {beside:?}");

    let deadline = tokio::time::Instant::now() + GONE;
    for (in_head, client) in slow {
        let said = tokio::time::timeout_at(deadline, client).await.expect("shown out").expect("no panic");
        match in_head {
            true => assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}"),
            false => {
                assert!(said.starts_with("HTTP/1.1 408") && said.contains("\"http.body_too_slow\""), "{said}");
            }
        }
    }
    let status = instance.get("/v1/status").await;
    assert_eq!(status["store"]["head"], 0, "nothing of it was taken");
}

/// A connection that has nothing more to ask is closed, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_kept_alive_for_nothing_is_closed() {
    let dir = TempDir::new().expect("a folder");
    let env = [("TIDEWIRE_HTTP__HEADER_TIMEOUT", "1s")];
    let instance = Instance::up(&dir.path().join("data"), &env).await.expect("it starts");
    let mut stream = begin(address(&instance), "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let mut said = String::new();
    let closed = tokio::time::timeout(GONE, stream.read_to_string(&mut said)).await;
    assert!(closed.is_ok() && said.starts_with("HTTP/1.1 200"), "{said}");
}
