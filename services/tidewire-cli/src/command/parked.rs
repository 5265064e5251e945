//! `parked`: events set aside with a reason, and handing them back.

use std::io::{IsTerminal, Write};
use std::path::Path;

use axum::http::Method;
use serde_json::{Value, json};

use super::Noun;
use crate::args::{Consent, Edit, ParkedCommand};
use crate::client::{Client, path, with_query};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::table::{self, Column, number, text, time};
use crate::output::text::printable;

const COLUMNS: &[Column] = &[
    number("no", &["/ordinal"]),
    text("consumer", &["/consumer"]),
    text("key", &["/key", "/envelope/partitionkey"]),
    text("type", &["/type", "/envelope/type"]),
    text("code", &["/code"]),
    number("attempts", &["/attempts"]),
    time("since", &["/since"]),
    text("event", &["/id", "/envelope/id"]).wide(),
    text("reason", &["/reason"]),
];

const REDRIVEN: &[Column] = &[
    number("no", &["/ordinal"]),
    text("key", &["/key"]),
    text("event", &["/id"]),
    text("handled", &["/handled"]),
    text("error", &["/error"]),
];

const PLAN: &[Column] =
    &[number("no", &["/ordinal"]), text("key", &["/key"]), text("event", &["/id"]), text("error", &["/error"])];

const GROUP_COLUMNS: &[Column] = &[
    text("consumer", &["/consumer"]),
    text("code", &["/code"]),
    text("type", &["/type"]),
    number("events", &["/events"]),
    number("keys", &["/keys"]),
    time("first", &["/first"]),
    time("last", &["/last"]),
    number("e.g.", &["/ordinal"]),
    text("reason", &["/reason"]),
];

const HISTORY: &[Column] = &[
    time("when", &["/time"]),
    text("who", &["/actor"]),
    text("what", &["/verb"]),
    text("why", &["/reason"]),
    text("error", &["/error"]),
];

const CHANGES: &[Column] = &[text("place", &["/pointer"]), text("before", &["/before"]), text("after", &["/after"])];

const NOUN: Noun = Noun { columns: COLUMNS, name: &["/ordinal"], empty: "Nothing is parked." };
const GROUPS: Noun = Noun { columns: GROUP_COLUMNS, name: &["/ordinal"], empty: "Nothing is parked." };
pub(super) const PLANNED: Noun = Noun { columns: PLAN, name: &["/ordinal"], empty: "Nothing is parked." };
pub(super) const OUTCOMES: Noun = Noun { columns: REDRIVEN, name: &["/ordinal"], empty: "Nothing was parked." };

/// Asks and prints.
pub async fn run(client: &Client, command: &ParkedCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        ParkedCommand::List { filter, page } => {
            let limit = page.limit.to_string();
            let mut parameters = filter.parameters().to_vec();
            parameters.extend([("limit", Some(limit.as_str())), ("cursor", page.cursor.as_deref())]);
            let found = client.get(&with_query(&path(&["v1", "parked"]), &parameters)).await?;
            NOUN.page(output, &found)
        }
        ParkedCommand::Groups { filter } => {
            let target = with_query(&path(&["v1", "parked", "groups"]), &filter.parameters());
            GROUPS.page(output, &client.get(&target).await?)
        }
        ParkedCommand::Show { ordinal } => {
            let parked = client.get(&one(*ordinal)).await?;
            Ok(output.thing(&parked, NOUN.name, |look| {
                let event = parked.get("envelope").unwrap_or(&Value::Null);
                let sheet = format!("{}\n\n{}", table::sheet(&parked, COLUMNS, look), super::events::data(event));
                let history = parked.get("history").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                match history.is_empty() {
                    true => sheet,
                    false => format!("{sheet}\n\n{}", table::render(history, HISTORY, look)),
                }
            })?)
        }
        ParkedCommand::Redrive(redrive) => super::redrive::run(client, redrive, output).await,
        ParkedCommand::Edit(asked) => edit(client, asked, output).await,
        ParkedCommand::Drop { ordinal, consent } => drop_one(client, *ordinal, consent, output).await,
    }
}

fn one(ordinal: u64) -> String {
    path(&["v1", "parked", &ordinal.to_string()])
}

