//! What each operators' command asks and prints. All of them go through [`Client`](crate::client::Client), so they
//! do the same on a running instance and on a data directory nobody has open.

pub mod config;
pub mod consumers;
pub mod doctor;
pub mod effects;
pub mod emit;
pub mod events;
pub mod explain;
pub mod import;
pub mod keys;
pub mod lint;
pub mod log;
pub mod parked;
pub mod projections;
mod redrive;
pub mod replay;
mod retire;
pub mod sagas;
pub mod schemas;
pub mod shell;
pub mod status;
pub mod subscriptions;
pub mod verify;
mod why;

use serde_json::Value;

use crate::failure::Failure;
use crate::output::table::Column;
use crate::output::{Listing, Output};

/// How a noun's items are shown.
struct Noun {
    columns: &'static [Column],
    name: &'static [&'static str],
    empty: &'static str,
}

impl Noun {
    /// Prints a page of the API (`{"items", "cursor"}`).
    fn page(&self, output: &mut Output, page: &Value) -> Result<(), Failure> {
        let items = page.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let cursor = page.get("cursor").and_then(Value::as_str);
        let listing = Listing { items, cursor, columns: self.columns, name: self.name, empty: self.empty };
        Ok(output.listing(&listing)?)
    }

    /// Prints one item: a line per column, then the whole of it.
    fn one(&self, output: &mut Output, item: &Value) -> Result<(), Failure> {
        Ok(output.thing(item, self.name, |look| crate::output::table::sheet(item, self.columns, look))?)
    }
}

