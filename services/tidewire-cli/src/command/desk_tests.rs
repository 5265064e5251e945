//! The desk of parked events, effects and pauses, as typed.

use std::sync::{Arc, Mutex};

use axum::extract::{Path, RawQuery};
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Parser;
use serde_json::{Value, json};

use super::*;
use crate::args::{Cli, Command};
use crate::client::on_routes;
use crate::exit::Exit;
use crate::failure::Failure;

/// What was sent, in order.
type Sent = Arc<Mutex<Vec<Value>>>;

/// Routes that answer as the instance does: five events are parked for `c`, the fourth fails again.
fn routes(sent: Sent) -> Router {
    let keep = move |body: &Value| sent.lock().unwrap().push(body.clone());
    let redrive = {
        let keep = keep.clone();
        move |Json(body): Json<Value>| async move {
            keep(&body);
            let (after, limit) = (body["after"].as_u64().unwrap(), body["limit"].as_u64().unwrap());
            let until = (after + limit).min(5);
            let items: Vec<Value> = (after + 1..=until)
                .map(|n| json!({"id": format!("e{n}"), "key": "k", "ordinal": n, "handled": n != 4 || body["dry_run"] == true,
                    "error": (n == 4 && body["dry_run"] == false).then_some("still")}))
                .collect();
            let failed = items.iter().filter(|item| item["handled"] == false).count();
            let next = (until < 5).then_some(until);
            Json(json!({"handled": items.len() - failed, "failed": failed, "items": items, "next": next}))
        }
    };
    let edit = {
        let keep = keep.clone();
        move |Json(body): Json<Value>| async move {
            keep(&body);
            let change = json!({"pointer": "/data/n", "before": 1, "after": "\u{1b}[2J"});
            Json(
                json!({"before": {"id": "old"}, "after": {"id": "new"}, "changes": [change], "dry_run": body["dry_run"]}),
            )
        }
    };
    let set = {
        let keep = keep.clone();
        move |Path((name, verb)): Path<(String, String)>, Json(body): Json<Value>| async move {
            keep(&body);
            let paused = json!({"since": "1970-01-01T00:00:00Z", "actor": "local", "reason": "why"});
            Json(match verb.as_str() {
                "pause" => json!({"name": name, "paused": paused}),
                _ => json!({"name": name, "was_paused": null}),
            })
        }
    };
    let drop = {
        let keep = keep.clone();
        move |Json(body): Json<Value>| async move {
            keep(&body);
            let followed = json!({"id": "e9", "key": "k", "ordinal": 9, "handled": true, "error": null});
            Json(json!({"consumer": "c", "ordinal": 17, "id": "e1", "followed": [followed]}))
        }
    };
    let retry = move |Json(body): Json<Value>| async move {
        keep(&body);
        Json(json!({"items": [{"id": "f1", "state": "pending"}]}))
    };
    let effects = |RawQuery(query): RawQuery| async move {
        let row = json!({"id": "f1", "consumer": "mailer", "kind": "mail", "target": "ana@example.com", "state": "failed",
            "attempts": 12, "error": query});
        Json(json!({"items": [row], "cursor": null}))
    };
    let parked = json!({"ordinal": 17, "consumer": "c", "envelope": {"id": "old", "type": "a.b.v1", "data": {"n": 1, "m": {}}},
        "code": "handler.failed", "reason": "no", "attempts": 8, "since": "1970-01-01T00:00:00Z",
        "history": [{"time": "1970-01-01T00:00:00Z", "actor": "local:ana", "verb": "parked redrive", "reason": "", "error": "still"}]});
    let group = json!({"consumer": "c", "code": "handler.failed", "type": "a.b.v1", "events": 1234, "keys": 9,
        "first": "1970-01-01T00:00:00Z", "last": "1970-01-01T00:00:00Z", "ordinal": 17, "reason": "no"});
    let answer = |value: Value| get(move || async move { Json(value) });
    Router::new()
        .route("/v1/parked/groups", answer(json!({"items": [group], "complete": true})))
        .route("/v1/parked/redrive", post(redrive))
        .route("/v1/parked/{ordinal}", answer(parked))
        .route("/v1/parked/{ordinal}/edit", post(edit))
        .route("/v1/parked/{ordinal}/drop", post(drop))
        .route("/v1/effects", get(effects))
        .route("/v1/effects/retry", post(retry))
        .route("/v1/consumers/{name}", answer(json!({"name": "c", "kind": "handler"})))
        .route("/v1/consumers/{name}/{verb}", post(set))
}

