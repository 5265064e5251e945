//! The binary as it is, with failpoints compiled in; and a process whose only handler kills it.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidewire::config::Env;
use tidewire::consume::ConsumeOptions;
use tidewire::effects::EffectOptions;
use tidewire::relay::{Relay, RelayOptions};
use tidewire::run::{RunOptions, start};
use tidewire::{Backoff, Consumer, Context, Envelope, Event, Handler, HandlerError, Ports, Service, SystemClock};
use tidewire_broker::embedded::{EmbeddedBroker, EmbeddedOptions};
use tidewire_store::{SqliteOptions, SqliteStore};

#[path = "support/poison.rs"]
mod poison;

use poison::{CONSUMER, Dose, MAX_ATTEMPTS};

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("poison") => poison(),
        _ => tidewire_cli::main_with(std::env::args_os(), Env::from_process()),
    }
}

struct Poisoned {
    /// A line per start, written before anything else happens.
    starts: PathBuf,
}

#[async_trait]
impl Handler for Poisoned {
    fn consumer(&self) -> Consumer {
        Consumer::new(CONSUMER, vec![Dose::TYPE])
    }

    async fn handle(&self, event: &Envelope, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        let dose = Dose::decode(event)?;
        if dose.deadly {
            let mut file = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(&self.starts)
                .map_err(HandlerError::transient)?;
            writeln!(file, "{}", event.id).map_err(HandlerError::transient)?;
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
        let mut numbers: Vec<u64> = cx.get(CONSUMER, &dose.key).await?.unwrap_or_default();
        numbers.push(dose.n);
        cx.put(CONSUMER, &dose.key, &numbers)
    }
}

/// `poison DIR`: runs until it is killed, by its own handler or from outside.
fn poison() -> ExitCode {
    let Some(dir) = std::env::args().nth(2).map(PathBuf::from) else { return ExitCode::from(2) };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let clock = Arc::new(SystemClock);
        let store = SqliteStore::open(SqliteOptions::new(dir.join("log")), clock.clone()).await.expect("the store");
        let options = EmbeddedOptions { dir: dir.join("broker"), ..EmbeddedOptions::default() };
        let broker = EmbeddedBroker::open(options, clock.clone()).await.expect("the broker");
        let ports = Ports { store: Arc::new(store), broker, clock };
        let relay = Relay::new(&ports, RelayOptions { lease_ttl: Duration::from_secs(1), ..RelayOptions::default() });
        let services = vec![
            Service::new("tests").handler(Poisoned { starts: dir.join("starts") }),
            Service::new("relay").background("relay", |stop| relay.run(stop)),
        ];
        let consume = ConsumeOptions {
            max_attempts: MAX_ATTEMPTS,
            backoff: Backoff::new(Duration::from_millis(10), Duration::from_millis(50)),
            ..ConsumeOptions::default()
        };
        let running =
            start(&ports, services, RunOptions { consume, effects: EffectOptions::default(), callers: Vec::new() });
        std::fs::write(dir.join("ready"), "").expect("ready");
        running.stop_token().cancelled().await;
    });
    ExitCode::SUCCESS
}
