//! The operators' console: pages in the browser over the public API, and nothing else.
//!
//! What is served here is the same for everybody and shows nothing of anybody: the pages ask the API with the reader's
//! own key. There is no build step and no third-party script; the files under `assets` are what the browser runs.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use tidewire::Service;
use tidewire::http::{Problem, RouteDoc, shape};

/// Scripts and styles from here only, none inline; requests to here only; no frame around it. Trusted types make the
/// browser refuse markup made of strings, which the pages never do.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; frame-ancestors 'none'; \
                      base-uri 'none'; form-action 'self'; require-trusted-types-for 'script'; trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

macro_rules! assets {
    ($($name:literal: $kind:expr),* $(,)?) => { &[$(($name, $kind, include_str!(concat!("../assets/", $name)))),*] };
}

/// Every file of the console, with its type.
const ASSETS: &[(&str, &str, &str)] = assets! {
    "index.html": HTML, "style.css": STYLE, "app.js": SCRIPT, "api.js": SCRIPT, "act.js": SCRIPT, "dom.js": SCRIPT,
    "overview.js": SCRIPT, "events.js": SCRIPT, "consumers.js": SCRIPT, "parked.js": SCRIPT, "sagas.js": SCRIPT,
    "schemas.js": SCRIPT, "doctor.js": SCRIPT, "replay.js": SCRIPT, "subscriptions.js": SCRIPT,
};

/// The console as a service: pages under `/console`. It handles no events and keeps nothing.
pub fn service() -> Service {
    let routes = Router::new()
        .route("/console", get(page))
        // A relative link would otherwise lead somewhere else with the slash than without.
        .route("/console/", get(|| async { Redirect::permanent("/console") }))
        .route("/console/{file}", get(file));
    Service::new("console").routes(routes).documented(docs())
}

fn docs() -> Vec<RouteDoc> {
    let unknown = "http.not_found";
    vec![
        RouteDoc::get("/console", "console", "The operators' console, for a browser.").answer_as(
            200,
            "text/html",
            "The page.",
            shape::text(),
        ),
        RouteDoc::get("/console/", "consoleSlash", "Leads to the console.").no_content(308, "To `/console`."),
        RouteDoc::get("/console/{file}", "consoleFile", "A script or style of the console.")
            .answer_as(200, "text/javascript", "The file.", shape::text())
            .problem(404, unknown),
    ]
}

async fn page() -> Response {
    serve("index.html")
}

async fn file(Path(name): Path<String>) -> Response {
    serve(&name)
}

fn serve(name: &str) -> Response {
    let Some(&(_, kind, body)) = ASSETS.iter().find(|(known, ..)| *known == name) else {
        return Problem::new(StatusCode::NOT_FOUND, "http.not_found", "the console has no such file").into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    ];
    (headers, body).into_response()
}

#[cfg(test)]
mod tests;
