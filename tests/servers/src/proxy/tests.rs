use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const SOON: Duration = Duration::from_millis(150);
const PATIENCE: Duration = Duration::from_secs(10);

/// A server that says everything back, and a proxy before it.
async fn echo() -> Proxy {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let upstream = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    Proxy::start(upstream).await.expect("a proxy")
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.addr()).await.expect("connected")
}

/// Says something and waits for its echo.
async fn say(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(bytes).await?;
    hear(stream, bytes.len()).await
}

async fn hear(stream: &mut TcpStream, count: usize) -> io::Result<Vec<u8>> {
    let mut heard = vec![0; count];
    let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut heard)).await.expect("in time");
    read.map(|_| heard)
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    tokio::time::timeout(SOON, stream.read_u8()).await.is_err()
}

#[tokio::test]
async fn it_forwards_all_and_the_end_as_well() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    let much = vec![7; 1_000_000];
    let (mut from, mut to) = stream.split();
    let mut heard = Vec::new();
    let (written, read) = tokio::join!(
        async {
            to.write_all(&much).await?;
            to.shutdown().await
        },
        from.read_to_end(&mut heard)
    );
    written.expect("written");
    read.expect("ended by FIN, not by RST");
    assert!(heard == much);
    assert_eq!((proxy.forwarded(Direction::Up), proxy.forwarded(Direction::Both)), (1_000_000, 2_000_000));
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn a_delay_costs_time_and_not_bandwidth() {
    let proxy = echo().await;
    proxy.delay(Duration::from_millis(60), Duration::from_millis(20));
    let mut stream = connect(&proxy).await;
    let begun = Instant::now();
    let (mut from, mut to) = stream.split();
    let write = async {
        for n in 0..40u8 {
            to.write_all(&[n]).await.expect("written");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let mut heard = [0; 40];
    let (_, read) = tokio::join!(write, from.read_exact(&mut heard));
    read.expect("heard");
    assert!(heard.is_sorted(), "order is kept: {heard:?}");
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(80) && took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn a_blackhole_swallows_and_healing_resets() {
    let proxy = echo().await;
    let (mut hurt, mut idle) = (connect(&proxy).await, connect(&proxy).await);
    say(&mut hurt, b"a").await.expect("an echo");
    say(&mut idle, b"a").await.expect("an echo");
    proxy.blackhole(Direction::Both);
    hurt.write_all(b"lost").await.expect("accepted");
    assert!(is_silent(&mut hurt).await);
    assert!(is_silent(&mut connect(&proxy).await).await, "new connections are accepted, and silent");
    proxy.heal();
    assert_eq!(hear(&mut hurt, 1).await.expect_err("reset").kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(say(&mut idle, b"b").await.expect("it lost nothing"), b"b");
    assert_eq!(say(&mut connect(&proxy).await, b"c").await.expect("an echo"), b"c");
}

#[tokio::test]
async fn a_blackhole_may_be_one_way() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    say(&mut stream, b"a").await.expect("an echo");
    proxy.blackhole(Direction::Down);
    let up = proxy.forwarded(Direction::Up);
    stream.write_all(b"there").await.expect("accepted");
    assert!(is_silent(&mut stream).await);
    assert_eq!(proxy.forwarded(Direction::Up), up + 5, "the server had it");
}

#[tokio::test]
async fn what_was_stalled_arrives_after_healing() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    say(&mut stream, b"a").await.expect("an echo");
    proxy.stall(Direction::Up);
    stream.write_all(b"late").await.expect("accepted");
    assert!(is_silent(&mut stream).await);
    proxy.heal();
    assert_eq!(hear(&mut stream, 4).await.expect("it arrives"), b"late");
}

#[tokio::test]
async fn a_cut_is_a_reset_or_an_end() {
    let proxy = echo().await;
    for (how, kind) in [(Close::Reset, io::ErrorKind::ConnectionReset), (Close::Finish, io::ErrorKind::UnexpectedEof)] {
        let mut stream = connect(&proxy).await;
        say(&mut stream, b"a").await.expect("an echo");
        proxy.cut(how);
        assert_eq!(hear(&mut stream, 1).await.expect_err("cut").kind(), kind);
    }
    say(&mut connect(&proxy).await, b"a").await.expect("new ones are forwarded");
}

#[tokio::test]
async fn a_connection_is_cut_in_the_middle_of_a_word() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    proxy.cut_after(7, Direction::Up);
    say(&mut stream, b"four").await.expect("an echo");
    assert!(say(&mut stream, b"five5").await.is_err());
    assert_eq!(proxy.forwarded(Direction::Up), 7);
    say(&mut connect(&proxy).await, b"a longer one").await.expect("once only");
}

#[tokio::test]
async fn new_connections_are_refused_and_old_ones_kept() {
    let proxy = echo().await;
    let mut old = connect(&proxy).await;
    say(&mut old, b"a").await.expect("an echo");
    proxy.refuse();
    let new = async { say(&mut TcpStream::connect(proxy.addr()).await?, b"b").await };
    assert!(new.await.is_err());
    say(&mut old, b"c").await.expect("an echo");
    proxy.heal();
    say(&mut connect(&proxy).await, b"d").await.expect("an echo");
}

#[tokio::test]
async fn one_bit_of_one_byte_is_flipped() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    proxy.flip_after(6, Direction::Down);
    assert_eq!(say(&mut stream, b"aaaa").await.expect("an echo"), b"aaaa");
    assert_eq!(say(&mut stream, b"aaaa").await.expect("an echo"), b"aaqa");
    assert_eq!(say(&mut stream, b"aaaa").await.expect("an echo"), b"aaaa");
}

#[tokio::test]
async fn it_ends_when_dropped() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    say(&mut stream, b"a").await.expect("an echo");
    let addr = proxy.addr();
    drop(proxy);
    assert!(hear(&mut stream, 1).await.is_err());
    let end = Instant::now() + PATIENCE;
    while TcpStream::connect(addr).await.is_ok() {
        assert!(Instant::now() < end, "nobody listens any more");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
