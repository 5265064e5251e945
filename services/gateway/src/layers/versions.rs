//! What comes to an end, and versions that are not there.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use tidewire::http::Problem;

/// The versions of the interface that are served.
pub const VERSIONS: [&str; 1] = ["v1"];

const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// A route that is to be used no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Its method in lower case.
    pub method: &'static str,
    /// Its template.
    pub path: &'static str,
    /// Since when it is to be used no longer, in seconds since 1970: the `Deprecation` header of RFC 9745.
    pub deprecated: i64,
    /// When it goes, in seconds since 1970: the `Sunset` header of RFC 8594. `None`: not yet decided.
    pub sunset: Option<i64>,
    /// What to use instead: a `Link` with the relation `successor-version`.
    pub successor: &'static str,
}

/// Everything that comes to an end. A route is entered here at least six months before it goes, and the document
/// says so as well.
pub static ENDINGS: &[Ending] = &[Ending {
    method: "get",
    path: "/healthz",
    // 2026-11-20.
    deprecated: 1_795_132_800,
    sunset: None,
    successor: "/readyz",
}];

/// The end of a route, if it has one.
pub fn ending(method: &str, path: &str) -> Option<&'static Ending> {
    find(ENDINGS, method, path)
}

fn find<'a>(endings: &'a [Ending], method: &str, path: &str) -> Option<&'a Ending> {
    endings.iter().find(|ending| ending.method.eq_ignore_ascii_case(method) && ending.path == path)
}

/// Says on every answer of an ending route that it ends, and answers 404 `http.unknown_version` for versions of the
/// interface that are not served here.
pub async fn versions(State(endings): State<&'static [Ending]>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let Some(route) = route else {
        return match unknown_version(request.uri().path()) {
            Some(problem) => problem.into_response(),
            None => next.run(request).await,
        };
    };
    let ending = find(endings, request.method().as_str(), route).copied();
    let mut response = next.run(request).await;
    if let Some(ending) = ending {
        announce(&ending, response.headers_mut());
    }
    response
}

fn announce(ending: &Ending, headers: &mut HeaderMap) {
    let mut add = |name: HeaderName, text: String| {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.append(name, value);
        }
    };
    add(DEPRECATION, format!("@{}", ending.deprecated));
    add(header::LINK, format!("<{}>; rel=\"successor-version\"", ending.successor));
    if let Some(sunset) = ending.sunset.and_then(|seconds| DateTime::<Utc>::from_timestamp(seconds, 0)) {
        add(SUNSET, sunset.format("%a, %d %b %Y %H:%M:%S GMT").to_string());
    }
}

fn unknown_version(path: &str) -> Option<Problem> {
    let first = path.strip_prefix('/')?.split('/').next()?;
    let digits = first.strip_prefix('v')?;
    let is_version = !digits.is_empty() && digits.len() <= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_version || VERSIONS.contains(&first) {
        return None;
    }
    let detail = format!("there is no version `{first}` of this interface; served are: {}", VERSIONS.join(", "));
    Some(Problem::new(StatusCode::NOT_FOUND, "http.unknown_version", detail).with("supported", VERSIONS.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_announced_in_three_headers() {
        let ending = Ending {
            method: "get",
            path: "/v1/old",
            deprecated: 1_688_169_599,
            sunset: Some(1_719_792_000),
            successor: "/v1/new",
        };
        let mut headers = HeaderMap::new();
        announce(&ending, &mut headers);
        assert_eq!(headers["deprecation"], "@1688169599");
        assert_eq!(headers["sunset"], "Mon, 01 Jul 2024 00:00:00 GMT");
        assert_eq!(headers["link"], "</v1/new>; rel=\"successor-version\"");
        assert_eq!(find(&[ending], "GET", "/v1/old"), Some(&ending));
        assert_eq!(find(&[ending], "POST", "/v1/old"), None);
    }

    /// Nobody is told of an end on the day of it.
    #[test]
    fn whoever_relies_on_a_route_has_half_a_year() {
        for ending in ENDINGS {
            assert!(ending.sunset.is_none_or(|sunset| sunset - ending.deprecated >= 183 * 86_400), "{ending:?}");
        }
    }

    #[test]
    fn only_what_looks_like_a_version_is_one() {
        for unknown in ["/v2", "/v2/events", "/v0/events", "/v10/"] {
            assert!(unknown_version(unknown).is_some(), "{unknown}");
        }
        for other in ["/", "/v1/nothing", "/version", "/v", "/v1x", "/va/b", "/v99999/x"] {
            assert!(unknown_version(other).is_none(), "{other}");
        }
    }
}
