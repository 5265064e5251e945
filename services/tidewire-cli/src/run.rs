//! `run ROLE…`: some roles in this process.

use tidewire::config::Config;

use crate::args::{Role, RunArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::instance::Instance;
use crate::output::Output;
use crate::session::{Session, listen_flag};
use crate::up;

/// Runs until a signal.
pub async fn run(session: &Session, args: &RunArgs, output: &mut Output) -> Result<(), Failure> {
    let config = session.config(&listen_flag(args.listen.as_deref()))?;
    let mut roles = args.roles.clone();
    roles.sort_unstable();
    roles.dedup();
    let asked = up::begin(&config)?;
    if is_embedded(&config) {
        eprintln!("{}", notice(&roles));
    }
    let instance =
        Instance::start(&config, &roles, session.clock.clone()).await.map_err(|failure| only_one(failure, &config))?;
    up::announce(session, &instance, &config, &roles, output)?;
    up::until_asked(instance, asked).await
}

fn is_embedded(config: &Config) -> bool {
    config.sqlite_dir().is_some() || config.embedded_broker_dir().is_some()
}

/// What everybody should know who runs some roles on backends of one process.
fn notice(roles: &[Role]) -> String {
    let missing: Vec<&str> = Role::ALL.iter().filter(|role| !roles.contains(role)).map(|role| role.name()).collect();
    let mut text =
        "note: the embedded log and broker allow one process, so no other process can run the remaining roles \
                    beside this one: name all you need here, or use `tidewire up`."
            .to_owned();
    if !missing.is_empty() {
        text.push_str(&format!("\nnote: not running: {}. Their events wait in the log.", missing.join(", ")));
    }
    text
}

/// Another process has the data directory: with roles, that is a matter of how they are split.
fn only_one(failure: Failure, config: &Config) -> Failure {
    if !matches!(failure.code.as_str(), "store.locked" | "broker.locked") {
        return failure;
    }
    let message = format!(
        "the embedded backends in {} belong to one process, and another has them: {}",
        config.data_dir.display(),
        failure.message
    );
    Failure::new(Exit::Conflict, "role.single_process", message)
        .hint("stop that one and name all roles in one `tidewire run`, or use `tidewire up`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_plainly_what_one_process_means() {
        let text = notice(&[Role::Gateway, Role::Social]);
        assert!(
            text.contains("one process") && text.contains("tidewire up") && text.contains("outbox-publisher"),
            "{text}"
        );
        assert!(!notice(&Role::ALL).contains("not running"));
        let locked = Failure::new(Exit::Conflict, "store.locked", "process 4711 has it open");
        let failure = only_one(locked, &Config::default());
        assert_eq!(failure.code, "role.single_process");
        assert!(failure.message.contains("4711"), "{}", failure.message);
    }
}
