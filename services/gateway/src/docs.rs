//! What the gateway's smaller routes take and answer: probes, schemas, operations.

use serde_json::json;
use tidewire::http::RouteDoc;
use tidewire::http::shape::{self, Shape};

use crate::layers::{AUDIT, RECONCILE, RETIRE};

/// Probes, metrics, the landing page and the document itself.
pub(crate) fn probes() -> Vec<RouteDoc> {
    let health = || shape::object([("status", shape::text())]);
    let ready = |path, id, summary| {
        RouteDoc::get(path, id, summary).answer(200, "Ready.", readiness()).answer(
            503,
            "Starting, draining, or without what it needs.",
            readiness(),
        )
    };
    vec![
        RouteDoc::get("/", "landing", "A page for people.").answer_as(
            200,
            "text/html; charset=utf-8",
            "The page.",
            shape::text(),
        ),
        RouteDoc::get("/openapi.json", "openapi", "This document.").answer(
            200,
            "OpenAPI 3.1.",
            shape::map(shape::any()),
        ),
        RouteDoc::get("/livez", "live", "Whether the process turns.").answer(200, "It does.", health()),
        RouteDoc::get("/startupz", "started", "Whether the start is over.").answer(200, "It is.", health()).answer(
            503,
            "Not yet.",
            health(),
        ),
        ready("/readyz", "ready", "Whether the process can take work, and how everything it depends on is doing."),
        ready("/healthz", "healthy", "The same as `/readyz`."),
        RouteDoc::get("/metrics", "metrics", "Prometheus text, or OpenMetrics for those who ask for it.").answer_as(
            200,
            "text/plain; version=0.0.4; charset=utf-8",
            "The metrics.",
            shape::text(),
        ),
    ]
}

fn readiness() -> Shape {
    let dependency = shape::object([
        ("name", shape::text()),
        ("status", shape::word(["up", "degraded", "down"])),
        ("required", shape::boolean().described("Whether the process is not ready without it.")),
        ("ms?", shape::decimal().described("How long the answer took.")),
        ("detail?", shape::text()),
    ]);
    shape::object([
        ("status", shape::word(["ready", "starting", "draining", "unavailable"])),
        ("store", shape::word(["up", "down"])),
        ("broker", shape::word(["up", "down"])),
        ("checks", shape::list(dependency)),
    ])
}

/// The published schemas.
pub(crate) fn schemas() -> Vec<RouteDoc> {
    let line = shape::object([
        ("type", shape::event_type()),
        ("description", shape::text()),
        ("schema", shape::text().described("Where its schema is.")),
    ]);
    vec![
        RouteDoc::get("/schemas", "listSchemas", "Every type with its current version.").answer(
            200,
            "The types.",
            shape::object([("items", shape::list(line))]),
        ),
        RouteDoc::get("/asyncapi.json", "asyncapi", "Every type and who reads it, as AsyncAPI.").answer_as(
            200,
            "application/vnd.aai.asyncapi+json;version=3.0.0",
            "AsyncAPI 3.",
            shape::map(shape::any()),
        ),
        RouteDoc::get("/schemas/{name}/{version}", "showSchema", "One schema. It never changes.")
            .path("name", shape::text().example(json!("user.followed")), "The type, without its version.")
            .path("version", shape::text().example(json!("v1.json")), "`v`, the version, `.json`.")
            .answer_as(200, "application/schema+json", "JSON Schema 2020-12.", shape::map(shape::any())),
    ]
}

/// What operators see and do.
pub(crate) fn operations() -> Vec<RouteDoc> {
    vec![
        RouteDoc::get("/v1/status", "status", "How everything is doing.").answer(200, "The status.", status()),
        RouteDoc::get("/v1/doctor", "examine", "What is wrong with the installation, and what to do about it.").answer(
            200,
            "What was found, the worst first.",
            report(),
        ),
        RouteDoc::get("/v1/consumers", "listConsumers", "Every consumer of this build, in numbers.").answer(
            200,
            "All of them.",
            shape::object([("items", shape::list(consumer())), ("cursor", shape::nullable(shape::text()))]),
        ),
        RouteDoc::get("/v1/consumers/{name}", "showConsumer", "One consumer.")
            .answer(200, "The consumer.", consumer())
            .problem(404, "consumer.not_found"),
        RouteDoc::post(
            "/v1/consumers/{name}/pause",
            "pauseConsumer",
            "Stops a consumer in every process until it is resumed.",
        )
        .body(why())
        .answer(200, "It is paused.", shape::object([("name", shape::text()), ("paused", paused())]))
        .problem(404, "consumer.not_found"),
        RouteDoc::post("/v1/consumers/{name}/resume", "resumeConsumer", "Lets a paused consumer go on where it was.")
            .body(why())
            .answer(
                200,
                "It goes on.",
                shape::object([("name", shape::text()), ("was_paused", shape::nullable(paused()))]),
            )
            .problem(404, "consumer.not_found"),
    ]
}

