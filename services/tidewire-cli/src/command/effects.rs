//! `effects`: what was asked to be done outside, and retrying what was given up.

use axum::http::Method;
use serde_json::{Value, json};

use super::Noun;
use super::parked::agree;
use crate::args::EffectsCommand;
use crate::client::{Client, path, with_query};
use crate::failure::Failure;
use crate::output::Output;
use crate::output::table::{Column, number, text, time};

const COLUMNS: &[Column] = &[
    text("effect", &["/id"]),
    text("consumer", &["/consumer"]),
    text("kind", &["/kind"]),
    text("target", &["/target"]),
    text("state", &["/state"]),
    number("attempts", &["/attempts"]),
    time("due", &["/due"]),
    text("event", &["/cause"]).wide(),
    text("error", &["/error"]),
];

const NOUN: Noun = Noun { columns: COLUMNS, name: &["/id"], empty: "No effects." };

/// Asks and prints.
pub async fn run(client: &Client, command: &EffectsCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        EffectsCommand::List { state, consumer, cause, page } => {
            let limit = page.limit.to_string();
            let parameters = [
                ("state", state.map(|state| state.as_str())),
                ("consumer", consumer.as_deref()),
                ("cause", cause.as_deref()),
                ("limit", Some(limit.as_str())),
                ("cursor", page.cursor.as_deref()),
            ];
            let found = client.get(&with_query(&path(&["v1", "effects"]), &parameters)).await?;
            NOUN.page(output, &found)
        }
        EffectsCommand::Retry { id, consumer, consent } => {
            let found = given_up(client, id.as_deref(), consumer.as_deref()).await?;
            if consent.dry_run {
                return NOUN.page(output, &found);
            }
            let count = found.get("items").and_then(Value::as_array).map_or(0, Vec::len);
            let more = if found.get("cursor").is_some_and(Value::is_string) { " or more" } else { "" };
            if count > 0 || id.is_some() {
                agree(consent, &format!("try {}{more} effects again", count.max(1)))?;
            }
            let body = json!({"id": id, "consumer": consumer, "reason": consent.reason});
            let (_, retried) = client.send(Method::POST, &path(&["v1", "effects", "retry"]), &body).await?;
            NOUN.page(output, &retried)
        }
    }
}

async fn given_up(client: &Client, id: Option<&str>, consumer: Option<&str>) -> Result<Value, Failure> {
    let parameters = [("state", Some("failed")), ("consumer", consumer), ("limit", Some("500"))];
    let mut found = client.get(&with_query(&path(&["v1", "effects"]), &parameters)).await?;
    if let (Some(id), Some(items)) = (id, found.get_mut("items").and_then(Value::as_array_mut)) {
        items.retain(|item| item.get("id").and_then(Value::as_str) == Some(id));
    }
    Ok(found)
}
