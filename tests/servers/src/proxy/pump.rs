//! One connection through the proxy: a reader and a writer each way, so that a delay costs time and not bandwidth.

use std::future::pending;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, sleep_until};

use super::faults::{Fate, State};
use super::{Close, Direction};

/// What is read at once.
const CHUNK: usize = 16 * 1024;

/// How many chunks one way are held back at most: 4 MiB. Beyond it the sender waits.
const HELD_BACK: usize = 256;

/// A chunk, and when it may go on.
struct Chunk {
    bytes: Vec<u8>,
    due: Instant,
    fate: Fate,
}

/// Forwards both ways until both sides are done or the connection is cut.
pub(super) async fn run(mut client: TcpStream, mut server: TcpStream, state: &State) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let mut cuts = state.cut.subscribe();
    let how = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            how = both(one_way(Direction::Up, from_client, to_server, state), one_way(Direction::Down, from_server, to_client, state)) => how,
            Ok(()) = cuts.changed() => cuts.borrow().1,
        }
    };
    if how == Close::Reset {
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

/// Both ways until both are done; until one is cut, if one is.
async fn both(up: impl Future<Output = Close>, down: impl Future<Output = Close>) -> Close {
    let until_cut = |how| async move {
        match how {
            Close::Finish => Ok(()),
            Close::Reset => Err(()),
        }
    };
    let ways = tokio::try_join!(async { until_cut(up.await).await }, async { until_cut(down.await).await });
    if ways.is_ok() { Close::Finish } else { Close::Reset }
}

/// Forwards one way until its end.
async fn one_way(direction: Direction, from: ReadHalf<'_>, to: WriteHalf<'_>, state: &State) -> Close {
    let (held, due) = channel(HELD_BACK);
    // The writer ends last: it has what the reader left.
    let (read, written) = tokio::join!(
        async {
            tokio::select! {
                how = read(direction, from, &held, state) => { drop(held); how }
                () = held.closed() => Close::Reset,
            }
        },
        write(direction, due, to, state)
    );
    if read == Close::Reset || written == Close::Reset { Close::Reset } else { Close::Finish }
}

async fn read(direction: Direction, mut from: ReadHalf<'_>, held: &Sender<Chunk>, state: &State) -> Close {
    let mut faults = state.faults.subscribe();
    let mut lost = false;
    let mut last = Instant::now();
    let mut buffer = vec![0; CHUNK];
    loop {
        let now = *faults.borrow_and_update();
        let swallowed = now.swallow.is_some_and(|way| way.covers(direction));
        if lost && !swallowed {
            return Close::Reset;
        }
        let stalled = now.stall.is_some_and(|way| way.covers(direction));
        let read = async {
            if stalled {
                pending::<()>().await;
            }
            from.read(&mut buffer).await
        };
        let count = tokio::select! {
            // What arrives after a fault was set meets it.
            biased;
            _ = faults.changed() => continue,
            read = read => read,
        };
        let Ok(count) = count else { return Close::Reset };
        if swallowed {
            // Not even the end of the connection comes through.
            lost = true;
            if count == 0 {
                let _ = faults.changed().await;
            }
            continue;
        }
        if count == 0 {
            return Close::Finish;
        }
        let mut bytes = buffer[..count].to_vec();
        let fate = state.judge(direction, &mut bytes);
        // Never before the one that came before it.
        last = last.max(Instant::now() + state.delay());
        if held.send(Chunk { bytes, due: last, fate }).await.is_err() {
            return Close::Reset;
        }
    }
}

async fn write(direction: Direction, mut due: Receiver<Chunk>, mut to: WriteHalf<'_>, state: &State) -> Close {
    while let Some(chunk) = due.recv().await {
        if chunk.due > Instant::now() {
            sleep_until(chunk.due).await;
        }
        let (bytes, cut) = match chunk.fate {
            Fate::Forward => (&chunk.bytes[..], false),
            Fate::Cut(at) => (&chunk.bytes[..at], true),
        };
        if to.write_all(bytes).await.is_err() {
            return Close::Reset;
        }
        state.forwarded(direction).fetch_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if cut {
            return Close::Reset;
        }
    }
    let _ = to.shutdown().await;
    Close::Finish
}
