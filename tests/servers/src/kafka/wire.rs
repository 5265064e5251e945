//! As much of Kafka's protocol as it takes to know that a node serves.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// `Metadata` version 2, no client id, about no topic.
const METADATA: [u8; 18] = [0, 0, 0, 14, 0, 3, 0, 2, 0, 0, 0, 7, 0xff, 0xff, 0, 0, 0, 0];

/// The most an answer about no topic can take.
const LIMIT: usize = 64 * 1024;

/// Whether a broker of this cluster answers at `addr` and counts itself in: before that clients are told of none.
pub(super) async fn serves(addr: SocketAddr, cluster: &str) -> bool {
    let asked = tokio::time::timeout(Duration::from_secs(1), metadata(addr)).await;
    let Ok(Some((brokers, id))) = asked else { return false };
    brokers > 0 && id == cluster
}

/// How many brokers a node knows, and the id of its cluster.
async fn metadata(addr: SocketAddr) -> Option<(usize, String)> {
    let mut stream = TcpStream::connect(addr).await.ok()?;
    stream.write_all(&METADATA).await.ok()?;
    let length = usize::try_from(stream.read_i32().await.ok()?).ok()?;
    if length > LIMIT {
        return None;
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await.ok()?;
    let mut rest = Reader(&answer);
    rest.number::<4>()?; // The request's number.
    let brokers = rest.number::<4>()?;
    for _ in 0..brokers {
        rest.number::<4>()?;
        rest.string()?;
        rest.number::<4>()?;
        rest.string()?;
    }
    Some((usize::try_from(brokers).ok()?, rest.string()?))
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    /// A number of so many bytes.
    fn number<const N: usize>(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_at_checked(N)?;
        self.0 = rest;
        Some(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    /// A string, empty for null.
    fn string(&mut self) -> Option<String> {
        let length = match self.number::<2>()? {
            0xffff => 0,
            length => usize::try_from(length).ok()?,
        };
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        String::from_utf8(bytes.to_vec()).ok()
    }
}
