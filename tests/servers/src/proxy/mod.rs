//! A network between a client and a server that does what one tells it to.

mod faults;
mod pump;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use faults::{Faults, State};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
    /// Both.
    Both,
}

impl Direction {
    fn covers(self, one: Direction) -> bool {
        self == Direction::Both || self == one
    }
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// RST: at once, and what is under way is thrown away.
    Reset,
    /// FIN: as if the other side had closed it properly.
    Finish,
}

/// A TCP proxy with faults, on a free port of loopback. It forwards until told otherwise; every fault can be set
/// and taken back while connections are open, and holds for those that come later as well, until [`Proxy::heal`].
/// It runs on a thread of its own and ends when dropped, with all its connections.
pub struct Proxy {
    addr: SocketAddr,
    state: Arc<State>,
    _stop: oneshot::Sender<()>,
}

impl Proxy {
    /// Starts one in front of `upstream`, which need not be there yet.
    pub async fn start(upstream: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let state = Arc::new(State::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let accepting = state.clone();
        thread::Builder::new().name("proxy".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = accept(listener, upstream, accepting) => {}
                    _ = stopped => {}
                }
            });
            // Connections end with their runtime.
            runtime.shutdown_background();
        })?;
        Ok(Self { addr, state, _stop: stop })
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many connections were made through it, up to now.
    pub fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// How many bytes it has forwarded, up to now.
    pub fn forwarded(&self, direction: Direction) -> u64 {
        let count = |one: Direction| self.state.forwarded(one).load(Ordering::Relaxed);
        match direction {
            Direction::Both => count(Direction::Up) + count(Direction::Down),
            one => count(one),
        }
    }

    /// Holds every chunk back for so long, and a little longer or less: up to `jitter`. Order is kept.
    pub fn delay(&self, delay: Duration, jitter: Duration) {
        self.change(|faults| (faults.delay, faults.jitter) = (delay, jitter));
    }

    /// Accepts everything and delivers nothing: connections stay open and silent. What was swallowed is gone, so
    /// [`Proxy::heal`] resets the connections that lost something by it.
    pub fn blackhole(&self, direction: Direction) {
        self.change(|faults| faults.swallow = Some(direction));
    }

    /// Holds everything back: connections stay open and silent, and after [`Proxy::heal`] everything arrives, as
    /// after a partition that was shorter than TCP's patience.
    pub fn stall(&self, direction: Direction) {
        self.change(|faults| faults.stall = Some(direction));
    }

    /// Cuts every open connection, once. New ones are forwarded.
    pub fn cut(&self, how: Close) {
        self.state.cut.send_modify(|cut| *cut = (cut.0 + 1, how));
    }

    /// Forwards so many more bytes this way, over all connections together, then resets the one that had the last
    /// of them: in the middle of whatever it was saying. Once.
    pub fn cut_after(&self, bytes: u64, direction: Direction) {
        self.state.set_fuse(Some((bytes, direction)));
    }

    /// Refuses new connections: they are reset as soon as they are made. Open ones stay.
    pub fn refuse(&self) {
        self.change(|faults| faults.refuse = true);
    }

    /// Inverts one bit of the byte that comes after so many more, this way, over all connections together. Once.
    pub fn flip_after(&self, bytes: u64, direction: Direction) {
        self.state.set_flip(Some((bytes, direction)));
    }

    /// Takes every fault back.
    pub fn heal(&self) {
        self.state.set_fuse(None);
        self.state.set_flip(None);
        self.change(|faults| *faults = Faults::default());
    }

    fn change(&self, change: impl FnOnce(&mut Faults)) {
        self.state.faults.send_modify(change);
    }
}

async fn accept(listener: std::net::TcpListener, upstream: SocketAddr, state: Arc<State>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        if state.faults.borrow().refuse {
            let _ = client.set_zero_linger();
            continue;
        }
        state.connections.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(forward(client, upstream, state.clone()));
    }
}

async fn forward(client: TcpStream, upstream: SocketAddr, state: Arc<State>) {
    // A server that is not there refuses, and so do we.
    let Ok(server) = TcpStream::connect(upstream).await else {
        let _ = client.set_zero_linger();
        return;
    };
    pump::run(client, server, &state).await;
}

#[cfg(test)]
mod tests;
