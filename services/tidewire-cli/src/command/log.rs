//! `log`: the log in numbers, whether everything in it has arrived, and removing what is old.

use axum::http::Method;
use serde_json::{Value, json};

use super::Noun;
use crate::args::{LogCommand, Reconcile};
use crate::client::{Client, path};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::table::{self, Column, Look, number, text};
use crate::output::text::{count, printable};

const INFO: &[Column] = &[
    text("backend", &["/backend"]),
    text("log id", &["/log_id"]),
    number("schema", &["/schema"]),
    number("first", &["/first"]),
    number("events", &["/head"]),
    number("bytes", &["/bytes"]),
    text("durability", &["/durability"]),
];

const CONSUMERS: &[Column] = &[
    text("consumer", &["/name"]),
    number("handled", &["/handled"]),
    number("parked", &["/parked"]),
    number("unhandled", &["/unhandled"]),
];

const NOUN: Noun = Noun { columns: INFO, name: &["/log_id"], empty: "No log." };

/// Asks and prints.
pub async fn run(client: &Client, command: &LogCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        LogCommand::Info => {
            let status = client.get(&path(&["v1", "status"])).await?;
            NOUN.one(output, status.get("store").unwrap_or(&Value::Null))
        }
        LogCommand::Verify => verify(client, output).await,
        LogCommand::Reconcile(reconcile) => run_reconcile(client, reconcile, output).await,
        LogCommand::Retire(retire) => super::retire::run(client, retire, output).await,
    }
}

async fn run_reconcile(client: &Client, asked: &Reconcile, output: &mut Output) -> Result<(), Failure> {
    let consent = &asked.consent;
    if !consent.dry_run {
        super::parked::agree(consent, "publish again what the broker has lost")?;
    }
    let body = json!({"since": asked.since, "dry_run": consent.dry_run, "reason": consent.reason});
    let (_, found) = client.send(Method::POST, &path(&["v1", "log", "reconcile"]), &body).await?;
    output.thing(&found, &["/missing"], |_| compared(&found, consent.dry_run))?;
    let number = |member: &str| found.get(member).and_then(Value::as_u64);
    match (number("missing"), number("refused")) {
        (Some(missing), _) if missing > 0 && consent.dry_run => {
            let message = format!("{} events are not on the broker, which ought to hold them", count(missing));
            Err(Failure::new(Exit::Findings, "event.lost", message)
                .hint("the same command with --yes instead of --dry-run has them published again"))
        }
        (_, Some(refused)) if refused > 0 => {
            let message = format!("the broker refuses {} of the events that it lost", count(refused));
            Err(Failure::new(Exit::Findings, "event.too_large", message)
                .hint("raise broker.max_event_bytes, and the server's own limit, then run it again"))
        }
        (Some(_), Some(_)) => Ok(()),
        // What does not say that nothing is missing must not pass for it.
        _ => Err(Failure::new(Exit::Error, "client.unexpected_answer", "the answer does not say what is missing")),
    }
}

fn compared(found: &Value, dry_run: bool) -> String {
    let number = |member: &str| found.get(member).and_then(Value::as_u64).unwrap_or_default();
    let mut lines = vec![
        format!(
            "compared  {} events, positions {} to {}",
            count(number("compared")),
            count(number("after") + 1),
            count(number("until"))
        ),
        format!(
            "broker    {} there, {} outside its retention, {} missing",
            count(number("present")),
            count(number("outside_retention")),
            count(number("missing"))
        ),
    ];
    if number("missing") > 0 {
        lines.push(format!("waited for by consumers: {}", count(number("waited_for"))));
        if !dry_run {
            lines.push(format!("published again: {}", count(number("published"))));
        }
        let ids = found.get("first").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        lines.extend(ids.iter().filter_map(Value::as_str).map(|id| format!("  {}", printable(id))));
    }
    if number("recognised") > 0 {
        let text =
            "of these, the broker says that it holds them although it does not show them: again in a few minutes";
        lines.push(format!("{text}: {}", count(number("recognised"))));
    }
    lines.join("\n")
}

async fn verify(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let audit = client.get(&path(&["v1", "audit"])).await?;
    output.thing(&audit, &["/lost"], |look| people(&audit, look))?;
    match audit.get("lost").and_then(Value::as_u64) {
        Some(0) => Ok(()),
        // What does not say that nothing is lost must not pass for it.
        lost => {
            let lost = lost.map_or_else(|| "an unknown number of".to_owned(), count);
            Err(Failure::new(Exit::Findings, "event.lost", format!("{lost} events are not where they must be"))
                .hint("what is still on its way counts: run it again once `tidewire status` has nothing to go"))
        }
    }
}

fn people(audit: &Value, look: &Look) -> String {
    let number = |member: &str| count(audit.get(member).and_then(Value::as_u64).unwrap_or_default());
    let consumers = audit.get("consumers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let broker = ["published", "released", "missing_on_broker"].map(number);
    [
        format!("log      {} events, {} holes", number("appended"), number("holes")),
        format!("broker   {} there, {} released, {} missing", broker[0], broker[1], broker[2]),
        format!("lost     {}", number("lost")),
        String::new(),
        table::render(consumers, CONSUMERS, look),
    ]
    .join("\n")
}
