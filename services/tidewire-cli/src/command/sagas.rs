//! `sagas`: long workflows, every step they took, and what people decide about them.

use axum::http::Method;
use serde_json::{Value, json};

use super::Noun;
use super::parked::agree;
use crate::args::{Consent, OrderArgs, ReplyArgs, SagasCommand, SignalArgs, StartArgs};
use crate::client::{Client, path, with_query};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::table::{self, Column, Look, number, text, time};
use crate::output::text::printable;

/// The longest JSON read from a file: what one event may hold, and more than any does.
const MAX_JSON_BYTES: u64 = 1 << 20;

const COLUMNS: &[Column] = &[
    text("saga", &["/id"]),
    text("type", &["/type"]),
    text("status", &["/status"]),
    text("step", &["/step"]),
    text("code", &["/code"]),
    time("started", &["/started"]),
    time("updated", &["/updated"]),
    text("key", &["/key"]),
    text("reason", &["/reason"]).wide(),
];

/// What `show` says beyond a row of the list.
const SHEET: &[Column] = &[
    text("saga", &["/id"]),
    text("type", &["/type"]),
    text("status", &["/status"]),
    text("step", &["/step"]),
    text("code", &["/code"]),
    text("reason", &["/reason"]),
    time("started", &["/started"]),
    time("updated", &["/updated"]),
    number("seconds", &["/seconds"]),
    time("timer", &["/timer"]),
    text("key", &["/key"]),
    number("revision", &["/revision"]),
    number("definition", &["/definition"]),
    text("fingerprint", &["/fingerprint"]),
    text("flow", &["/correlationid"]),
    text("cause", &["/cause"]),
    number("ignored", &["/ignored"]),
];

const STEPS: &[Column] = &[
    text("step", &["/name"]),
    text("status", &["/status"]),
    number("attempts", &["/attempts"]),
    number("undo attempts", &["/undo_attempts"]),
    number("seconds", &["/seconds"]),
    time("due", &["/due"]),
    text("then", &["/then"]),
    text("reason", &["/failure/reason"]),
    text("request", &["/request"]).wide(),
    text("undo request", &["/undo_request"]).wide(),
];

const HISTORY: &[Column] = &[
    time("when", &["/at"]),
    text("what", &["/what"]),
    text("step", &["/step"]),
    number("attempt", &["/attempt"]),
    number("seconds", &["/seconds"]),
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
        SagasCommand::Start(start) => run_start(client, start, output).await,
        SagasCommand::Signal(signal) => run_signal(client, signal, output).await,
        SagasCommand::Retry(order) => decide(client, "retry", order, None, output).await,
        SagasCommand::Skip(reply) => decide_reply(client, "skip", reply, output).await,
        SagasCommand::Done(reply) => decide_reply(client, "done", reply, output).await,
        SagasCommand::Compensate(order) => decide(client, "compensate", order, None, output).await,
        SagasCommand::Forward(order) => decide(client, "forward", order, None, output).await,
        SagasCommand::Cancel(order) => decide(client, "cancel", order, None, output).await,
    }
}

async fn decide_reply(client: &Client, verb: &str, reply: &ReplyArgs, output: &mut Output) -> Result<(), Failure> {
    let supplied = reply.reply.as_deref().map(json_of).transpose()?;
    decide(client, verb, &reply.order, supplied, output).await
}

/// Shows how far an order reaches, asks, and has it carried out on the saga as it was shown.
async fn decide(
    client: &Client,
    verb: &str,
    order: &OrderArgs,
    supplied: Option<Value>,
    output: &mut Output,
) -> Result<(), Failure> {
    let target = path(&["v1", "sagas", &order.id, verb]);
    let mut body = json!({"dry_run": true});
    if let Some(step) = &order.step {
        body["step"] = json!(step);
    }
    if let Some(supplied) = supplied {
        body["output"] = supplied;
    }
    if !order.consent.dry_run {
        body["reason"] = json!(reason(&order.consent)?);
    }
    let (_, shown) = client.send(Method::POST, &target, &body).await?;
    let revision = shown.get("revision").and_then(Value::as_u64).unwrap_or_default();
    if order.revision.is_some_and(|expected| expected != revision) {
        let message = format!("the saga changed meanwhile: it is at revision {revision}");
        let failure = Failure::new(Exit::Conflict, "saga.revision_changed", message);
        return Err(failure.hint("look at it again with `tidewire sagas show`, then decide again"));
    }
    if order.consent.dry_run {
        return Ok(output.thing(&shown, NOUN.name, |_| outlook(&shown))?);
    }
    if !order.consent.yes {
        eprintln!("{}", outlook(&shown));
    }
    agree(&order.consent, &format!("{verb} saga {}", order.id))?;
    body["dry_run"] = json!(false);
    body["revision"] = json!(revision);
    let (_, done) = client.send(Method::POST, &target, &body).await?;
    Ok(output.thing(&done, NOUN.name, |_| outlook(&done))?)
}

