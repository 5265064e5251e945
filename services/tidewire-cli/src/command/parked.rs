//! `parked`: events set aside with a reason, and handing them back.

use std::io::{IsTerminal, Write};

use axum::http::Method;
use serde_json::{Value, json};

use super::Noun;
use crate::args::{Consent, ParkedCommand, ParkedFilter, Redrive};
use crate::client::{Client, path, with_query};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::table::{self, Column, number, text, time};

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

const NOUN: Noun = Noun { columns: COLUMNS, name: &["/ordinal"], empty: "Nothing is parked." };
const OUTCOMES: Noun = Noun { columns: REDRIVEN, name: &["/ordinal"], empty: "Nothing was parked." };

/// Asks and prints.
pub async fn run(client: &Client, command: &ParkedCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        ParkedCommand::List { filter, page } => {
            let found = list(client, filter, page.limit, page.cursor.as_deref()).await?;
            NOUN.page(output, &found)
        }
        ParkedCommand::Show { ordinal } => {
            let parked = client.get(&path(&["v1", "parked", &ordinal.to_string()])).await?;
            Ok(output.thing(&parked, NOUN.name, |look| {
                let event = parked.get("envelope").unwrap_or(&Value::Null);
                format!("{}\n\n{}", table::sheet(&parked, COLUMNS, look), super::events::data(event))
            })?)
        }
        ParkedCommand::Redrive(redrive) => run_redrive(client, redrive, output).await,
    }
}

async fn list(client: &Client, filter: &ParkedFilter, limit: u32, cursor: Option<&str>) -> Result<Value, Failure> {
    let limit = limit.to_string();
    let parameters = [
        ("consumer", filter.consumer.as_deref()),
        ("key", filter.key.as_deref()),
        ("limit", Some(limit.as_str())),
        ("cursor", cursor),
    ];
    client.get(&with_query(&path(&["v1", "parked"]), &parameters)).await
}

async fn run_redrive(client: &Client, redrive: &Redrive, output: &mut Output) -> Result<(), Failure> {
    let filter = ParkedFilter { consumer: Some(redrive.consumer.clone()), key: redrive.key.clone() };
    let planned = list(client, &filter, redrive.limit, None).await?;
    if redrive.consent.dry_run {
        return NOUN.page(output, &planned);
    }
    let count = planned.get("items").and_then(Value::as_array).map_or(0, Vec::len);
    if count > 0 {
        agree(&redrive.consent, &format!("hand {count} parked events to {} again", redrive.consumer))?;
    }
    let body = json!({
        "consumer": redrive.consumer,
        "key": redrive.key,
        "limit": redrive.limit,
        "reason": redrive.consent.reason,
    });
    let (_, outcomes) = client.send(Method::POST, &path(&["v1", "parked", "redrive"]), &body).await?;
    OUTCOMES.page(output, &outcomes)?;
    let items = outcomes.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let failed = items.iter().filter(|item| item.get("handled") == Some(&Value::Bool(false))).count();
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::new(Exit::Findings, "handler.failed", format!("{failed} keys failed again and stay parked"))
        .hint("correct the cause their errors name, then redrive again"))
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
}
