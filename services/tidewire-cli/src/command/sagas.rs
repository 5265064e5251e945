//! `sagas`: long workflows, and every step they took.

use serde_json::Value;

use super::Noun;
use crate::args::SagasCommand;
use crate::client::{Client, path, with_query};
use crate::failure::Failure;
use crate::output::Output;
use crate::output::table::{self, Column, Look, number, text, time};

const COLUMNS: &[Column] = &[
    text("saga", &["/id"]),
    text("type", &["/type"]),
    text("status", &["/status"]),
    text("step", &["/step"]),
    text("code", &["/code"]),
    time("updated", &["/updated"]),
    text("reason", &["/reason"]).wide(),
    time("started", &["/started"]).wide(),
    text("key", &["/key"]).wide(),
];

const STEPS: &[Column] = &[
    text("step", &["/name"]),
    text("status", &["/status"]),
    number("attempts", &["/attempts"]),
    number("undo attempts", &["/undo_attempts"]),
    number("seconds", &["/seconds"]),
    text("reason", &["/failure/reason"]),
];

const HISTORY: &[Column] = &[
    time("when", &["/at"]),
    text("what", &["/what"]),
    text("step", &["/step"]),
    number("attempt", &["/attempt"]),
    text("reason", &["/reason"]),
    text("event", &["/event"]).wide(),
];

const NOUN: Noun = Noun { columns: COLUMNS, name: &["/id"], empty: "No sagas." };

/// Asks and prints.
pub async fn run(client: &Client, command: &SagasCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        SagasCommand::List { status, ty, page } => {
            let limit = page.limit.to_string();
            let parameters = [
                ("status", status.as_deref()),
                ("type", ty.as_deref()),
                ("limit", Some(limit.as_str())),
                ("cursor", page.cursor.as_deref()),
            ];
            let found = client.get(&with_query(&path(&["v1", "sagas"]), &parameters)).await?;
            NOUN.page(output, &found)
        }
        SagasCommand::Show { id } => {
            let saga = client.get(&path(&["v1", "sagas", id])).await?;
            Ok(output.thing(&saga, NOUN.name, |look| people(&saga, look))?)
        }
    }
}

fn people(saga: &Value, look: &Look) -> String {
    let mut shown = table::sheet(saga, COLUMNS, look);
    for (pointer, columns) in [("/steps", STEPS), ("/history", HISTORY)] {
        if let Some(rows) = saga.pointer(pointer).and_then(Value::as_array) {
            shown.push_str("\n\n");
            shown.push_str(&table::render(rows, columns, look));
        }
    }
    shown
}
