//! The table behind `tidewire explain CODE`: what each stable error code means and what to do.
//!
//! Codes are lower-case words, `area.what`. A code that was released keeps its meaning; a new
//! meaning gets a new code. HTTP problems, parked reasons, saga reasons and refusals at start all
//! use the same codes, so that one table answers for all of them.

mod command;
mod configuration;
mod edge;
mod events;
mod push;
mod replay;
mod storage;
mod work;

/// What a code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Explanation {
    /// The stable code.
    pub code: &'static str,
    /// One line: what happened.
    pub title: &'static str,
    /// Why it happens and what Tidewire did about it.
    pub cause: &'static str,
    /// What to do, with the commands.
    pub cure: &'static str,
}

const fn explain_as(code: &'static str, title: &'static str, cause: &'static str, cure: &'static str) -> Explanation {
    Explanation { code, title, cause, cure }
}

const TABLES: [&[Explanation]; 8] = [
    configuration::TABLE,
    storage::TABLE,
    events::TABLE,
    work::TABLE,
    edge::TABLE,
    command::TABLE,
    push::TABLE,
    replay::TABLE,
];

/// The explanation of a code. Case and surrounding space do not matter.
pub fn explain(code: &str) -> Option<&'static Explanation> {
    let code = code.trim().to_ascii_lowercase();
    all().find(|explanation| explanation.code == code)
}

/// Every explanation, by area.
pub fn all() -> impl Iterator<Item = &'static Explanation> {
    TABLES.into_iter().flatten()
}

/// The code a wrong one was meant to be: the nearest by edits, else the only one with the same last part.
pub fn nearest(code: &str) -> Option<&'static str> {
    let code = code.trim().to_ascii_lowercase();
    let by_edits = crate::config::nearest(&code, all().map(|explanation| explanation.code));
    by_edits.or_else(|| {
        let last = code.rsplit('.').next().unwrap_or(&code);
        let mut same = all().map(|explanation| explanation.code).filter(|known| known.rsplit('.').next() == Some(last));
        match (same.next(), same.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_unique_and_well_formed() {
        let mut seen = BTreeSet::new();
        for e in all() {
            assert!(seen.insert(e.code), "{} twice", e.code);
            let parts: Vec<&str> = e.code.split('.').collect();
            assert!(parts.len() == 2 && parts.iter().all(|part| !part.is_empty()), "{}", e.code);
            assert!(
                e.code.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '.'),
                "{}",
                e.code
            );
        }
    }

    #[test]
    fn every_explanation_says_something() {
        for e in all() {
            assert!(e.title.len() > 10 && !e.title.ends_with('.'), "{}", e.code);
            for text in [e.cause, e.cure] {
                assert!(text.len() > 60 && text.ends_with('.'), "{}: {text}", e.code);
            }
        }
    }

    #[test]
    fn lookups_forgive_case_and_suggest_the_nearest() {
        assert_eq!(explain(" Store.Locked ").unwrap().code, "store.locked");
        assert!(explain("store.loked").is_none());
        for (wrong, right) in [("store.loked", "store.locked"), ("saga.stock", "saga.stuck"), ("stuck", "saga.stuck")] {
            assert_eq!(nearest(wrong), Some(right));
        }
        assert_eq!(nearest("nothing like it at all"), None);
    }

    /// Commands that this release has. An explanation that names another one sends its reader into a usage error.
    const COMMANDS: [&str; 50] = [
        "--version",
        "COMMAND --help",
        "config check",
        "config show",
        "consumers list",
        "consumers show",
        "demo",
        "doctor",
        "effects list",
        "effects retry",
        "events lint",
        "events list",
        "events show",
        "events why",
        "explain",
        "import",
        "keys create",
        "keys list",
        "log info",
        "log reconcile",
        "log retire",
        "log verify",
        "parked list",
        "parked redrive",
        "parked show",
        "projections list",
        "projections rebuild",
        "replay apply",
        "replay list",
        "replay plan",
        "replay record",
        "replay stop",
        "run gateway",
        "sagas compensate",
        "sagas done",
        "sagas forward",
        "sagas list",
        "sagas retry",
        "sagas show",
        "sagas signal",
        "sagas skip",
        "schemas list",
        "status",
        "subscriptions list",
        "subscriptions resume",
        "subscriptions show",
        "subscriptions update",
        "up --data-dir",
        "up --listen",
        "verify",
    ];

    #[test]
    fn explanations_name_only_commands_that_exist() {
        let mut found = 0;
        for e in all() {
            for command in e.cure.split('`').filter_map(|part| part.strip_prefix("tidewire ")) {
                let known = command == "up" || COMMANDS.iter().any(|known| command.starts_with(known));
                assert!(known, "{}: tidewire {command}", e.code);
                found += 1;
            }
        }
        assert!(found > 30, "{found}");
    }

    /// Codes in the configuration's own sources are string literals: each must be explained.
    #[test]
    fn every_code_of_the_configuration_is_explained() {
        let sources = [
            include_str!("config/checks.rs"),
            include_str!("config/file.rs"),
            include_str!("config/layers.rs"),
            include_str!("config/secret.rs"),
            include_str!("config/value.rs"),
        ];
        let mut found = 0;
        for literal in sources.iter().flat_map(|source| source.split('"')) {
            if literal.starts_with("config.") || literal.starts_with("listen.") {
                assert!(explain(literal).is_some(), "{literal}");
                found += 1;
            }
        }
        assert!(found > 15, "{found}");
    }
}
