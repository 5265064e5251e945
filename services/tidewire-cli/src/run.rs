//! `run ROLE…`: some roles in this process.

use tidewire::config::Config;

use crate::args::{Role, RunArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::instance::Instance;
use crate::output::Output;
use crate::session::{Session, listen_flag};
use crate::{up, wire};

/// Runs until a signal.
pub async fn run(session: &Session, args: &RunArgs, output: &mut Output) -> Result<(), Failure> {
    let config = session.config(&listen_flag(args.listen.as_deref()))?;
    let mut roles = args.roles.clone();
    roles.sort_unstable();
    roles.dedup();
    let asked = up::begin(&config)?;
    for notice in notices(&config, &roles) {
        eprintln!("note: {notice}");
    }
    let instance =
        Instance::start(&config, &roles, session.clock.clone()).await.map_err(|failure| only_one(failure, &config))?;
    up::announce(session, &instance, &config, &roles, output)?;
    up::until_asked(instance, asked).await
}

/// What everybody should know who runs these roles on these backends.
fn notices(config: &Config, roles: &[Role]) -> Vec<String> {
    if wire::is_shared(config) { on_shared(config, roles) } else { on_embedded(roles) }
}

fn on_embedded(roles: &[Role]) -> Vec<String> {
    let missing: Vec<&str> = Role::ALL.iter().filter(|role| !roles.contains(role)).map(|role| role.name()).collect();
    let mut notices = vec![
        "an embedded log or broker allows one process, so no other process can run the remaining roles beside this \
         one: name all you need here, or use `tidewire up`. Roles in several processes need PostgreSQL, and JetStream \
         or Kafka."
            .to_owned(),
    ];
    if !missing.is_empty() {
        notices.push(format!("not running: {}. Their events wait in the log.", missing.join(", ")));
    }
    notices
}

/// Roles that read or write the bytes of documents.
const OBJECT_ROLES: [Role; 3] = [Role::Gateway, Role::Documents, Role::Enrichment];

/// What is kept on this machine although the backends are shared.
fn on_shared(config: &Config, roles: &[Role]) -> Vec<String> {
    let mut notices = Vec::new();
    let here = |role: &Role| roles.contains(role);
    if OBJECT_ROLES.iter().any(here)
        && !OBJECT_ROLES.iter().all(here)
        // Who names a folder knows who shares it.
        && config.objects.url.is_empty()
        && let Some(dir) = config.objects_dir()
    {
        notices.push(format!(
            "the bytes of documents are in {} on this machine. The roles gateway, documents and enrichment need the same \
             ones: on several machines, set objects.url to a folder that all of them mount.",
            dir.display()
        ));
    }
    if here(&Role::Documents) {
        notices.push(format!(
            "the search index is in {}, in a folder named after the log, and belongs to this process. It is made again from the log where it is missing. Run \
             the role documents once only.",
            config.data_dir.display()
        ));
    }
    if here(&Role::Gateway) != here(&Role::Documents) {
        notices.push(
            "only a process with both roles, gateway and documents, can search; elsewhere GET /v1/search answers \
             index.elsewhere."
                .to_owned(),
        );
    }
    notices
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
    fn on_shared_backends_only_what_is_local_is_named() {
        let config = Config::with([("store.url", "postgres://h/d"), ("broker.url", "nats://h")]).unwrap();
        let told = |roles: &[Role]| notices(&config, roles).join("\n");
        assert_eq!(told(&[Role::Social, Role::OutboxPublisher]), "");
        assert!(!told(&Role::ALL).contains("objects.url"), "all of them are here");
        assert!(told(&[Role::Enrichment]).contains("objects.url"));
        let text = told(&[Role::Documents]);
        assert!(
            text.contains("objects.url") && text.contains("search index") && text.contains("index.elsewhere"),
            "{text}"
        );
        assert!(!told(&[Role::Gateway, Role::Documents]).contains("index.elsewhere"));
    }

    #[test]
    fn says_plainly_what_one_process_means() {
        let text = notices(&Config::default(), &[Role::Gateway, Role::Social]).join("\n");
        assert!(
            text.contains("one process") && text.contains("tidewire up") && text.contains("outbox-publisher"),
            "{text}"
        );
        assert_eq!(on_embedded(&Role::ALL).len(), 1);
        let locked = Failure::new(Exit::Conflict, "store.locked", "process 4711 has it open");
        let failure = only_one(locked, &Config::default());
        assert_eq!(failure.code, "role.single_process");
        assert!(failure.message.contains("4711"), "{}", failure.message);
    }
}
