//! `status`: how the instance is doing.

use serde_json::Value;

use crate::client::{Client, path};
use crate::failure::Failure;
use crate::output::Output;
use crate::output::table::{self, Look};
use crate::output::text;

/// Asks and prints.
pub async fn run(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let mut status = client.get(&path(&["v1", "status"])).await?;
    let live = client.is_live();
    if let Some(members) = status.as_object_mut() {
        members.insert("running".into(), live.into());
    }
    Ok(output.thing(&status, &["/version"], |look| people(&status, live, look))?)
}

/// A durability class in words.
fn survives(class: &str) -> &str {
    match class {
        "disk" => "power loss",
        "os" => "a killed process, not power loss",
        "mem" => "nothing: it is in memory",
        other => other,
    }
}

fn people(status: &Value, live: bool, look: &Look) -> String {
    let number = |pointer: &str| status.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    let word = |pointer: &str| text::printable(status.pointer(pointer).and_then(Value::as_str).unwrap_or("-"));
    let parked = number("/parked");
    let consumers = status.pointer("/consumers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let behind: u64 = consumers.iter().filter_map(|consumer| consumer.get("pending")?.as_u64()).sum();
    let relays = status.pointer("/relays").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let unpublished = relays.iter().filter_map(|relay| relay.get("behind")?.as_u64()).max().unwrap_or_default();
    let source = match (live, word("/store/backend").as_str(), word("/broker/backend").as_str()) {
        (true, _, _) => "",
        (false, "sqlite", _) | (false, _, "embedded") => ", not running: this is what its files say",
        (false, _, _) => ", read from its servers: no gateway answers here",
    };
    let lines = [
        format!("Tidewire {}{source}", word("/version")),
        format!(
            "log      {} events, {}, survives {} ({})",
            text::count(number("/store/head")),
            text::bytes(number("/store/bytes")),
            survives(&word("/store/durability")),
            word("/store/backend")
        ),
        format!(
            "relay    {}, {} events to publish",
            match relays.len() {
                1 => "one shard".to_owned(),
                n => format!("{n} shards"),
            },
            text::count(unpublished)
        ),
        format!(
            "broker   {}, {} events stored so far, {} deliveries to go",
            word("/broker/backend"),
            text::count(number("/extent/last")),
            text::count(behind)
        ),
        match parked {
            0 => "parked   nothing".to_owned(),
            n => format!("parked   {} events: see `tidewire parked list`", text::count(n)),
        },
        String::new(),
        table::render(consumers, super::consumers::COLUMNS, look),
    ];
    lines.join("\n")
}
