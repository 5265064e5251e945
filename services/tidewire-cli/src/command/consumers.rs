//! `consumers`: who handles what, and how far behind.

use serde_json::Value;

use super::Noun;
use crate::args::ConsumersCommand;
use crate::client::{Client, path};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::table::{Column, number, text};

pub(super) const COLUMNS: &[Column] = &[
    text("consumer", &["/name"]),
    text("kind", &["/kind"]),
    number("handled", &["/handled"]),
    number("pending", &["/pending"]),
    number("retrying", &["/retrying"]),
    number("parked", &["/parked"]),
    number("in flight", &["/in_flight"]).wide(),
    number("members", &["/members"]).wide(),
    text("types", &["/types"]).wide(),
];

const NOUN: Noun = Noun { columns: COLUMNS, name: &["/name"], empty: "No consumers." };

/// Asks and prints.
pub async fn run(client: &Client, command: &ConsumersCommand, output: &mut Output) -> Result<(), Failure> {
    let page = client.get(&path(&["v1", "consumers"])).await?;
    match command {
        ConsumersCommand::List => NOUN.page(output, &page),
        ConsumersCommand::Show { name } => {
            let items = page.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let called = |item: &&Value| item.get("name").and_then(Value::as_str) == Some(name);
            let Some(item) = items.iter().find(called) else {
                return Err(Failure::new(
                    Exit::NotFound,
                    "consumer.not_found",
                    format!("there is no consumer `{name}`"),
                )
                .hint("`tidewire consumers list -o name` prints those there are"));
            };
            NOUN.one(output, item)
        }
    }
}
