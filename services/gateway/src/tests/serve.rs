use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::serve;

const QUICK: Duration = Duration::from_millis(200);

async fn served(options: Options) -> (House, SocketAddr, JoinHandle<()>) {
    let house =
        House::with(options.clone(), |_| Router::new().route("/slow", axum::routing::get(std::future::pending::<()>)))
            .await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(serve(listener, house.router.clone(), options, house.stop.clone()));
    (house, address, serving)
}

/// Sends `bytes` and reads until the other side closes; fails after ten seconds.
async fn until_closed(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut read = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut read)).await;
    assert!(closed.is_ok(), "the connection stays open after {:?}", String::from_utf8_lossy(bytes));
    String::from_utf8_lossy(&read).into_owned()
}

#[tokio::test]
async fn slow_and_broken_clients_are_closed() {
    let (_house, address, _serving) = served(Options { header_timeout: QUICK, ..Options::default() }).await;
    for bytes in ["", "P", "PRI * HTTP/2.0\r\n", "GET /livez HTTP/1.1\r\nhost: x\r\n", "GET /livez HTTP/1.1\r\n\r\n"] {
        until_closed(address, bytes.as_bytes()).await;
    }
    let broken = [
        "GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: x\r\nfoo: a\r\n b\r\n\r\n",
        "nonsense\r\n\r\n",
    ];
    for bytes in broken {
        let answer = until_closed(address, bytes.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{bytes:?}: {answer}");
    }
    let many: String = (0..500).map(|n| format!("h{n}: x\r\n")).collect();
    let answer = until_closed(address, format!("GET /livez HTTP/1.1\r\n{many}\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let options = Options { request_timeout: QUICK, header_timeout: QUICK, ..Options::default() };
    let (_house, address, _serving) = served(options).await;
    let head = "POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/cloudevents+json\r\ncontent-length: 100\r\n\r\n{";
    let answer = until_closed(address, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("http.body_too_slow"), "{answer}");
}

#[tokio::test]
async fn connections_have_places() {
    let (_house, address, _serving) = served(Options { max_connections: 1, ..Options::default() }).await;
    let first = TcpStream::connect(address).await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut byte = [0];
    assert!(tokio::time::timeout(QUICK, second.read(&mut byte)).await.is_err(), "there was no place");
    drop(first);
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(10), second.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn shutdown_ends_streams_at_once_and_requests_at_the_deadline() {
    let options = Options { drain: QUICK, ..Options::default() };
    let (house, address, serving) = served(options).await;
    let mut live = TcpStream::connect(address).await.unwrap();
    live.write_all(b"GET /v1/events/stream HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut byte = [0];
    live.read_exact(&mut byte).await.unwrap();
    house.stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), serving).await.unwrap().unwrap();
    let mut rest = String::new();
    live.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "the stream ended in order: {rest}");
    let cut = slow.read_to_end(&mut Vec::new()).await;
    assert!(cut.is_err() || cut.is_ok_and(|bytes| bytes == 0));
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn http_2_is_spoken_without_tls() {
    let (_house, address, _serving) = served(Options::default()).await;
    let stream = hyper_util::rt::TokioIo::new(TcpStream::connect(address).await.unwrap());
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) = hyper::client::conn::http2::handshake(executor, stream).await.unwrap();
    tokio::spawn(connection);
    let many = futures::future::join_all((0..50).map(|_| {
        let request = request("GET", &format!("http://{address}/livez"), &[], "");
        client.send_request(request)
    }));
    for answer in many.await {
        let answer = answer.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, axum::http::Version::HTTP_2));
    }
}
