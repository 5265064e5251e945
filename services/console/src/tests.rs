//! What the browser gets, looked at as text: what it does with it is tested against a running instance (`tests/console`).

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;

async fn ask(path: &str) -> (StatusCode, axum::http::HeaderMap, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let (parts, body) = service().routes.oneshot(request).await.unwrap().into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (parts.status, parts.headers, String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn every_file_is_served_under_the_same_policy() {
    for &(name, kind, body) in ASSETS {
        let (status, headers, sent) = ask(&format!("/console/{name}")).await;
        assert_eq!(
            (status, headers[header::CONTENT_TYPE].to_str().unwrap(), sent.as_str()),
            (StatusCode::OK, kind, body)
        );
        assert_eq!(headers[header::CONTENT_SECURITY_POLICY], POLICY, "{name}");
    }
    let (status, headers, page) = ask("/console").await;
    assert_eq!(
        (status, &headers[header::CONTENT_SECURITY_POLICY]),
        (StatusCode::OK, &HeaderValue::from_static(POLICY))
    );
    assert!(page.contains("/console/app.js"), "{page}");
    assert_eq!(ask("/console/").await.0, StatusCode::PERMANENT_REDIRECT);
    for path in ["/console/nothing.js", "/console/..%2fCargo.toml", "/console/assets"] {
        assert_eq!(ask(path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
}

/// What stands between two markers, each time they occur in this order.
fn between<'a>(text: &'a str, open: &'a str, close: char) -> impl Iterator<Item = &'a str> {
    text.split(open).skip(1).filter_map(move |rest| rest.split_once(close).map(|(inside, _)| inside))
}

#[test]
fn every_file_that_is_named_is_there_and_every_file_is_named() {
    let known: BTreeSet<&str> = ASSETS.iter().map(|(name, ..)| *name).collect();
    let mut named = BTreeSet::from(["index.html"]);
    for &(name, _, body) in ASSETS {
        let quoted = between(body, "\"/console/", '"').chain(between(body, "from './", '\''));
        for target in quoted {
            assert!(known.contains(target), "{name} names {target}, which is not served");
            named.insert(target);
        }
    }
    assert_eq!(named, known, "files nobody asks for, or that nobody serves");
    let on_disk = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/assets")).unwrap().count();
    assert_eq!(on_disk, known.len(), "a file in assets is not in the table");
}

/// Strings from events never become markup or code: the ways in which they could are not used at all.
#[test]
fn no_file_makes_markup_or_code_of_strings() {
    let ways = [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "javascript:",
        "DOMParser",
        "srcdoc",
        "setTimeout('",
        "createContextualFragment",
    ];
    for &(name, _, body) in ASSETS {
        for way in ways {
            assert!(!body.contains(way), "{name} uses {way}");
        }
    }
    let page = ASSETS[0].2;
    assert_eq!(page.matches("<script").count(), 1, "one script, and it has a source");
    assert!(!page.contains("style=") && !page.contains(" on"), "nothing inline");
}