async fn run_start(client: &Client, start: &StartArgs, output: &mut Output) -> Result<(), Failure> {
    let mut body = json!({"type": start.saga, "data": json_of(&start.data)?});
    if let Some(token) = &start.token {
        body["token"] = json!(token);
    }
    if let Some(reason) = &start.consent.reason {
        body["reason"] = json!(reason);
    }
    if start.consent.dry_run {
        return Ok(output.thing(&body, &["/type"], |_| format!("would start a {} saga", start.saga))?);
    }
    agree(&start.consent, &format!("start a {} saga", start.saga))?;
    let (_, started) = client.send(Method::POST, &path(&["v1", "sagas"]), &body).await?;
    let first = started.get("first") != Some(&Value::Bool(false));
    Ok(output.thing(&started, NOUN.name, |_| {
        let id = plain(&started, "id");
        if first { format!("saga {id} starts") } else { format!("saga {id} was started before with this token") }
    })?)
}

async fn run_signal(client: &Client, signal: &SignalArgs, output: &mut Output) -> Result<(), Failure> {
    let target = path(&["v1", "sagas", &signal.id, "signals", &signal.step]);
    let mut body = json!({"data": json_of(&signal.data)?, "dry_run": true});
    if !signal.consent.dry_run {
        body["reason"] = json!(reason(&signal.consent)?);
    }
    let (_, shown) = client.send(Method::POST, &target, &body).await?;
    let no = shown.pointer("/no/reason").and_then(Value::as_str);
    let meaning = no.map_or_else(|| "goes on".to_owned(), |no| format!("turns back: {no}"));
    if signal.consent.dry_run {
        return Ok(output.thing(&shown, NOUN.name, |_| format!("step {}: the saga {meaning}", signal.step))?);
    }
    agree(&signal.consent, &format!("signal step {} of saga {}, which then {meaning}", signal.step, signal.id))?;
    body["dry_run"] = json!(false);
    let (_, done) = client.send(Method::POST, &target, &body).await?;
    Ok(output
        .thing(&done, NOUN.name, |_| format!("step {} is signalled by event {}", signal.step, plain(&done, "event")))?)
}

/// Why, which whoever reads the record later needs to know.
fn reason(consent: &Consent) -> Result<&str, Failure> {
    let reason = consent.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty());
    reason.ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            "command.usage",
            "--reason is needed: it is kept with the saga and in the record of who did what",
        )
        .hint("--dry-run only shows what would happen, and needs none")
    })
}

/// JSON as it is, or from the file behind an @.
fn json_of(text: &str) -> Result<Value, Failure> {
    let invalid = |error: String| Failure::new(Exit::Usage, "command.usage", error);
    let text = match text.strip_prefix('@') {
        None => text.to_owned(),
        Some(file) => {
            let read = std::fs::File::open(file).and_then(|open| {
                let mut text = String::new();
                std::io::Read::read_to_string(&mut std::io::Read::take(open, MAX_JSON_BYTES), &mut text)?;
                Ok(text)
            });
            read.map_err(|error| invalid(format!("{file}: {error}")))?
        }
    };
    serde_json::from_str(&text).map_err(|error| invalid(format!("this is no JSON: {error}")))
}

fn plain<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// How far an order reaches, for people.
fn outlook(decision: &Value) -> String {
    let names = |name: &str| -> String {
        let list = decision.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
    };
    let emits = decision.get("emits").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let emits: Vec<&str> = emits.iter().map(|event| plain(event, "type")).collect();
    let waits = decision.get("waits").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let waits: Vec<String> = waits
        .iter()
        .map(|wait| format!("{} ({}) until {}", plain(wait, "step"), plain(wait, "direction"), plain(wait, "until")))
        .collect();
    let would = if decision.get("done") == Some(&Value::Bool(true)) { "" } else { "would be " };
    let mut lines = vec![format!("{would}{} -> {}", plain(decision, "from"), plain(decision, "to"))];
    for (title, listed) in [
        ("undone, in this order", names("undos")),
        ("nothing to undo", names("without_undo")),
        ("cannot be undone", names("past_recall")),
        ("nobody knows whether it happened", names("in_doubt")),
        ("still to come", names("remaining")),
        ("emitted at once", emits.join(", ")),
        ("waits for", waits.join(", ")),
    ] {
        if !listed.is_empty() {
            lines.push(format!("  {title}: {listed}"));
        }
    }
    lines.push(format!("  at revision {}", decision.get("revision").unwrap_or(&Value::Null)));
    lines.iter().map(|line| printable(line)).collect::<Vec<_>>().join("\n")
}

fn people(saga: &Value, look: &Look) -> String {
    let mut shown = table::sheet(saga, SHEET, look);
    for (pointer, columns) in [("/steps", STEPS), ("/history", HISTORY)] {
        if let Some(rows) = saga.pointer(pointer).and_then(Value::as_array) {
            shown.push_str("\n\n");
            shown.push_str(&table::render(rows, columns, look));
        }
    }
    shown
}
