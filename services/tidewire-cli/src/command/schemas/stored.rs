//! `schemas check --against log`: can this build read everything that is stored?

use std::collections::BTreeMap;

use gateway::Contracts;
use serde_json::{Value, json};
use tidewire::Envelope;

use super::Noun;
use crate::client::{Client, path, with_query};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::table::{number, text};

/// Events per request.
const PAGE: &str = "500";

const ROWS: Noun = Noun {
    columns: &[
        text("type", &["/type"]),
        number("stored", &["/events"]),
        number("unreadable", &["/unreadable"]),
        text("first", &["/first"]),
        text("why", &["/why"]),
    ],
    name: &["/type"],
    empty: "Nothing is stored.",
};

/// What was found of one type and version.
#[derive(Default)]
struct Row {
    events: u64,
    unreadable: u64,
    /// The first that cannot be read: where it is, and why.
    first: Option<(String, String)>,
}

impl Row {
    fn add(&mut self, place: &str, read: Result<(), String>) {
        self.events += 1;
        if let Err(why) = read {
            self.unreadable += 1;
            self.first.get_or_insert_with(|| (place.to_owned(), why));
        }
    }
}

/// Reads the whole log, everything that is parked, and every saga, as handlers and orchestrators would.
pub async fn check(client: &Client, contracts: &Contracts, output: &mut Output) -> Result<(), Failure> {
    let mut rows = BTreeMap::<String, Row>::new();
    let mut cursor = None;
    loop {
        let (items, next) = page(client, "events", cursor.as_deref()).await?;
        for item in items {
            let place = format!("position {}", item.get("position").unwrap_or(&Value::Null));
            look_at(contracts, item.get("event").unwrap_or(&Value::Null), &place, &mut rows);
        }
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    loop {
        let (items, next) = page(client, "parked", cursor.as_deref()).await?;
        for item in items {
            // A list shows no data.
            let ordinal = item.get("ordinal").unwrap_or(&Value::Null).to_string();
            let parked = client.get(&path(&["v1", "parked", &ordinal])).await?;
            let place = format!("parked {ordinal}");
            look_at(contracts, parked.get("envelope").unwrap_or(&Value::Null), &place, &mut rows);
        }
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    loop {
        let (items, next) = page(client, "sagas", cursor.as_deref()).await?;
        for item in items {
            // A list shows no state.
            let id = item.get("id").and_then(Value::as_str).unwrap_or_default();
            look_at_saga(&client.get(&path(&["v1", "sagas", id])).await?, &mut rows);
        }
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    let items: Vec<Value> = rows
        .iter()
        .map(|(ty, row)| {
            let (first, why) = row.first.clone().unzip();
            json!({ "type": ty, "events": row.events, "unreadable": row.unreadable, "first": first, "why": why })
        })
        .collect();
    let unreadable: u64 = rows.values().map(|row| row.unreadable).sum();
    ROWS.page(output, &json!({ "items": items, "cursor": null }))?;
    match unreadable {
        0 => Ok(()),
        some => Err(Failure::new(
            Exit::Findings,
            "schema.unreadable",
            format!("{some} of what is stored cannot be read by this build"),
        )
        .hint("give the type an upcast from the version that is stored, run the build that wrote it, or name the folder with its schema in schemas.dir")),
    }
}

async fn page(client: &Client, noun: &str, cursor: Option<&str>) -> Result<(Vec<Value>, Option<String>), Failure> {
    let parameters = [("limit", Some(PAGE)), ("cursor", cursor)];
    let mut page = client.get(&with_query(&path(&["v1", noun]), &parameters)).await?;
    let next = page.get("cursor").and_then(Value::as_str).map(str::to_owned);
    let items = page.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
    Ok((items, next))
}

fn look_at(contracts: &Contracts, event: &Value, place: &str, rows: &mut BTreeMap<String, Row>) {
    let ty = event.get("type").and_then(Value::as_str).unwrap_or("?").to_owned();
    rows.entry(ty).or_default().add(place, read(contracts, event));
}

/// A saga's journal counts as a type of its own, by the saga's name and the version of its definition.
fn look_at_saga(saga: &Value, rows: &mut BTreeMap<String, Row>) {
    let text = |name: &str| saga.get(name).and_then(Value::as_str).unwrap_or("?");
    let ty = format!("saga {}.v{}", text("type"), saga.get("definition").unwrap_or(&Value::Null));
    rows.entry(ty).or_default().add(&format!("saga {}", text("id")), saga_orchestrator::read(saga));
}

fn read(contracts: &Contracts, event: &Value) -> Result<(), String> {
    let envelope = Envelope::from_json(event.to_string().as_bytes()).map_err(|error| error.to_string())?;
    contracts.read(&envelope)
}
