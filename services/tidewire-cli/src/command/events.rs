//! `events`: the log, one event, and the live tail.

use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;

use super::Noun;
use crate::args::{EventFilter, EventsCommand};
use crate::client::{Client, SseParser, path, with_query};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::table::{self, Column, Look, number, text, time};
use crate::output::text as safe;

/// A broken tail is taken up again after this long.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);
/// This often in a row without one event in between; then the instance counts as gone.
const MAX_RECONNECTS: u32 = 30;
/// A stream says that it is alive far more often; one that is silent for so long is broken.
const MAX_SILENCE: Duration = Duration::from_secs(60);
/// The longest data shown on a line of the tail, in characters.
const TAIL_CHARS: usize = 100;

const COLUMNS: &[Column] = &[
    number("position", &["/position"]),
    time("when", &["/event/time", "/time"]),
    text("type", &["/event/type", "/type"]),
    text("key", &["/event/partitionkey", "/partitionkey"]),
    number("version", &["/event/sequence", "/sequence"]).wide(),
    text("source", &["/event/source", "/source"]).wide(),
    text("flow", &["/event/correlationid", "/correlationid"]).wide(),
    text("id", &["/event/id", "/id"]),
];

const NOUN: Noun = Noun { columns: COLUMNS, name: &["/event/id", "/id"], empty: "No events." };

/// Asks and prints.
pub async fn run(client: &Client, command: &EventsCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        EventsCommand::List { filter, oldest_first, page } => {
            let limit = page.limit.to_string();
            let order = if *oldest_first { "oldest" } else { "newest" };
            let parameters = [
                ("type", filter.ty.as_deref()),
                ("key", filter.key.as_deref()),
                ("correlation", filter.flow.as_deref()),
                ("filter", filter.expression.as_deref()),
                ("order", Some(order)),
                ("limit", Some(limit.as_str())),
                ("cursor", page.cursor.as_deref()),
            ];
            let found = client.get(&with_query(&path(&["v1", "events"]), &parameters)).await?;
            NOUN.page(output, &found)
        }
        EventsCommand::Show { id } => {
            let event = client.get(&path(&["v1", "events", id])).await?;
            Ok(output.thing(&event, NOUN.name, |look| {
                // Of its own an event has no position: that is the log's.
                format!("{}\n\n{}", table::sheet(&event, &COLUMNS[1..], look), data(&event))
            })?)
        }
        EventsCommand::Why { id } => super::why::run(client, id, output).await,
        EventsCommand::Tail { filter, count } => tail(client, filter, *count, output).await,
        // They have files of their own; neither is a question to the log.
        EventsCommand::Emit(_) | EventsCommand::Lint(_) => {
            Err(Failure::new(Exit::Usage, "command.usage", format!("{command:?} is not asked of the log")))
        }
    }
}

/// An event's data, laid out.
pub(super) fn data(event: &Value) -> String {
    match (event.get("data"), event.get("data_base64").and_then(Value::as_str)) {
        (Some(data), _) => format!("{data:#}").lines().map(safe::printable).collect::<Vec<_>>().join("\n"),
        (None, Some(encoded)) => {
            format!("{} bytes in base64: {}", encoded.len() / 4 * 3, safe::shortened(encoded, 400))
        }
        (None, None) => "no data".into(),
    }
}

async fn tail(client: &Client, filter: &EventFilter, count: Option<u64>, output: &mut Output) -> Result<(), Failure> {
    if !client.is_live() {
        return Err(Failure::new(
            Exit::Unavailable,
            "client.unreachable",
            "no instance is running, so nothing is appended",
        )
        .hint("start one with `tidewire up`; `tidewire events list` shows what is in the log"));
    }
    let parameters = [
        ("type", filter.ty.as_deref()),
        ("key", filter.key.as_deref()),
        ("correlation", filter.flow.as_deref()),
        ("filter", filter.expression.as_deref()),
    ];
    let target = with_query(&path(&["v1", "events", "stream"]), &parameters);
    let mut tail = Tail { last_id: head(client).await?, left: count.unwrap_or(u64::MAX) };
    let mut failures = 0;
    while tail.left > 0 {
        let before = tail.left;
        let ended = tail.follow(client, &target, output).await;
        match ended {
            Ok(()) => {}
            Err(failure) if failure.exit != Exit::Unavailable => return Err(failure),
            Err(failure) if failures >= MAX_RECONNECTS => return Err(failure),
            Err(_) => {}
        }
        failures = if tail.left < before { 0 } else { failures + 1 };
        if tail.left > 0 {
            tokio::time::sleep(RECONNECT_AFTER).await;
        }
    }
    Ok(())
}

/// Where the log ends now: a connection that breaks before its first event goes on from here.
async fn head(client: &Client) -> Result<String, Failure> {
    let newest = [("order", Some("newest")), ("limit", Some("1"))];
    let page = client.get(&with_query(&path(&["v1", "events"]), &newest)).await?;
    let position = page.pointer("/items/0/position").and_then(Value::as_u64);
    Ok(position.unwrap_or_default().to_string())
}

/// A live tail that goes on where it broke off.
struct Tail {
    last_id: String,
    left: u64,
}

impl Tail {
    /// Prints until the stream ends, or enough was printed.
    async fn follow(&mut self, client: &Client, target: &str, output: &mut Output) -> Result<(), Failure> {
        let mut reply = client.stream(target, &self.last_id).await?;
        let mut parser = SseParser::default();
        while let Ok(Some(chunk)) = tokio::time::timeout(MAX_SILENCE, reply.chunks.next()).await {
            let events =
                parser.push(&chunk?).map_err(|error| Failure::new(Exit::Error, "client.unexpected_answer", error))?;
            for event in events {
                if let Some(id) = event.id {
                    self.last_id = id;
                }
                let Ok(item) = serde_json::from_str::<Value>(&event.data) else { continue };
                output.item(&item, NOUN.name, |look| line(&item, look))?;
                self.left -= 1;
                if self.left == 0 {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

fn line(item: &Value, look: &Look) -> String {
    let event = item.get("event").unwrap_or(item);
    let word = |name: &str| safe::printable(event.get(name).and_then(Value::as_str).unwrap_or("-"));
    let when = safe::time(&word("time"), safe::TimeStyle::Iso, look.now);
    let data = event.get("data").map(Value::to_string).unwrap_or_default();
    let data = if look.wide { safe::printable(&data) } else { safe::shortened(&data, TAIL_CHARS) };
    format!("{when}  {:<28} {:<24} {data}", word("type"), word("partitionkey"))
}