/// Shows what would be different, asks, and puts it there.
async fn edit(client: &Client, asked: &Edit, output: &mut Output) -> Result<(), Failure> {
    let mut body = new_data(client, asked).await?;
    body["dry_run"] = json!(true);
    let target = path(&["v1", "parked", &asked.ordinal.to_string(), "edit"]);
    let (_, planned) = client.send(Method::POST, &target, &body).await?;
    let shown = |look: &table::Look| {
        let changes = planned.get("changes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        table::render(changes, CHANGES, look)
    };
    if asked.consent.dry_run {
        return Ok(output.thing(&planned, &["/after/id"], shown)?);
    }
    if !asked.consent.yes {
        // On the side of the question, so that standard output holds the result alone.
        eprintln!("{}", shown(&output.look()));
    }
    agree(&asked.consent, &format!("change the data of the event parked under {}", asked.ordinal))?;
    body["dry_run"] = json!(false);
    body["expect"] = planned.pointer("/before/id").cloned().unwrap_or_default();
    body["reason"] = json!(asked.consent.reason);
    let (_, edited) = client.send(Method::POST, &target, &body).await?;
    Ok(output.thing(&edited, &["/after/id"], |look| {
        let id = |pointer: &str| printable(edited.pointer(pointer).and_then(Value::as_str).unwrap_or("-"));
        let table = shown(look);
        let next = format!("`tidewire parked redrive {}` hands it to its consumer", asked.ordinal);
        format!("{table}\n\n{} takes the place of {}; {next}", id("/after/id"), id("/before/id"))
    })?)
}

/// The new data, from a file or from changes to what is there.
async fn new_data(client: &Client, asked: &Edit) -> Result<Value, Failure> {
    if let Some(file) = &asked.data {
        return Ok(json!({ "data": read_json(file)? }));
    }
    if let Some(file) = &asked.event {
        return Ok(json!({ "event": read_json(file)? }));
    }
    let parked = client.get(&one(asked.ordinal)).await?;
    let mut data = parked.pointer("/envelope/data").cloned().unwrap_or_default();
    for change in &asked.set {
        set(&mut data, change)?;
    }
    Ok(json!({ "data": data }))
}

/// Makes one change, such as `/action=page.viewed`.
fn set(data: &mut Value, change: &str) -> Result<(), Failure> {
    let wrong = |why: String| Failure::new(Exit::Usage, "command.usage", format!("--set {change}: {why}"));
    let (pointer, value) =
        change.split_once('=').ok_or_else(|| wrong("expected POINTER=VALUE, such as /action=page.viewed".into()))?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    if let Some(place) = data.pointer_mut(pointer) {
        *place = value;
        return Ok(());
    }
    // A member that is not there yet, of an object that is.
    let (parent, name) = pointer.rsplit_once('/').ok_or_else(|| wrong("a JSON pointer begins with `/`".into()))?;
    match data.pointer_mut(parent) {
        Some(Value::Object(members)) => {
            members.insert(name.replace("~1", "/").replace("~0", "~"), value);
            Ok(())
        }
        _ => Err(wrong("there is no such place in the data".into())),
    }
}

fn read_json(file: &Path) -> Result<Value, Failure> {
    let failed = |why: String| Failure::new(Exit::Error, "command.failed", format!("{}: {why}", file.display()));
    let text = match file.to_str() {
        Some("-") => std::io::read_to_string(std::io::stdin()),
        _ => std::fs::read_to_string(file),
    };
    let text = text.map_err(|error| failed(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| {
        Failure::new(Exit::Invalid, "http.malformed_json", format!("{}: no JSON: {error}", file.display()))
    })
}

async fn drop_one(client: &Client, ordinal: u64, consent: &Consent, output: &mut Output) -> Result<(), Failure> {
    let parked = client.get(&one(ordinal)).await?;
    if consent.dry_run {
        return NOUN.one(output, &parked);
    }
    let Some(reason) = consent.reason.as_deref().filter(|reason| !reason.trim().is_empty()) else {
        return Err(Failure::new(Exit::Usage, "command.usage", "--reason is needed: what is dropped is never handled"));
    };
    agree(consent, &format!("drop the event parked under {ordinal} for good"))?;
    let target = path(&["v1", "parked", &ordinal.to_string(), "drop"]);
    let (_, dropped) = client.send(Method::POST, &target, &json!({ "reason": reason })).await?;
    let followed = dropped.get("followed").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let failed = followed.iter().filter(|one| one.get("handled") == Some(&Value::Bool(false))).count();
    output.thing(&dropped, &["/id"], |look| match followed.is_empty() {
        true => format!("{ordinal} is dropped"),
        false => format!("{ordinal} is dropped; what waited behind it:\n\n{}", table::render(followed, REDRIVEN, look)),
    })?;
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::new(Exit::Findings, "handler.failed", "what followed it failed, and stays parked")
        .hint("`tidewire parked list` shows it"))
}

/// Asks a person, or needs `--yes`.
pub(super) fn agree(consent: &Consent, what: &str) -> Result<(), Failure> {
    if consent.yes {
        return Ok(());
    }
    let no = |message: String| Failure::new(Exit::Usage, "command.consent_missing", message);
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(no(format!("this would {what}, and there is no terminal to ask on"))
            .hint("--yes agrees beforehand; --dry-run only shows what would happen"));
    }
    eprint!("This will {what}. Go on? [y/N] ");
    // Without the question on screen the answer would be to nothing.
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        Ok(())
    } else {
        Err(no("nothing was done".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_only_yes_agrees() {
        let consent = |yes| Consent { dry_run: false, yes, reason: None };
        assert!(agree(&consent(true), "x").is_ok());
        // The test runner may have a terminal; then a person would be asked.
        if !std::io::stdin().is_terminal() {
            let refused = agree(&consent(false), "redrive 3 events").unwrap_err();
            assert_eq!((refused.exit, refused.code.as_str()), (Exit::Usage, "command.consent_missing"));
            assert!(refused.message.contains("redrive 3 events"), "{}", refused.message);
        }
    }

    #[test]
    fn places_are_set_one_by_one() {
        let mut data = json!({"a": {"b": [1, 2]}, "c": "x"});
        for change in ["/a/b/1=3", "/c=page.viewed", "/d={\"e\":null}", "/a/f~1g=true"] {
            set(&mut data, change).unwrap();
        }
        assert_eq!(data, json!({"a": {"b": [1, 3], "f/g": true}, "c": "page.viewed", "d": {"e": null}}));
        for wrong in ["nothing", "x=1", "/z/y=1", "/a/b/9=1"] {
            assert!(set(&mut data, wrong).is_err(), "{wrong}");
        }
    }
}
