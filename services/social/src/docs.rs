//! What the routes of users and follows take and answer.

use events::limits;
use serde_json::json;
use tidewire::http::RouteDoc;
use tidewire::http::shape::{self, Shape};

pub(crate) fn docs() -> Vec<RouteDoc> {
    vec![
        RouteDoc::post("/v1/users", "registerUser", "Registers a user. The same user again is no error.")
            .body(registration())
            .answer(201, "The user.", user())
            .with_header("Location", "Where the user is.")
            .answer(200, "The user, who was registered before.", user())
            .problem(409, "user.already_exists"),
        RouteDoc::get("/v1/users/{id}", "showUser", "A user as others see them.")
            .path("id", user_id(), "The user.")
            .answer(200, "The user.", profile())
            .problem(404, "user.not_found"),
        RouteDoc::put("/v1/users/{id}/following/{other}", "followUser", "Has a user follow another one.")
            .path("id", user_id(), "Who follows.")
            .path("other", user_id(), "Who is followed.")
            .answer(201, "Follows from now on.", pair())
            .answer(200, "Followed before.", pair())
            .problem(400, "user.follows_itself")
            .problem(404, "user.not_found")
            .problem(409, "user.too_many_followers"),
        RouteDoc::delete(
            "/v1/users/{id}/following/{other}",
            "unfollowUser",
            "Has a user no longer follow another one.",
        )
        .path("id", user_id(), "Who follows.")
        .path("other", user_id(), "Who is followed.")
        .no_content(204, "Does not follow, whether or not it was so before.")
        .problem(404, "user.not_found"),
        RouteDoc::get("/v1/users/{id}/followers", "listFollowers", "Who follows a user, by id.")
            .path("id", user_id(), "The user.")
            .paged(person()),
        RouteDoc::get("/v1/users/{id}/following", "listFollowing", "Whom a user follows, by id.")
            .path("id", user_id(), "The user.")
            .paged(person()),
        RouteDoc::get("/v1/users/{id}/feed", "readFeed", "What the people a user follows did lately, newest first.")
            .path("id", user_id(), "The user.")
            .paged(entry()),
    ]
}

fn user_id() -> Shape {
    shape::text_up_to(limits::USER_ID).pattern("[A-Za-z0-9_-][A-Za-z0-9_.-]*").example(json!("42"))
}

fn registration() -> Shape {
    shape::object([
        ("id?", shape::nullable(user_id()).described("Drawn when absent.")),
        // Not only white space, no control characters.
        (
            "name",
            shape::text_up_to(limits::NAME)
                .pattern(r"[^\s\x00-\x1f\x7f-\x9f](?:[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?"),
        ),
        ("email?", shape::nullable(shape::Shape::of(json!({ "type": "string", "format": "email", "maxLength": 254 })))),
    ])
    .closed()
    .example(json!({ "id": "ada", "name": "Ada Lovelace", "email": "ada@example.org" }))
}

fn user() -> Shape {
    shape::object([("id", user_id()), ("name", shape::text()), ("email?", shape::text())])
}

fn profile() -> Shape {
    shape::object([
        ("id", user_id()),
        ("name", shape::text()),
        ("registered", shape::time()),
        ("followers", shape::count()),
        ("following", shape::count()),
    ])
}

fn pair() -> Shape {
    shape::object([("follower_id", user_id()), ("followed_id", user_id())])
}

fn person() -> Shape {
    shape::object([("id", user_id()), ("name?", shape::text()), ("since", shape::time())])
}

fn entry() -> Shape {
    shape::object([
        ("id", shape::text().described("The event it follows from.")),
        ("time", shape::time()),
        ("user_id", user_id()),
        ("kind", shape::word(["activity", "followed"])),
        ("action?", shape::text()),
        ("object?", shape::text()),
        ("followed_id?", user_id()),
    ])
}
