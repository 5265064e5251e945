//! Which route needs which scope. What is not listed needs the most that a route of its kind could need.

use axum::http::Method;
use tidewire::identity::Operation;

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: it shows nothing of anybody.
    Nothing,
    /// A scope; for emitting and reading events of at least some type, which the route looks at again per event.
    Scope(Operation),
}

/// What a request to this path needs.
pub(crate) fn need(method: &Method, path: &str) -> Need {
    let is_read = method.is_safe();
    let mut segments = path.trim_matches('/').split('/');
    let (first, second) = (segments.next().unwrap_or_default(), segments.next().unwrap_or_default());
    let shows_events = second == "replays" && segments.nth(1) == Some("events");
    let operation = match (first, second) {
        (
            "" | "livez" | "readyz" | "healthz" | "startupz" | "schemas" | "openapi.json" | "asyncapi.json" | "console",
            _,
        ) if is_read => {
            return Need::Nothing;
        }
        ("v1", "events") if is_read => Operation::Events,
        ("v1", _) if is_read && shows_events => Operation::Events,
        ("v1", "events") => Operation::Emit,
        ("v1", "keys") => Operation::Keys,
        ("v1", "subscriptions") => Operation::Subscribe,
        ("v1", "users" | "collections" | "documents" | "search" | "stats" | "track") => match is_read {
            true => Operation::Read,
            false => Operation::Write,
        },
        ("metrics", _)
        | (
            "v1",
            "status" | "consumers" | "parked" | "effects" | "doctor" | "sagas" | "audit" | "replays" | "projections",
        ) if is_read => Operation::Observe,
        _ => Operation::Operate,
    };
    Need::Scope(operation)
}
