//! `keys`: API keys are made, listed, rotated and revoked.

use axum::http::Method;
use serde_json::{Value, json};
use tidewire::Clock;
use tidewire::chrono::TimeDelta;

use super::Noun;
use crate::args::{KeysCommand, NewKeyArgs};
use crate::client::{Client, path, with_query};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::table::{text, time};

const NOUN: Noun = Noun {
    columns: &[
        text("id", &["/id"]),
        text("name", &["/name"]),
        text("scopes", &["/scopes"]),
        text("source", &["/source"]),
        time("created", &["/created"]).wide(),
        time("expires", &["/expires"]),
        time("revoked", &["/revoked"]),
    ],
    name: &["/key", "/id"],
    empty: "No keys. Make one with `tidewire keys create --name NAME --scopes SCOPES`.",
};

/// Asks and prints.
pub async fn run(
    client: &Client,
    command: &KeysCommand,
    clock: &dyn Clock,
    output: &mut Output,
) -> Result<(), Failure> {
    match command {
        KeysCommand::List => {
            let mut items = Vec::new();
            let mut cursor = None::<String>;
            loop {
                let query = [("limit", Some("500")), ("cursor", cursor.as_deref())];
                let mut page = client.get(&with_query(&path(&["v1", "keys"]), &query)).await?;
                items.extend(
                    page.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default(),
                );
                cursor = page.get("cursor").and_then(Value::as_str).map(str::to_owned);
                if cursor.is_none() {
                    return NOUN.page(output, &json!({ "items": items, "cursor": null }));
                }
            }
        }
        KeysCommand::Create(wanted) => {
            let (_, key) = client.send(Method::POST, &path(&["v1", "keys"]), &wish(wanted, clock)?).await?;
            shown_once(&key, output)
        }
        KeysCommand::Rotate { id } => {
            let (_, key) = client.send(Method::POST, &path(&["v1", "keys", id, "rotate"]), &Value::Null).await?;
            shown_once(&key, output)
        }
        KeysCommand::Revoke { id, consent } => {
            let place = path(&["v1", "keys", id]);
            let key = client.get(&place).await?;
            let name = key.get("name").and_then(Value::as_str).unwrap_or("?");
            if consent.dry_run {
                return NOUN.one(output, &key);
            }
            super::parked::agree(consent, &format!("revoke the key {id} of {name}"))?;
            client.send(Method::DELETE, &place, &Value::Null).await?;
            NOUN.one(output, &client.get(&place).await?)
        }
    }
}

fn wish(wanted: &NewKeyArgs, clock: &dyn Clock) -> Result<Value, Failure> {
    let expires = wanted.expires.map(|after| {
        let after = TimeDelta::from_std(after).ok();
        after.and_then(|after| clock.now().checked_add_signed(after)).ok_or_else(|| {
            Failure::new(Exit::Usage, "command.usage", "--expires is too far away")
                .hint("leave it out for a key without end")
        })
    });
    Ok(json!({
        "name": wanted.name, "scopes": wanted.scopes, "source": wanted.source, "expires": expires.transpose()?,
    }))
}

/// With `-o name` the key alone, for scripts that put it where it belongs.
fn shown_once(key: &Value, output: &mut Output) -> Result<(), Failure> {
    Ok(output.thing(key, NOUN.name, |look| {
        let sheet = crate::output::table::sheet(key, NOUN.columns, look);
        let secret = key.get("key").and_then(Value::as_str).unwrap_or_default();
        format!("{sheet}\n\n{}\n\nThis is the only time it is shown. Send it as `Authorization: Bearer …`, or set TIDEWIRE_TOKEN.", crate::output::text::printable(secret))
    })?)
}
