//! What the routes of subscriptions take and answer.

use serde_json::json;
use tidewire::http::RouteDoc;
use tidewire::http::shape::{self, Shape};

use super::acts::{MAX_OVERLAP_SECONDS, MAX_REASON};

pub(crate) fn docs() -> Vec<RouteDoc> {
    let with_secret = || subscription().member("secret", shape::text().described("Shown this once."));
    let why = || shape::object([("reason?", shape::nullable(shape::text_at_most(MAX_REASON)))]).closed();
    vec![
        RouteDoc::get("/v1/subscriptions", "listSubscriptions", "Push subscriptions, and how their deliveries go.")
            .paged(subscription()),
        RouteDoc::post("/v1/subscriptions", "createSubscription", "Has events sent to an HTTP endpoint.")
            .body(wanted())
            .answer(201, "The subscription, with what signs its deliveries.", with_secret())
            .problem(400, "push.target_refused")
            .problem(400, "push.unreachable")
            .problem(400, "push.handshake_refused")
            .problem(403, "auth.source")
            .problem(409, "push.exists")
            .problem(409, "push.full"),
        RouteDoc::get("/v1/subscriptions/{id}", "showSubscription", "One push subscription.").answer(
            200,
            "The subscription.",
            subscription(),
        ),
        RouteDoc::put("/v1/subscriptions/{id}", "updateSubscription", "Replaces what a subscription asks for.")
            .body(wanted())
            .answer(200, "The subscription.", subscription())
            .problem(400, "push.target_refused")
            .problem(400, "push.unreachable")
            .problem(400, "push.handshake_refused")
            .problem(403, "auth.source")
            .problem(409, "push.changed"),
        RouteDoc::delete("/v1/subscriptions/{id}", "deleteSubscription", "Ends a subscription for good.")
            .no_content(204, "It is gone, and with it what it had yet to deliver.")
            .problem(403, "auth.source")
            .problem(409, "push.changed"),
        RouteDoc::post("/v1/subscriptions/{id}/pause", "pauseSubscription", "Stops delivering; events wait.")
            .body(why())
            .body_may_be_absent()
            .answer(200, "The subscription.", subscription())
            .problem(403, "auth.source")
            .problem(409, "push.changed"),
        RouteDoc::post("/v1/subscriptions/{id}/resume", "resumeSubscription", "Goes on delivering.")
            .body(why())
            .body_may_be_absent()
            .answer(200, "The subscription.", subscription())
            .problem(403, "auth.source")
            .problem(409, "push.changed"),
        RouteDoc::post(
            "/v1/subscriptions/{id}/rotate",
            "rotateSubscription",
            "Signs with a new secret, and for a while with both.",
        )
        .body(
            shape::object([
                ("overlap_seconds?", shape::nullable(shape::number(0, MAX_OVERLAP_SECONDS))),
                ("reason?", shape::nullable(shape::text_at_most(MAX_REASON))),
            ])
            .closed(),
        )
        .body_may_be_absent()
        .answer(200, "The subscription, with the new secret.", with_secret())
        .problem(403, "auth.source")
        .problem(409, "push.changed"),
        RouteDoc::post(
            "/v1/subscriptions/{id}/test",
            "testSubscription",
            "Sends the endpoint an event that nobody else sees.",
        )
        .answer(
            200,
            "What the endpoint made of it.",
            shape::object([
                ("outcome", shape::word(["taken", "refused", "failed", "away", "gone"])),
                ("event", shape::text()),
                ("code", shape::nullable(shape::text())),
                ("reason", shape::nullable(shape::text())),
            ]),
        )
        .problem(403, "auth.source"),
    ]
}

fn config() -> Shape {
    let reply = shape::object([
        ("source?", shape::nullable(shape::text_up_to(256).pattern("[!-~]+"))),
        ("types", shape::list_up_to(100, shape::text_up_to(128))),
    ]);
    shape::object([
        ("mode?", shape::word(["binary", "structured"])),
        ("start?", shape::nullable(shape::word(["now", "earliest"]))),
        ("concurrency?", shape::nullable(shape::number(1, 256))),
        ("timeout_seconds?", shape::nullable(shape::number(1, 60))),
        ("max_attempts?", shape::nullable(shape::number(1, 100))),
        ("reply?", shape::nullable(reply)),
    ])
}

fn wanted() -> Shape {
    shape::object([
        ("id?", shape::nullable(shape::text_up_to(40).pattern("[a-z][a-z0-9-]*"))),
        ("description?", shape::nullable(shape::text_up_to(300).pattern(r"[^\p{Cc}]*"))),
        ("sink", shape::text_up_to(2_048).described("An https URL.")),
        ("protocol?", shape::nullable(shape::word(["HTTP"]))),
        ("source?", shape::nullable(shape::text_up_to(256).pattern("[!-~]+"))),
        ("types?", shape::list_up_to(100, shape::text_up_to(128))),
        ("filters?", shape::list_up_to(64, shape::any().described("A filter of the CloudEvents Subscriptions API: `exact`, `prefix`, `suffix`, `all`, `any`, `not` or `sql`."))),
        ("config?", config()),
    ])
    .closed()
    .example(json!({
        "sink": "https://example.org/hook", "types": ["user.*"], "filters": [{ "sql": "sequence > 1" }],
    }))
}

fn subscription() -> Shape {
    let failure = shape::object([("at", shape::time()), ("code", shape::text()), ("reason", shape::text())]);
    let delivery = shape::object([
        ("circuit", shape::word(["closed", "open", "half_open"])),
        ("delivered", shape::count()),
        ("failed", shape::count()),
        ("consecutive_failures", shape::count()),
        ("last_success", shape::nullable(shape::time())),
        ("last_failure", shape::nullable(failure)),
        ("lag", shape::count()),
        ("in_flight", shape::count()),
        ("retrying", shape::count()),
        ("parked", shape::count()),
    ]);
    shape::object([
        ("id", shape::text()),
        ("description", shape::nullable(shape::text())),
        ("sink", shape::text()),
        ("protocol", shape::text()),
        ("source", shape::nullable(shape::text())),
        ("types", shape::list(shape::text())),
        ("filters", shape::list(shape::any())),
        ("config", config()),
        ("consumer", shape::text().described("The consumer that operators see.")),
        ("reply_source", shape::nullable(shape::text())),
        ("owner", shape::text()),
        ("created", shape::time()),
        ("changed", shape::time()),
        ("state", shape::word(["active", "paused", "disabled"])),
        (
            "disabled",
            shape::nullable(shape::object([("code", shape::text()), ("reason", shape::text()), ("at", shape::time())])),
        ),
        ("rate", shape::nullable(shape::count())),
        ("secrets", shape::list(shape::object([("since", shape::time()), ("until", shape::nullable(shape::time()))]))),
        ("delivery", delivery),
    ])
}
