//! `events emit`: one event, as any service would send it.

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::json;
use tidewire::bytes::Bytes;
use tidewire::codec::{Defaults, Parsed, http, percent};
use tidewire::{Clock, EventType};

use super::lint;
use crate::args::Emit;
use crate::client::Client;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// The longest data that is read: what no broker takes need not be sent.
const MAX_BYTES: u64 = 16 << 20;

/// Checks, sends and prints.
pub async fn run(client: &Client, emit: &Emit, clock: &dyn Clock, output: &mut Output) -> Result<(), Failure> {
    let (headers, body) = build(emit, clock)?;
    let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    // What the edge would refuse for its form is told here already, and a dry run tells it without an edge.
    match http::decode_one(pairs, &body) {
        Ok(Some(parsed)) => check(parsed, clock)?,
        Ok(None) => return Err(invalid("--content-type is one of CloudEvents: give the data's own")),
        Err(error) => return Err(Failure::new(Exit::Invalid, error.code(), error)),
    }
    if emit.dry_run {
        let members: serde_json::Map<_, _> = headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let value = json!({ "dry_run": true, "headers": members, "data": String::from_utf8_lossy(&body) });
        return Ok(output.thing(&value, &["/headers/ce-id"], |_| {
            let lines: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            format!("{}\n\n{}", lines.join("\n"), crate::output::text::printable(&String::from_utf8_lossy(&body)))
        })?);
    }
    let mut request = Request::post("/v1/events").header(header::ACCEPT, "application/json");
    for (name, value) in &headers {
        request = request.header(name, value);
    }
    let request = request.body(Body::from(body)).map_err(|error| invalid(error.to_string()))?;
    let (_, answer) = client.json(request).await?;
    let is_duplicate = answer["duplicates"] == 1;
    Ok(output.thing(&answer, &["/ids/0"], |_| {
        let id = answer["ids"][0].as_str().unwrap_or_default();
        let said = if is_duplicate { "was there already: nothing was done" } else { "is in the log" };
        crate::output::text::printable(&format!("{id} {said}"))
    })?)
}

/// A type of ours, a key that is one.
fn check(parsed: Parsed<'_>, clock: &dyn Clock) -> Result<(), Failure> {
    let given = Defaults { time: Some(clock.now()), key: Some("?"), is_keyed_by_subject: false };
    let checked = parsed.into_envelope(&given);
    checked.map(|_| ()).map_err(|error| Failure::new(Exit::Invalid, error.code(), error))
}

type Built = (Vec<(String, String)>, Bytes);

/// The event in binary mode, so that its data goes as it is.
fn build(emit: &Emit, clock: &dyn Clock) -> Result<Built, Failure> {
    let ty = named(&emit.ty)?;
    let id = emit.id.clone().unwrap_or_else(|| clock.id().to_string());
    let mut attributes =
        vec![("specversion", "1.0".to_owned()), ("id", id), ("source", emit.source.clone()), ("type", ty)];
    attributes.extend(
        [("partitionkey", &emit.key), ("subject", &emit.subject)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.clone()?))),
    );
    for attribute in &emit.attributes {
        let parts = attribute.split_once('=').filter(|(name, _)| !name.is_empty());
        let (name, value) = parts.ok_or_else(|| invalid(format!("--attribute {attribute}: expected NAME=VALUE")))?;
        attributes.push((name, value.to_owned()));
    }
    let mut headers: Vec<(String, String)> = attributes
        .into_iter()
        .map(|(name, value)| (format!("ce-{}", percent::encode(name)), percent::encode(&value).into_owned()))
        .collect();
    let body = match (&emit.data, &emit.file) {
        (Some(data), _) => Bytes::from(data.clone()),
        (None, Some(file)) => Bytes::from(lint::read(file, MAX_BYTES)?),
        (None, None) => Bytes::new(),
    };
    headers.push((header::CONTENT_TYPE.to_string(), emit.content_type.clone()));
    Ok((headers, body))
}

/// The type as it was given, or with the newest version this build has of it.
fn named(ty: &str) -> Result<String, Failure> {
    if ty.parse::<EventType>().is_ok() {
        return Ok(ty.to_owned());
    }
    match events::entry(ty) {
        Some(entry) => Ok(entry.ty.to_string()),
        None => Err(invalid(format!("`{ty}` has no version, and this build does not know the type"))
            .hint("write the version with it, such as order.placed.v1; `tidewire schemas list` shows the types")),
    }
}

fn invalid(message: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Invalid, "event.malformed", message)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::HeaderMap;
    use axum::routing::post;
    use clap::Parser;
    use tidewire::ManualClock;

    use super::*;
    use crate::args::{Cli, Command, EventsCommand};
    use crate::client::on_routes;
    use crate::output::Format;

    async fn ran(args: &[&str]) -> Result<serde_json::Value, Failure> {
        let cli = Cli::try_parse_from([&["tidewire", "events", "emit"], args].concat()).unwrap();
        let Command::Events(EventsCommand::Emit(emit)) = &cli.command else { panic!("{args:?}") };
        let echo = post(|headers: HeaderMap, body: String| async move {
            let text = |name: &str| headers[name].to_str().unwrap().to_owned();
            axum::Json(json!({ "ids": [text("ce-id")], "duplicates": 0, "subject": text("ce-subject"), "body": body }))
        });
        let client = on_routes(Router::new().route("/v1/events", echo));
        let (mut output, sink) = Output::to_memory(Format::Json);
        run(&client, emit, &ManualClock::new(tidewire::chrono::DateTime::UNIX_EPOCH, 1), &mut output).await?;
        output.flush().unwrap();
        Ok(serde_json::from_str(&sink.text()).unwrap())
    }

    #[tokio::test]
    async fn data_goes_as_it_is_and_text_can_be_any() {
        let answer = ran(&["user.followed", "{\"n\": 1.10}", "--id", "e", "--subject", "two wörds"]).await.unwrap();
        assert_eq!(answer["body"], "{\"n\": 1.10}");
        assert_eq!((&answer["ids"][0], &answer["subject"]), (&json!("e"), &json!("two%20w%C3%B6rds")));
    }

    #[tokio::test]
    async fn a_dry_run_says_what_would_be_sent() {
        let said =
            ran(&["user.followed", "{}", "--dry-run", "--key", "user/7", "--attribute", "tenant=a"]).await.unwrap();
        assert_eq!(said["headers"]["ce-type"], "user.followed.v1");
        assert_eq!(
            (&said["headers"]["ce-partitionkey"], &said["headers"]["ce-tenant"]),
            (&json!("user/7"), &json!("a"))
        );
        for bad in [
            &["no.such"][..],
            &["a.b.v1", "{"],
            &["a.b.v1", "--attribute", "x"],
            &["a.b.v1", "--attribute", "a-b=1"],
            &["a.b.v1", "--content-type", "application/cloudevents+json", "{}"],
            &["a.b.v1", "--key", ""],
        ] {
            let failure = ran(&[bad, &["--dry-run"]].concat()).await.unwrap_err();
            assert_eq!((failure.exit, failure.code.as_str()), (Exit::Invalid, "event.malformed"), "{bad:?}");
        }
    }
}
