//! No requests from other sites: the listener on loopback asks nobody who he is, so a page on the web must not
//! be able to speak through its reader's browser.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tidewire::http::Problem;

use crate::options::Options;

/// Refuses with 403: requests that change something and name another site as their origin, and, where only
/// local names are served, requests for any other name (DNS rebinding).
pub async fn origin(State(options): State<Options>, request: Request, next: Next) -> Response {
    match check(&request, options.local_names_only) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn check(request: &Request, local_names_only: bool) -> Result<(), Problem> {
    let forbid = |code: &str, detail: &str| Err(Problem::new(StatusCode::FORBIDDEN, code, detail));
    let host = host(request.uri(), request.headers());
    if local_names_only && host.as_deref().is_some_and(|host| !is_local(host)) {
        return forbid(
            "http.host_refused",
            "this address serves its own machine only, as `localhost` or by its loopback address",
        );
    }
    if request.method().is_safe() {
        return Ok(());
    }
    let headers = request.headers();
    let from_elsewhere = headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site");
    let foreign = headers.get(header::ORIGIN).is_some_and(|origin| {
        let named = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
        named.is_none() || named.map(str::to_ascii_lowercase) != host
    });
    if from_elsewhere || foreign {
        return forbid("http.origin_refused", "requests that change something are not taken from pages of other sites");
    }
    Ok(())
}

/// Whom the client means to speak to, port included.
fn host(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let named = uri.authority().map(|authority| authority.as_str());
    let named = named.or_else(|| headers.get(header::HOST).map(|host| host.to_str().unwrap_or("?")));
    named.map(str::to_ascii_lowercase)
}

fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn code(method: &str, headers: &[(&str, &str)]) -> Option<String> {
        let mut request = Request::builder().method(method).uri("/v1/users");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(Body::empty()).unwrap(), true).err().map(|problem| problem.code)
    }

    #[test]
    fn only_this_machine_and_only_the_same_site() {
        let (host, origin) = (Some("http.host_refused".to_owned()), Some("http.origin_refused".to_owned()));
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a Option<String>);
        let cases: [Case<'_>; 14] = [
            ("GET", &[], &None),
            ("POST", &[("host", "127.0.0.1:7070")], &None),
            ("POST", &[("host", "[::1]:7070")], &None),
            ("POST", &[("host", "tidewire.localhost:7070")], &None),
            ("GET", &[("host", "evil.example:7070")], &host),
            ("GET", &[("host", "127.0.0.1.evil.example")], &host),
            ("GET", &[("host", "localhost.evil.example")], &host),
            ("GET", &[("host", "192.168.1.7")], &host),
            ("POST", &[("host", "localhost:1"), ("origin", "http://localhost:1")], &None),
            ("POST", &[("host", "localhost:1"), ("origin", "http://localhost:2")], &origin),
            ("PUT", &[("host", "localhost"), ("origin", "https://evil.example")], &origin),
            ("DELETE", &[("host", "localhost"), ("origin", "null")], &origin),
            ("POST", &[("host", "localhost"), ("sec-fetch-site", "cross-site")], &origin),
            ("GET", &[("host", "localhost"), ("origin", "https://evil.example")], &None),
        ];
        for (method, headers, expected) in cases {
            assert_eq!(code(method, headers), *expected, "{method} {headers:?}");
        }
    }
}
