//! `config`: every value with where it came from, and every problem at once.

use serde_json::{Value, json};
use tidewire::config::{Config, ConfigError};

use super::Noun;
use crate::args::ConfigCommand;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::table::text;
use crate::session::Session;

const NOUN: Noun = Noun {
    columns: &[
        text("key", &["/key"]),
        text("value", &["/value"]),
        text("from", &["/from"]),
        text("meaning", &["/meaning"]).wide(),
    ],
    name: &["/key"],
    empty: "No such key.",
};

/// Reads and prints.
pub fn run(session: &Session, command: &ConfigCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        ConfigCommand::Show { prefix } => {
            let config = session.config(&[])?;
            let wanted = prefix.as_deref().unwrap_or_default();
            let rows = config.rows().iter().filter(|row| row.path.starts_with(wanted));
            let items: Vec<Value> = rows
                .map(|row| {
                    json!({"key": row.path, "value": row.value, "from": row.origin.to_string(), "meaning": row.doc})
                })
                .collect();
            if items.is_empty() {
                let failure =
                    Failure::new(Exit::NotFound, "config.unknown_key", format!("no key begins with `{wanted}`"));
                return Err(match tidewire::config::nearest_key(wanted) {
                    Some(near) => failure.hint(format!("did you mean `{near}`?")),
                    None => failure,
                });
            }
            NOUN.page(output, &json!({ "items": items, "cursor": null }))
        }
        ConfigCommand::Check => check(session, output),
    }
}

fn check(session: &Session, output: &mut Output) -> Result<(), Failure> {
    let loaded = Config::load(session.sources(&[])?);
    match loaded.and_then(|config| crate::contracts::foreign(&config)) {
        Ok(_) => {
            let verdict = json!({"ok": true, "problems": []});
            Ok(output.thing(&verdict, &["/ok"], |_| "The configuration is sound.".into())?)
        }
        Err(error) => {
            let verdict = json!({"ok": false, "problems": problems(&error)});
            if output.format().is_for_scripts() {
                output.thing(&verdict, &["/ok"], |_| String::new())?;
            }
            let mut failure = Failure::from(error);
            // The check itself worked.
            failure.exit = Exit::Findings;
            Err(failure)
        }
    }
}

/// Every problem, for scripts.
pub fn problems(error: &ConfigError) -> Vec<Value> {
    let problem = |problem: &tidewire::config::Problem| {
        json!({
            "code": problem.code,
            "key": problem.path,
            "from": problem.origin.to_string(),
            "found": problem.found,
            "expected": problem.expected,
            "hint": problem.hint,
        })
    };
    error.problems.iter().map(problem).collect()
}