#[cfg(test)]
mod desk_tests;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use crate::client::{Client, on_routes};
    use crate::exit::Exit;
    use crate::output::Format;
    use axum::extract::{Path, RawQuery};
    use axum::routing::{get, post};
    use axum::{Json, Router};
    use clap::Parser;
    use serde_json::json;

    /// Routes that answer as the instance does, and repeat what they were asked in `reason` or `title`.
    fn routes() -> Router {
        let parked = |RawQuery(query): RawQuery| async move {
            let row = json!({"ordinal": 7, "consumer": "c", "id": "e1", "type": "user.followed.v1", "key": "user/1",
                "code": "handler.failed", "reason": query, "attempts": 8, "since": "1970-01-01T00:00:00Z"});
            Json(json!({"items": [row], "cursor": "next"}))
        };
        let redrive = |Json(body): Json<Value>| async move {
            let failed = body["key"] == "user/bad";
            Json(json!({"handled": u8::from(!failed), "failed": u8::from(failed), "items": [
                {"id": "e1", "key": "user/1", "ordinal": 7, "handled": !failed, "error": failed.then_some("still")}]}))
        };
        let event = json!({"id": "e1", "type": "user.followed.v1", "partitionkey": "user/1", "source": "/social",
            "time": "1970-01-01T00:00:00Z", "data": {"text": "\u{1b}[2Jhello"}});
        let listed = json!({"items": [{"position": 3, "event": event}], "cursor": null});
        let saga = json!({"id": "s1", "type": "document-ingestion", "status": "undone", "key": "document/1", "code": "document.encrypted",
            "reason": "locked", "started": "1970-01-01T00:00:00Z", "updated": "1970-01-01T00:00:00Z",
            "steps": [{"name": "extract", "status": "failed", "attempts": 1}],
            "history": [{"at": "1970-01-01T00:00:00Z", "what": "turned_back"}]});
        let consumers = json!({"items": [{"name": "social.followers", "kind": "projection", "types": ["user.followed.v1"], "handled": 1200,
            "pending": 2, "in_flight": 0, "retrying": 0, "parked": 0, "members": 1}], "cursor": null});
        let status = json!({"version": "0.1.0", "store": {"backend": "sqlite", "head": 9, "bytes": 4096, "durability": "disk"},
            "broker": {"backend": "embedded"}, "extent": {"incarnation": "i", "last": 4321},
            "relays": [{"shard": "0of1", "position": 7, "behind": 2}], "consumers": consumers["items"], "parked": 0});
        let answer = |value: Value| get(move || async move { Json(value) });
        Router::new()
            .route("/v1/status", answer(status))
            .route("/v1/consumers", answer(consumers))
            .route("/v1/parked", get(parked))
            .route("/v1/parked/redrive", post(redrive))
            .route("/v1/events", answer(listed))
            .route("/v1/events/{id}", answer(event))
            .route("/v1/sagas", answer(json!({"items": [saga.clone()], "cursor": null})).post(|| async {
                Json(json!({"id": "s2", "event": "e9", "first": true}))
            }))
            .route("/v1/sagas/{id}/{verb}", post(|Path((id, verb)): Path<(String, String)>, Json(body): Json<Value>| async move {
                let done = body["dry_run"] == false && body["revision"] == 7 && body["reason"] == "why";
                Json(json!({"id": id, "verb": verb, "revision": 7, "done": done, "from": "stuck", "to": "compensating",
                    "emits": [{"step": "store", "type": "document.deletion.requested.v1"}], "undos": ["store", "extract"],
                    "without_undo": [], "past_recall": [], "in_doubt": ["index"], "remaining": [],
                    "waits": [{"step": "store", "direction": "undo", "until": "1970-01-01T00:00:00Z", "then": "deadline"}]}))
            }))
            .route("/v1/sagas/{id}/signals/{step}", post(|Json(body): Json<Value>| async move {
                let event = (body["dry_run"] == false).then_some("e7");
                Json(json!({"id": "s1", "step": "approve", "event": event}))
            }))
            .route("/v1/sagas/{id}", answer(saga))
            .route(
                "/v1/log/reconcile",
                post(|Json(body): Json<Value>| async move {
                    let published = if body["dry_run"] == true { 0 } else { 2 };
                    Json(json!({"after": 0, "until": 9, "compared": 9, "present": 7, "outside_retention": 0, "missing": 2,
                        "waited_for": 1, "published": published, "recognised": 0, "refused": 0, "first": ["e1", "e2"]}))
                }),
            )
            .route("/v1/audit", answer(json!({"appended": 9, "published": 7, "released": 1, "missing_on_broker": 1, "holes": 0,
                "missing": ["e1"], "lost": 1, "consumers": [{"name": "c", "handled": 9, "parked": 0, "unhandled": 0}]})))
    }

    async fn ran(line: &str) -> (Result<(), Failure>, String) {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        let (mut output, sink) = Output::to_memory(cli.global.output);
        let client: Client = on_routes(routes());
        let ended = match &cli.command {
            Command::Status => status::run(&client, &mut output).await,
            Command::Events(command) => events::run(&client, command, &mut output).await,
            Command::Consumers(command) => consumers::run(&client, command, &mut output).await,
            Command::Parked(command) => parked::run(&client, command, &mut output).await,
            Command::Sagas(command) => sagas::run(&client, command, &mut output).await,
            Command::Log(command) => log::run(&client, command, &mut output).await,
            Command::Explain { code } => explain::run(code.as_deref(), &mut output),
            other => panic!("{other:?}"),
        };
        (ended, sink.text())
    }

    #[tokio::test]
    async fn people_see_what_they_asked_for_and_nothing_steers_their_terminal() {
        for (line, wanted) in [
            (
                "tidewire status",
                &["9 events", "embedded", "4,321", "2 events to publish", "social.followers", "not running"][..],
            ),
            ("tidewire consumers list", &["CONSUMER", "social.followers", "1,200"]),
            ("tidewire consumers show social.followers", &["user.followed.v1"]),
            ("tidewire events list", &["user.followed.v1", "user/1", "1970-01-01T00:00:00Z"]),
            ("tidewire events show e1", &["partitionkey", "hello"][1..]),
            ("tidewire parked list --consumer c --key user/1", &["handler.failed", "--cursor next", "key=user%2F1"]),
            ("tidewire parked redrive --consumer c --dry-run", &["user/1", "e1"]),
            ("tidewire parked redrive --consumer c --yes", &["HANDLED", "true"]),
            ("tidewire sagas list", &["document-ingestion", "undone", "document.encrypted"]),
            ("tidewire sagas show s1", &["locked", "extract", "turned_back"]),
            ("tidewire sagas cancel s1 --dry-run", &["would be stuck", "store, extract", "index", "revision 7"]),
            ("tidewire sagas compensate s1 --yes --reason why", &["stuck -> compensating"]),
            ("tidewire sagas skip s1 --step x --reply {} --yes --reason why", &["stuck -> compensating"]),
            ("tidewire sagas start x --data {} --yes", &["saga s2 starts"]),
            ("tidewire sagas signal s1 approve --data {} --yes --reason why", &["event e7"]),
            ("tidewire log info", &["sqlite", "4,096"]),
            ("tidewire log reconcile --yes", &["7 there", "2 missing", "published again: 2", "e2"]),
            ("tidewire explain saga.stuck", &["Cause", "Cure"]),
        ] {
            let (ended, text) = ran(line).await;
            assert!(ended.is_ok(), "{line}: {ended:?}");
            for word in wanted {
                assert!(text.contains(word), "{line}: no `{word}` in\n{text}");
            }
            assert!(!text.contains('\u{1b}'), "{line}: {text:?}");
        }
    }

    #[tokio::test]
    async fn scripts_get_what_the_surface_gave() {
        for (line, pointer, expected) in [
            ("tidewire status -o json", "/store/head", json!(9)),
            ("tidewire consumers list -o json", "/items/0/handled", json!(1200)),
            ("tidewire events list -o json", "/items/0/event/id", json!("e1")),
            ("tidewire events show e1 -o json", "/data/text", json!("\u{1b}[2Jhello")),
            ("tidewire parked list -o json", "/cursor", json!("next")),
            ("tidewire sagas show s1 -o jsonl", "/status", json!("undone")),
            ("tidewire sagas retry s1 --yes --reason why -o json", "/done", json!(true)),
            ("tidewire sagas retry s1 --dry-run -o json", "/done", json!(false)),
            ("tidewire explain saga.stuck -o json", "/code", json!("saga.stuck")),
        ] {
            let (ended, text) = ran(line).await;
            assert!(ended.is_ok(), "{line}: {ended:?}");
            let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line}: {error}: {text}"));
            assert_eq!(value.pointer(pointer), Some(&expected), "{line}: {text}");
        }
        assert_eq!(ran("tidewire parked list -o name").await.1, "7\n");
        assert_eq!(ran("tidewire events list -o name").await.1, "e1\n");
    }

    #[tokio::test]
    async fn failures_end_as_scripts_expect() {
        for (line, exit) in [
            ("tidewire consumers show nobody", Exit::NotFound),
            ("tidewire parked show 99", Exit::NotFound),
            ("tidewire parked redrive --consumer c --key user/bad --yes", Exit::Findings),
            ("tidewire log verify", Exit::Findings),
            ("tidewire sagas cancel s1 --yes", Exit::Usage),
            ("tidewire sagas cancel s1 --revision 6 --yes --reason why", Exit::Conflict),
            ("tidewire sagas skip s1 --reply nonsense --yes --reason why", Exit::Usage),
            ("tidewire log reconcile --since 2h --dry-run", Exit::Findings),
            ("tidewire events tail", Exit::Unavailable),
        ] {
            let (ended, _) = ran(line).await;
            assert_eq!(ended.map_err(|failure| failure.exit), Err(exit), "{line}");
        }
        assert_eq!(Format::default(), Format::Table);
    }
}