async fn ran(line: &str) -> (Result<(), Failure>, String, Vec<Value>) {
    let cli = Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
    let (mut output, sink) = Output::to_memory(cli.global.output);
    let sent = Sent::default();
    let client = on_routes(routes(sent.clone()));
    let ended = match &cli.command {
        Command::Parked(command) => parked::run(&client, command, &mut output).await,
        Command::Effects(command) => effects::run(&client, command, &mut output).await,
        Command::Consumers(command) => consumers::run(&client, command, &mut output).await,
        other => panic!("{other:?}"),
    };
    let sent = sent.lock().unwrap().clone();
    (ended, sink.text(), sent)
}

#[tokio::test]
async fn people_see_what_they_did() {
    for (line, wanted) in [
        ("tidewire parked groups", &["1,234", "handler.failed", "a.b.v1"][..]),
        ("tidewire parked show 17", &["handler.failed", "local:ana", "still"]),
        ("tidewire parked edit 17 --set /n=2 --dry-run", &["/data/n", "BEFORE"]),
        ("tidewire parked edit 17 --set /n=2 --yes", &["new takes the place of old", "redrive 17"]),
        ("tidewire parked drop 17 --reason test --yes", &["17 is dropped", "e9"]),
        (
            "tidewire effects list --state failed --consumer mailer",
            &["ana@example.com", "state=failed&consumer=mailer"],
        ),
        ("tidewire effects retry --yes", &["f1", "pending"]),
        ("tidewire consumers pause c --reason why --yes", &["c is paused since 1970"]),
        ("tidewire consumers resume c --yes", &["c was not paused"]),
    ] {
        let (ended, text, _) = ran(line).await;
        assert!(ended.is_ok(), "{line}: {ended:?}");
        for word in wanted {
            assert!(text.contains(word), "{line}: no `{word}` in\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "{line}: {text:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_redrive_goes_on_until_nothing_is_left_at_the_pace_that_was_asked_for() {
    let started = tokio::time::Instant::now();
    let (ended, text, sent) = ran("tidewire parked redrive --consumer c --rate 2 --yes -o json").await;
    assert_eq!(ended.map_err(|failure| failure.exit), Err(Exit::Findings));
    let printed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(printed["items"].as_array().unwrap().len(), 5);
    // One look at everything, then two a second.
    let shape: Vec<_> = sent.iter().map(|body| (&body["dry_run"], &body["after"], &body["limit"])).collect();
    let (yes, no) = (json!(true), json!(false));
    let numbers: Vec<Value> = (0..=1_000).map(|n| json!(n)).collect();
    let n = |at: usize| &numbers[at];
    assert_eq!(shape, [(&yes, n(0), n(1_000)), (&no, n(0), n(2)), (&no, n(2), n(2)), (&no, n(4), n(2))]);
    assert_eq!(started.elapsed().as_secs(), 2);
    // By numbers: of the consumer that parked the first.
    let (_, _, sent) = ran("tidewire parked redrive 17 18 --limit 3 --yes --reason fixed").await;
    assert_eq!((&sent[1]["consumer"], &sent[1]["ordinals"]), (&json!("c"), &json!([17, 18])));
    assert_eq!((&sent[1]["reason"], &sent[1]["limit"]), (&json!("fixed"), &json!(3)));
}

#[tokio::test]
async fn what_is_sent_is_what_was_shown() {
    let (_, _, sent) = ran("tidewire parked edit 17 --set /m/new={\"a\":1} --set /n=text --yes --reason typo").await;
    assert_eq!(sent[0], json!({"data": {"n": "text", "m": {"new": {"a": 1}}}, "dry_run": true}));
    assert_eq!((&sent[1]["expect"], &sent[1]["reason"]), (&json!("old"), &json!("typo")));
    assert_eq!((&sent[1]["data"], &sent[1]["dry_run"]), (&sent[0]["data"], &json!(false)));
}

#[tokio::test]
async fn nothing_happens_by_mistake() {
    for (line, exit) in [
        ("tidewire parked drop 17 --yes", Some(Exit::Usage)),
        ("tidewire parked drop 17 --dry-run", None),
        ("tidewire effects retry --dry-run", None),
        ("tidewire consumers pause c --dry-run", None),
        ("tidewire parked edit 17 --set nonsense --yes", Some(Exit::Usage)),
    ] {
        let (ended, _, sent) = ran(line).await;
        assert_eq!(ended.err().map(|failure| failure.exit), exit, "{line}");
        assert!(sent.is_empty(), "{line}: {sent:?}");
    }
}
