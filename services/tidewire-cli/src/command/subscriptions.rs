//! `subscriptions`: HTTP endpoints as consumers.

use axum::http::Method;
use serde_json::{Value, json};

use super::Noun;
use super::parked::agree;
use crate::args::{Consent, Mode, NewSubscription, Start, SubscriptionsCommand, Wish};
use crate::client::{Client, path, with_query};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::table::{number, sheet, text, time};
use crate::output::text::printable;

const NOUN: Noun = Noun {
    columns: &[
        text("id", &["/id"]),
        text("state", &["/state"]),
        text("circuit", &["/delivery/circuit"]),
        text("types", &["/types"]),
        text("sink", &["/sink"]),
        number("lag", &["/delivery/lag"]),
        number("parked", &["/delivery/parked"]),
        number("failures", &["/delivery/consecutive_failures"]),
        time("last success", &["/delivery/last_success"]),
        time("last failure", &["/delivery/last_failure/at"]),
        text("why", &["/disabled/reason", "/delivery/last_failure/reason"]),
        text("source", &["/source"]).wide(),
        text("filters", &["/filters"]).wide(),
        text("replies", &["/config/reply/types"]).wide(),
        text("replies as", &["/reply_source"]).wide(),
        text("consumer", &["/consumer"]).wide(),
        text("owner", &["/owner"]).wide(),
        time("created", &["/created"]).wide(),
    ],
    name: &["/id"],
    empty: "No subscriptions. Make one with `tidewire subscriptions create --sink URL --type TYPE`.",
};

/// What `rotate` and `create` print with `-o name`: the secret, for scripts that put it where it belongs.
const SECRET: &[&str] = &["/secret", "/id"];

const TRIAL: Noun = Noun {
    columns: &[
        text("outcome", &["/outcome"]),
        text("code", &["/code"]),
        text("reason", &["/reason"]),
        text("event", &["/event"]),
    ],
    name: &["/outcome"],
    empty: "",
};

fn place(id: &str) -> String {
    path(&["v1", "subscriptions", id])
}

fn act(id: &str, verb: &str) -> String {
    path(&["v1", "subscriptions", id, verb])
}

/// Asks and prints.
pub async fn run(client: &Client, command: &SubscriptionsCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        SubscriptionsCommand::List => list(client, output).await,
        SubscriptionsCommand::Show { id } => NOUN.one(output, &client.get(&place(id)).await?),
        SubscriptionsCommand::Create(wanted) => {
            let (_, made) = client.send(Method::POST, &path(&["v1", "subscriptions"]), &made_of(wanted)?).await?;
            shown_once(&made, output)
        }
        SubscriptionsCommand::Update { id, change, consent } => {
            let before = client.get(&place(id)).await?;
            let wanted = changed(&before, change)?;
            if consent.dry_run {
                return NOUN.one(output, &wanted);
            }
            agree(consent, &format!("change what the subscription {id} asks for"))?;
            let (_, after) = client.send(Method::PUT, &place(id), &wanted).await?;
            NOUN.one(output, &after)
        }
        SubscriptionsCommand::Pause { id, consent } => told(client, id, "pause", consent, output).await,
        SubscriptionsCommand::Resume { id, consent } => told(client, id, "resume", consent, output).await,
        SubscriptionsCommand::Rotate { id, overlap, consent } => {
            let before = client.get(&place(id)).await?;
            if consent.dry_run {
                return NOUN.one(output, &before);
            }
            if overlap.is_zero() {
                agree(consent, &format!("let the secret of {id} stop working at once"))?;
            }
            let body = json!({ "overlap_seconds": overlap.as_secs(), "reason": consent.reason });
            let (_, rotated) = client.send(Method::POST, &act(id, "rotate"), &body).await?;
            shown_once(&rotated, output)
        }
        SubscriptionsCommand::Test { id } => trial(client, id, output).await,
        SubscriptionsCommand::Delete { id, consent } => {
            let before = client.get(&place(id)).await?;
            if consent.dry_run {
                return NOUN.one(output, &before);
            }
            let waiting = before.pointer("/delivery/lag").and_then(Value::as_u64).unwrap_or_default();
            agree(consent, &format!("end the subscription {id}, which has {waiting} events to deliver"))?;
            client.send(Method::DELETE, &place(id), &Value::Null).await?;
            NOUN.one(output, &before)
        }
    }
}

async fn list(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let mut items = Vec::new();
    let mut cursor = None::<String>;
    loop {
        let query = [("limit", Some("200")), ("cursor", cursor.as_deref())];
        let mut page = client.get(&with_query(&path(&["v1", "subscriptions"]), &query)).await?;
        items.extend(page.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default());
        cursor = page.get("cursor").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() {
            return NOUN.page(output, &json!({ "items": items, "cursor": null }));
        }
    }
}

async fn told(client: &Client, id: &str, verb: &str, consent: &Consent, output: &mut Output) -> Result<(), Failure> {
    if consent.dry_run {
        return NOUN.one(output, &client.get(&place(id)).await?);
    }
    agree(consent, &format!("{verb} the subscription {id}"))?;
    let (_, after) = client.send(Method::POST, &act(id, verb), &json!({ "reason": consent.reason })).await?;
    NOUN.one(output, &after)
}

