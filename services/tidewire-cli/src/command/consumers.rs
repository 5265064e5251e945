//! `consumers`: who handles what, and how far behind.

use axum::http::Method;
use serde_json::{Value, json};

use super::Noun;
use super::parked::agree;
use crate::args::{Consent, ConsumersCommand};
use crate::client::{Client, path};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::table::{Column, number, text, time};
use crate::output::text::printable;

pub(super) const COLUMNS: &[Column] = &[
    text("consumer", &["/name"]),
    text("kind", &["/kind"]),
    number("handled", &["/handled"]),
    number("pending", &["/pending"]),
    number("retrying", &["/retrying"]),
    number("parked", &["/parked"]),
    number("in flight", &["/in_flight"]).wide(),
    number("members", &["/members"]).wide(),
    time("paused", &["/paused/since"]),
    text("why", &["/paused/reason"]).wide(),
    text("types", &["/types"]).wide(),
];

const NOUN: Noun = Noun { columns: COLUMNS, name: &["/name"], empty: "No consumers." };

/// Asks and prints.
pub async fn run(client: &Client, command: &ConsumersCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        ConsumersCommand::Pause { name, consent } => return set(client, name, "pause", consent, output).await,
        ConsumersCommand::Resume { name, consent } => return set(client, name, "resume", consent, output).await,
        ConsumersCommand::List | ConsumersCommand::Show { .. } => {}
    }
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
        ConsumersCommand::Pause { .. } | ConsumersCommand::Resume { .. } => Ok(()),
    }
}

async fn set(client: &Client, name: &str, verb: &str, consent: &Consent, output: &mut Output) -> Result<(), Failure> {
    let consumer = client.get(&path(&["v1", "consumers", name])).await?;
    if consent.dry_run {
        return NOUN.one(output, &consumer);
    }
    agree(consent, &format!("{verb} {name} in every process"))?;
    let body = json!({ "reason": consent.reason });
    let (_, answer) = client.send(Method::POST, &path(&["v1", "consumers", name, verb]), &body).await?;
    Ok(output.thing(&answer, &["/name"], |_| {
        let text = |pointer: &str| printable(answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default());
        match (verb, answer.get("was_paused").is_some_and(Value::is_object)) {
            ("pause", _) => {
                format!("{} is paused since {}; what is in hand is finished", text("/name"), text("/paused/since"))
            }
            (_, true) => format!("{} goes on; it was paused since {}", text("/name"), text("/was_paused/since")),
            (_, false) => format!("{} was not paused", text("/name")),
        }
    })?)
}
