//! `schemas`: what event types look like, and whether a change of one breaks somebody.

mod export;
mod readers;
mod source;
mod stored;

use std::collections::BTreeMap;

use gateway::Contracts;
use serde_json::{Value, json};
use tidewire::contract::{Catalogue, Mode, breaks, compare};

use readers::Reader;

use super::Noun;
use crate::args::SchemasCommand;
use crate::client::Client;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::table::{number, text};
use crate::session::Session;

const TYPES: Noun = Noun {
    columns: &[text("type", &["/type"]), number("versions", &["/versions"]), text("what happened", &["/description"])],
    name: &["/type"],
    empty: "No schemas.",
};

const FINDINGS: Noun = Noun {
    columns: &[
        text("type", &["/type"]),
        number("from", &["/from"]),
        number("to", &["/to"]),
        text("breaks", &["/rule"]),
        text("at", &["/path"]),
        text("how", &["/what"]),
        text("consumers", &["/consumers"]),
    ],
    name: &["/type"],
    empty: "Nothing breaks.",
};

const BREAKS: Noun = Noun {
    columns: &[text("reader", &["/reader"]), text("at", &["/path"]), text("rule", &["/rule"]), text("how", &["/what"])],
    name: &["/path"],
    empty: "Each understands everything the other writes.",
};

/// Reads, compares and prints.
pub async fn run(session: &Session, command: &SchemasCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        SchemasCommand::List { catalogue } => TYPES.page(output, &list(&chosen(session, catalogue.as_deref()).await?)),
        SchemasCommand::Diff { name, from, to, catalogue } => {
            let catalogue = chosen(session, catalogue.as_deref()).await?;
            BREAKS.page(output, &diff(&catalogue, name, *from, *to)?)
        }
        SchemasCommand::Check { against, .. } if against == "log" => {
            let client = Client::connect(session).await?;
            let ended = match contracts(session) {
                Ok(contracts) => stored::check(&client, &contracts, output).await,
                Err(failure) => Err(failure),
            };
            client.close().await;
            ended
        }
        SchemasCommand::Check { against, catalogue, mode } => {
            let (published, new) = (source::read(against).await?, chosen(session, catalogue.as_deref()).await?);
            let readers = readers::find(session).await?;
            check(&published, &new, *mode, catalogue.is_none(), &readers, output)
        }
        SchemasCommand::Export { format, folder } => {
            export::run(&contracts(session)?, *format, folder.as_deref(), output)
        }
    }
}

/// The types of this build, and those of the configured folder.
fn contracts(session: &Session) -> Result<Contracts, Failure> {
    Ok(Contracts::new(crate::contracts::foreign(&session.config(&[])?)?))
}

async fn chosen(session: &Session, catalogue: Option<&str>) -> Result<Catalogue, Failure> {
    match catalogue {
        Some(source) => source::read(source).await,
        None => Ok(contracts(session)?.catalogue()),
    }
}

fn list(catalogue: &Catalogue) -> Value {
    let item = |(name, versions): (&String, &BTreeMap<u16, Value>)| {
        let (last, schema) = versions.last_key_value()?;
        let description = schema.get("description").and_then(Value::as_str).unwrap_or_default();
        Some(json!({ "type": name, "versions": versions.len(), "current": last, "description": description }))
    };
    let items: Vec<Value> = catalogue.types().iter().filter_map(item).collect();
    json!({ "items": items, "cursor": null })
}

fn diff(catalogue: &Catalogue, name: &str, from: u16, to: u16) -> Result<Value, Failure> {
    let schema = |version: u16| {
        catalogue.schema(name, version).ok_or_else(|| {
            let versions = catalogue.types().get(name).map(|all| all.keys().map(u16::to_string).collect::<Vec<_>>());
            let known = versions
                .map_or("the type is not in the catalogue".into(), |all| format!("there are {}", all.join(", ")));
            Failure::new(Exit::NotFound, "schema.unknown", format!("{name} has no version {version}: {known}"))
                .hint("`tidewire schemas list` shows every type")
        })
    };
    let (older, newer) = (schema(from)?, schema(to)?);
    let side = |reader: u16, broken: Vec<tidewire::contract::Break>| {
        broken.into_iter().map(move |broken| {
            json!({ "reader": format!("v{reader}"), "path": broken.path, "rule": broken.rule, "what": broken.what })
        })
    };
    let items: Vec<Value> = side(to, breaks(newer, older)).chain(side(from, breaks(older, newer))).collect();
    Ok(json!({ "items": items, "cursor": null }))
}

fn check(
    published: &Catalogue,
    new: &Catalogue,
    mode: Mode,
    is_own: bool,
    readers: &[Reader],
    output: &mut Output,
) -> Result<(), Failure> {
    // Every older version of this build's types is upcast before a handler sees it; a test holds that.
    let is_upcast =
        |name: &str, from: u16| is_own && ::events::entry(name).is_some_and(|entry| from < entry.ty.version());
    let findings: Vec<Value> = compare(published, new, mode, is_upcast)
        .into_iter()
        .map(|finding| {
            let hit = readers::hit(readers, &finding);
            json!({
                "type": finding.name, "from": finding.from, "to": finding.to, "rule": finding.rule,
                "keyword": finding.broken.rule, "path": finding.broken.path, "what": finding.broken.what,
                "consumers": hit,
            })
        })
        .collect();
    FINDINGS.page(output, &json!({ "items": findings, "cursor": null }))?;
    if findings.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Exit::Findings, "schema.breaks", format!("{} changes break a contract ({mode})", findings.len()))
        .hint("make a new version of each type, with an upcast, and leave what is published as it is"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;

    #[test]
    fn this_build_breaks_nothing_it_published() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas");
        let published = Catalogue::from_folder(&folder).unwrap();
        let (mut output, _) = Output::to_memory(Format::Json);
        check(&published, &Contracts::default().catalogue(), Mode::BackwardTransitive, true, &[], &mut output).unwrap();
    }

    #[test]
    fn what_breaks_is_named_with_whom_it_hits() {
        let mut published = Contracts::default().catalogue();
        published.insert("user.gone", 1, json!({"type": "object"}));
        let mut stricter = published.schema("user.followed", 1).unwrap().clone();
        stricter["required"] = json!(["follower_id"]);
        published.insert("user.followed", 1, stricter);
        let readers = [Reader::new("social.followers", &["user.followed.v1"])];
        let (mut output, sink) = Output::to_memory(Format::Table);
        let failure = check(&published, &Contracts::default().catalogue(), Mode::Backward, true, &readers, &mut output)
            .unwrap_err();
        assert_eq!((failure.exit, failure.code.as_str()), (Exit::Findings, "schema.breaks"));
        for wanted in ["user.gone", "removed", "user.followed", "/followed_id", "social.followers"] {
            assert!(sink.text().contains(wanted), "{wanted}: {}", sink.text());
        }
    }

    #[test]
    fn two_versions_are_compared_both_ways() {
        let found = diff(&Contracts::default().catalogue(), "activity.tracked", 1, 2).unwrap();
        let readers: Vec<&str> =
            found["items"].as_array().unwrap().iter().filter_map(|item| item["reader"].as_str()).collect();
        assert!(readers.contains(&"v1") && readers.contains(&"v2"), "{found}");
        assert_eq!(diff(&Contracts::default().catalogue(), "activity.tracked", 1, 9).unwrap_err().exit, Exit::NotFound);
    }
}