async fn trial(client: &Client, id: &str, output: &mut Output) -> Result<(), Failure> {
    let (_, outcome) = client.send(Method::POST, &act(id, "test"), &Value::Null).await?;
    TRIAL.one(output, &outcome)?;
    let word = |name: &str| outcome.get(name).and_then(Value::as_str).unwrap_or_default();
    if word("outcome") == "taken" {
        return Ok(());
    }
    Err(Failure::new(Exit::Findings, word("code"), format!("the endpoint did not take it: {}", word("reason"))))
}

/// The body of a request that makes a subscription.
fn made_of(wanted: &NewSubscription) -> Result<Value, Failure> {
    if wanted.wish.sink.is_none() {
        return Err(Failure::new(Exit::Usage, "command.usage", "--sink says where events go").hint("--sink URL"));
    }
    let start = match wanted.start {
        Start::Now => "now",
        Start::Earliest => "earliest",
    };
    let mut body = json!({ "config": { "start": start } });
    if let Some(id) = &wanted.id {
        body["id"] = id.as_str().into();
    }
    with_wish(&mut body, &wanted.wish)?;
    Ok(body)
}

/// The body of a request that changes a subscription: what it asks for now, and on top what was typed.
fn changed(before: &Value, wish: &Wish) -> Result<Value, Failure> {
    let mut body = json!({});
    for name in ["description", "sink", "source", "types", "filters", "config"] {
        if let Some(value) = before.get(name).filter(|value| !value.is_null()) {
            body[name] = value.clone();
        }
    }
    with_wish(&mut body, wish)?;
    Ok(body)
}

fn with_wish(body: &mut Value, wish: &Wish) -> Result<(), Failure> {
    let mut put = |place: &str, value: Option<Value>| {
        if let Some(value) = value {
            match place.split_once('/') {
                Some((section, name)) => body[section][name] = value,
                None => body[place] = value,
            }
        }
    };
    let some = |list: &[String]| (!list.is_empty()).then(|| json!(list));
    put("sink", wish.sink.as_deref().map(Value::from));
    put("source", wish.source.as_deref().map(Value::from));
    put("description", wish.description.as_deref().map(Value::from));
    put("types", some(&wish.types));
    let filters: Vec<Value> = wish.filters.iter().map(|text| json!({ "sql": text })).collect();
    put("filters", (!filters.is_empty()).then(|| filters.into()));
    put("config/mode", wish.mode.map(|mode| if mode == Mode::Binary { "binary" } else { "structured" }.into()));
    put("config/concurrency", wish.concurrency.map(Value::from));
    put("config/max_attempts", wish.max_attempts.map(Value::from));
    if let Some(wait) = wish.answer_within {
        if wait.subsec_nanos() != 0 {
            return Err(Failure::new(Exit::Usage, "command.usage", "--answer-within takes whole seconds"));
        }
        put("config/timeout_seconds", Some(wait.as_secs().into()));
    }
    put("config/reply", some(&wish.replies).map(|types| json!({ "types": types, "source": wish.reply_source })));
    Ok(())
}

fn shown_once(subscription: &Value, output: &mut Output) -> Result<(), Failure> {
    Ok(output.thing(subscription, SECRET, |look| {
        let sheet = sheet(subscription, NOUN.columns, look);
        let secret = subscription.get("secret").and_then(Value::as_str).unwrap_or_default();
        format!(
            "{sheet}\n\n{}\n\nThis is the only time it is shown: the endpoint checks the signatures of Standard Webhooks with it.",
            printable(secret)
        )
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_keeps_what_was_not_named() {
        let before = json!({"id": "a", "sink": "https://a.example", "description": null, "types": ["user.*"],
            "filters": [], "config": {"mode": "binary", "start": "now", "concurrency": 2}, "state": "active"});
        let wish = Wish { types: vec!["saga.stuck".into()], max_attempts: Some(3), ..Wish::default() };
        let body = changed(&before, &wish).unwrap();
        assert_eq!(
            body,
            json!({"sink": "https://a.example", "types": ["saga.stuck"], "filters": [],
                "config": {"mode": "binary", "start": "now", "concurrency": 2, "max_attempts": 3}})
        );
    }

    #[test]
    fn what_is_typed_is_what_is_asked_for() {
        let wish = Wish {
            sink: Some("https://a.example".into()),
            filters: vec!["sequence > 1".into()],
            replies: vec!["document.enriched".into()],
            reply_source: Some("/enricher".into()),
            ..Wish::default()
        };
        let wanted = NewSubscription { id: Some("e".into()), start: Start::Earliest, wish };
        let expected = json!({"id": "e", "sink": "https://a.example", "filters": [{"sql": "sequence > 1"}],
            "config": {"start": "earliest", "reply": {"types": ["document.enriched"], "source": "/enricher"}}});
        assert_eq!(made_of(&wanted).unwrap(), expected);
        let nowhere = NewSubscription { id: None, start: Start::Now, wish: Wish::default() };
        assert_eq!(made_of(&nowhere).unwrap_err().exit, Exit::Usage);
    }
}