/// The long work on the log.
pub(crate) fn upkeep() -> Vec<RouteDoc> {
    vec![
        RouteDoc::get(AUDIT, "audit", "Looks for every event of the log on the broker and with every consumer.")
            .answer(200, "What was found.", audit()),
        RouteDoc::post(RECONCILE, "reconcileLog", "Compares log and broker, and publishes again what is missing.")
            .body(
                shape::object([
                    ("since?", nullable_text("A position, a time or a duration.")),
                    ("dry_run?", shape::boolean()),
                    ("reason?", nullable_text("For those who read the logs later.")),
                ])
                .closed()
                .example(json!({ "dry_run": true })),
            )
            .answer(200, "What was found and done.", shape::map(shape::any())),
        RouteDoc::post(RETIRE, "retireLog", "Removes the oldest events, as far as nobody needs them.")
            .body(
                shape::object([
                    ("before", shape::text().pattern("[0-9]{1,18}").described("A position, a time or a duration.")),
                    ("limit?", shape::nullable(shape::number(1, 50_000))),
                    ("dry_run?", shape::boolean()),
                    ("reason?", nullable_text("For those who read the logs later.")),
                ])
                .closed()
                .example(json!({ "before": "1", "dry_run": true })),
            )
            .answer(
                200,
                "What was removed, and who needs the rest.",
                shape::object([
                    ("first", shape::count()),
                    ("asked", shape::count()),
                    ("until", shape::count()),
                    ("head", shape::count()),
                    ("removed", shape::count()),
                    ("held", shape::list(shape::object([("by", shape::text()), ("position", shape::count())]))),
                ]),
            ),
    ]
}

fn nullable_text(description: &str) -> Shape {
    shape::nullable(shape::text()).described(description)
}

fn consumer() -> Shape {
    let numbers = ["handled", "pending", "in_flight", "retrying", "parked", "members"];
    let named = shape::object([
        ("name", shape::text()),
        ("kind", shape::word(["handler", "projection", "saga", "participant"])),
        ("types", shape::list(shape::text())),
        ("paused?", paused()),
    ]);
    numbers.into_iter().fold(named, |row, name| row.member(name, shape::count()))
}

fn report() -> Shape {
    let finding = shape::object([
        ("rule", shape::text()),
        ("severity", shape::word(["warning", "critical"])),
        ("subject", shape::text()),
        ("evidence", shape::text()),
        ("cure", shape::text()),
    ]);
    shape::object([
        ("items", shape::list(finding)),
        ("rules", shape::list(shape::text()).described("The rules that were tried.")),
        ("unknown", shape::list(shape::text()).described("What could not be found out.")),
    ])
}

fn status() -> Shape {
    let relay = shape::object([("shard", shape::text()), ("position", shape::count()), ("behind", shape::count())]);
    shape::object([
        ("version", shape::text()),
        ("time", shape::time()),
        ("store", shape::map(shape::any())),
        ("broker", shape::map(shape::any())),
        ("extent", shape::map(shape::any())),
        ("relays", shape::list(relay)),
        ("consumers", shape::list(consumer())),
        ("parked", shape::count()),
    ])
}

fn why() -> Shape {
    let reason = nullable_text("Why, for those who look later.");
    shape::object([("reason?", reason)]).closed().example(json!({ "reason": "its database is being moved" }))
}

fn paused() -> Shape {
    shape::object([("since", shape::time()), ("actor", shape::text()), ("reason", shape::text())])
}

fn audit() -> Shape {
    let consumer = shape::object([
        ("name", shape::text()),
        ("handled", shape::count()),
        ("parked", shape::count()),
        ("unhandled", shape::count()),
    ]);
    let numbers = ["head", "appended", "published", "released", "holes", "missing_on_broker", "lost"];
    let lists = shape::object([("missing", shape::list(shape::text())), ("consumers", shape::list(consumer))]);
    numbers.into_iter().fold(lists, |audit, name| audit.member(name, shape::count()))
}
