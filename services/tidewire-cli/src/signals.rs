//! Signals: the first asks, the second insists.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;
use crate::failure::Failure;

/// Listens for SIGINT and SIGTERM from now on. The first one cancels the token; the second ends the process at
/// once, which is safe at any moment: whatever was answered is on disk, the rest is delivered again.
pub fn listen() -> Result<CancellationToken, Failure> {
    let failed = |error| Failure::new(Exit::Error, "command.failed", format!("cannot listen for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let asked = CancellationToken::new();
    let token = asked.clone();
    tokio::spawn(async move {
        either(&mut interrupt, &mut terminate).await;
        token.cancel();
        either(&mut interrupt, &mut terminate).await;
        eprintln!("second signal: ending at once");
        std::process::exit(Exit::Interrupted as i32);
    });
    Ok(asked)
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// The failure of what a signal ended before it was done.
pub fn interrupted() -> Failure {
    Failure::new(Exit::Interrupted, "command.interrupted", "interrupted")
}
