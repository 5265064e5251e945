//! `log`: the log in numbers, and whether everything in it has arrived.

use serde_json::Value;

use super::Noun;
use crate::args::LogCommand;
use crate::client::{Client, path};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::table::{self, Column, Look, number, text};
use crate::output::text::count;

const INFO: &[Column] = &[
    text("backend", &["/backend"]),
    text("log id", &["/log_id"]),
    number("schema", &["/schema"]),
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
    }
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
