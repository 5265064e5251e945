//! `up`: every role in one process, until told to stop.

use serde_json::json;
use tidewire::config::Config;
use tokio_util::sync::CancellationToken;

use crate::args::{Role, UpArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::instance::Instance;
use crate::output::Output;
use crate::session::{Session, listen_flag};
use crate::signals;

/// Runs until a signal.
pub async fn run(session: &Session, args: &UpArgs, output: &mut Output) -> Result<(), Failure> {
    let config = session.config(&listen_flag(args.listen.as_deref()))?;
    let asked = begin(&config)?;
    let roles: Vec<Role> = Role::ALL.into_iter().filter(|role| !args.without.contains(role)).collect();
    if roles.is_empty() {
        return Err(Failure::new(Exit::Usage, "command.usage", "without any role there is nothing to run"));
    }
    let instance = Instance::start(&config, &roles, session.clock.clone()).await?;
    announce(session, &instance, &config, &roles, output)?;
    until_asked(instance, asked).await
}

/// Sets up what a long-running process needs: log lines and signals.
pub fn begin(config: &Config) -> Result<CancellationToken, Failure> {
    tidewire::telemetry::init(&config.log)
        .map_err(|error| Failure::new(Exit::Error, "command.failed", format!("cannot set up log lines: {error}")))?;
    signals::listen()
}

/// Says where it answers and what to try.
pub fn announce(
    session: &Session,
    instance: &Instance,
    config: &Config,
    roles: &[Role],
    output: &mut Output,
) -> Result<(), Failure> {
    let (url, program) = (&instance.url, &session.program);
    let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    let ready = json!({
        "url": url,
        "pid": std::process::id(),
        "data_dir": config.data_dir,
        "roles": names,
        "version": env!("CARGO_PKG_VERSION"),
    });
    let data_dir = config.data_dir.display();
    output.thing(&ready, &["/url"], |_| {
        let mut text = format!("Tidewire {} answers at {url}, data in {data_dir}", env!("CARGO_PKG_VERSION"));
        if roles.contains(&Role::Gateway) {
            text.push_str(&format!(
                "\n\n  curl {url}/v1/users -H 'content-type: application/json' -d '{{\"id\":\"ada\",\"name\":\"Ada\"}}'\
                 \n  curl {url}/v1/users -H 'content-type: application/json' -d '{{\"id\":\"alan\",\"name\":\"Alan\"}}'\
                 \n  curl -X PUT {url}/v1/users/alan/following/ada\
                 \n  curl {url}/v1/users/ada/notifications\
                 \n  {program} status --data-dir {data_dir}"
            ));
        }
        if roles.contains(&Role::Console) {
            text.push_str(&format!("\n\nThe operators' console is at {url}/console"));
        }
        text.push_str("\n\nCtrl-C stops it; what has begun is finished first.");
        text
    })?;
    Ok(output.flush()?)
}

/// Waits for the first signal, then drains.
pub async fn until_asked(instance: Instance, asked: CancellationToken) -> Result<(), Failure> {
    asked.cancelled().await;
    tracing::info!("stopping: finishing what has begun");
    if instance.stop().await {
        tracing::info!("stopped");
    }
    Ok(())
}
