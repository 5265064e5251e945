//! Free ports on loopback.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::folder::random;

/// Below the range from which systems take the ports of outgoing connections: a server that was killed must find
/// its port free when it starts again.
const LOWEST: u16 = 12_000;
const COUNT: u16 = 18_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port on 127.0.0.1 that nobody listens on. Another process may still take it first: whoever starts a server
/// on it tries another one then.
///
/// # Panics
/// When no port of thousands is free.
pub fn free_port() -> u16 {
    for _ in 0..COUNT {
        // Random, so that test binaries running side by side rarely want the same one.
        let [low, high, ..] = random::<8>();
        let spread = u16::from_le_bytes([low, high]).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = LOWEST + spread % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port on 127.0.0.1 from {LOWEST} to {}", LOWEST + COUNT);
}
