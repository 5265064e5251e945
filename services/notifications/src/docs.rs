//! What the routes of notifications and preferences take and answer.

use serde_json::json;
use tidewire::http::RouteDoc;
use tidewire::http::shape::{self, Shape};

pub(crate) fn docs() -> Vec<RouteDoc> {
    vec![
        RouteDoc::get("/v1/users/{id}/notifications", "listNotifications", "What somebody was told, newest first.")
            .path("id", inbox(), "Whose.")
            .query("unread", shape::boolean(), "`true`: only what is unread.")
            .paged_with(notification(), [("unread", shape::count().described("How many are unread in all."))]),
        RouteDoc::get("/v1/users/{id}/notifications/stream", "streamNotifications", "Notifications as they come.")
            .path("id", inbox(), "Whose.")
            .header("Last-Event-ID", shape::count(), "The number of the last one seen; the stream goes on after it.")
            .answer_as(
                200,
                "text/event-stream",
                "Server-sent events; `id` is the number, `data` the notification.",
                shape::text(),
            ),
        RouteDoc::post("/v1/users/{id}/notifications/{n}/read", "readNotification", "Marks a notification as read.")
            .path("id", inbox(), "Whose.")
            .path("n", shape::count(), "Its number.")
            .answer(200, "The notification.", notification()),
        RouteDoc::get("/v1/users/{id}/preferences", "showPreferences", "What somebody wants to be told, and how.")
            .path("id", inbox(), "Who.")
            .answer(200, "The preferences, every kind written out.", preferences()),
        RouteDoc::put(
            "/v1/users/{id}/preferences",
            "setPreferences",
            "Replaces the preferences; what is left out is as by default.",
        )
        .path("id", inbox(), "Who.")
        .body(preferences().closed().example(json!({ "email": { "user.followed": false }, "muted": [] })))
        .answer(200, "The preferences, every kind written out.", preferences()),
    ]
}

fn inbox() -> Shape {
    shape::text_up_to(64)
        .pattern(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}|workspace:[A-Za-z0-9_.-]{1,50}|role:operators")
        .described("A user id, `workspace:` with a name, or `role:operators`.")
        .example(json!("42"))
}

fn kind() -> Shape {
    shape::word(["user.followed", "document.ingested", "document.rejected", "saga.stuck"])
}

fn notification() -> Shape {
    shape::object([
        ("n", shape::count()),
        ("kind", kind()),
        ("event_id", shape::text()),
        ("subject", shape::text().described("The key of what it is about, such as `document/7`.")),
        ("time", shape::time()),
        ("title", shape::text()),
        ("text", shape::text()),
        ("read?", shape::time()),
    ])
}

fn preferences() -> Shape {
    let email = json!({
        "type": "object", "additionalProperties": { "type": "boolean" }, "propertyNames": kind().schema(),
        "description": "Whether a kind also goes out by e-mail.",
    });
    let muted = json!({ "type": "array", "items": kind().schema(), "description": "Kinds that are not told at all." });
    shape::object([("email?", Shape::of(email)), ("muted?", Shape::of(muted))])
}
