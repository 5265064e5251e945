//! The way out: requests to addresses that somebody else names.
//!
//! Who may name an address could otherwise reach whatever this machine reaches. So a name is resolved once per request,
//! what it leads to is checked, and the connection goes to exactly the checked addresses, whatever the name leads to by
//! then; redirects are not followed, proxies of the environment are not used, and of an answer no more is read than
//! somebody asked for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};

/// The longest URL that is called, in bytes.
pub const MAX_URL_BYTES: usize = 2_048;
/// The longest wait for a name to be resolved.
const RESOLVE: Duration = Duration::from_secs(5);
/// Idle connections kept per client: as many as requests run at once at most endpoints.
const MAX_IDLE: usize = 16;
/// How long an idle connection is kept: shorter than most servers keep theirs, so that it is not used as it closes.
const IDLE: Duration = Duration::from_secs(20);

/// Where requests may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Egress {
    /// Also to loopback, private and link-local addresses.
    pub allow_private: bool,
    /// Also without TLS.
    pub allow_http: bool,
}

/// Why a request does not go out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// The URL can never be called.
    #[error("{0}")]
    Url(String),
    /// It leads to an address that is not allowed.
    #[error("{0}")]
    Refused(String),
    /// Its name cannot be resolved now.
    #[error("{0}")]
    Unresolved(String),
}

/// A client whose connections go to the addresses it was made for.
#[derive(Default)]
pub struct Pinned(Mutex<Option<(Vec<SocketAddr>, Client)>>);

impl Egress {
    /// Reads a URL that may be called. Numbers in any notation are addresses: `http://2130706433/` is 127.0.0.1.
    pub fn url(&self, text: &str) -> Result<Url, EgressError> {
        let refused = |reason: String| Err(EgressError::Url(reason));
        if text.len() > MAX_URL_BYTES {
            return refused(format!("a URL has at most {MAX_URL_BYTES} bytes"));
        }
        let url: Url = match text.parse() {
            Ok(url) => url,
            Err(error) => return refused(format!("not a URL: {error}")),
        };
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            "http" => return refused("only https URLs are called here".into()),
            other => return refused(format!("`{other}` URLs are not called")),
        }
        if url.host_str().is_none_or(str::is_empty) {
            return refused("the URL names no host".into());
        }
        Ok(url)
    }

    /// Resolves the host of a URL, once. What it leads to and may not be called is left out; if nothing is left, that is
    /// [`EgressError::Refused`].
    pub async fn resolve(&self, url: &Url) -> Result<Vec<SocketAddr>, EgressError> {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or(443);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let unresolved =
            |why: &dyn std::fmt::Display| EgressError::Unresolved(format!("`{host}` cannot be resolved: {why}"));
        let found = tokio::time::timeout(RESOLVE, tokio::net::lookup_host((bare, port)))
            .await
            .map_err(|_| unresolved(&"no answer in time"))?
            .map_err(|error| unresolved(&error))?;
        let mut targets: Vec<SocketAddr> =
            found.filter(|target| self.allow_private || is_public(target.ip())).collect();
        targets.sort_unstable();
        targets.dedup();
        if targets.is_empty() {
            return Err(EgressError::Refused(format!(
                "`{host}` leads to no public address, and others are not called here"
            )));
        }
        Ok(targets)
    }
}

impl Pinned {
    /// A client for these addresses: the last one, with its open connections, while they stay the same.
    pub fn client(&self, url: &Url, targets: Vec<SocketAddr>) -> Result<Client, EgressError> {
        // Every state of it is a valid one.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((addresses, client)) = kept.as_ref()
            && *addresses == targets
        {
            return Ok(client.clone());
        }
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(MAX_IDLE)
            .pool_idle_timeout(IDLE)
            .resolve_to_addrs(url.host_str().unwrap_or_default(), &targets)
            .build()
            .map_err(|error| EgressError::Url(format!("no HTTP client: {error}")))?;
        *kept = Some((targets, client.clone()));
        Ok(client)
    }
}

/// The body of an answer up to `limit` bytes; `None` when it is longer. Nothing beyond the limit is kept.
pub async fn bounded_body(mut answer: Response, limit: usize) -> Result<Option<Bytes>, reqwest::Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body.freeze()))
}

/// The beginning of an answer's body as text for people: at most `limit` bytes, without what would steer a terminal.
pub async fn short_text(mut answer: Response, limit: usize) -> String {
    let mut body = Vec::new();
    while body.len() < limit {
        match answer.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk[..chunk.len().min(limit - body.len())]),
            Ok(None) | Err(_) => break,
        }
    }
    let text = String::from_utf8_lossy(&body);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

/// Whether an address belongs to the public internet.
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => match ip.to_ipv4() {
            // Mapped (::ffff:a.b.c.d) and compatible (::a.b.c.d) ones; ::1 and :: are among the latter.
            Some(ip) => is_public_v4(ip),
            None => is_public_v6(ip),
        },
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let relay = a == 192 && b == 88 && c == 99;
    let reserved = a == 0 || a >= 240 || (a == 192 && b == 0) || (a == 198 && (18..20).contains(&b));
    !(ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_documentation()
        || shared
        || relay
        || reserved)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [first, second, ..] = ip.segments();
    // What is given out for the public internet is 2000::/3. Of the rest nothing is: unique local, link-local,
    // site-local, multicast, discard, and translated IPv4 (64:ff9b::/96 and 64:ff9b:1::/48), which may lead anywhere.
    let is_global = first & 0xe000 == 0x2000;
    let teredo_and_tests = first == 0x2001 && second < 0x0200;
    let documentation = (first == 0x2001 && second == 0x0db8) || first & 0xfff0 == 0x3ff0;
    // 6to4 holds an IPv4 address, which a relay would take it to.
    let six_to_four = first == 0x2002;
    is_global && !(teredo_and_tests || documentation || six_to_four)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Egress = Egress { allow_private: false, allow_http: true };

    #[test]
    fn private_targets_are_told_from_public_ones() {
        for private in [
            "127.0.0.1",
            "127.255.255.254",
            "10.1.2.3",
            "192.168.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "192.0.0.8",
            "192.88.99.1",
            "198.18.0.1",
            "203.0.113.7",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in ["1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "2a00:1450:4001:800::200e"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[tokio::test]
    async fn whatever_way_a_private_address_is_written_it_is_refused() {
        for written in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://[0:0:0:0:0:0:0:1]/",
            "http://169.254.169.254/latest/meta-data/",
            "http://[fe80::1]/",
            "http://0/",
            "http://localhost/",
            "http://LOCALHOST./",
            "http://１２７.0.0.1/",
        ] {
            let url = STRICT.url(written).unwrap();
            let refused = STRICT.resolve(&url).await;
            // A resolver may not know the name with a dot; it must not lead anywhere either.
            assert!(
                matches!(refused, Err(EgressError::Refused(_) | EgressError::Unresolved(_))),
                "{written}: {refused:?}"
            );
            let open = Egress { allow_private: true, ..STRICT };
            if !written.contains("LOCALHOST") && !written.contains("fe80") {
                assert!(!open.resolve(&url).await.unwrap().is_empty(), "{written}");
            }
        }
    }

    #[test]
    fn only_urls_that_can_be_called_are_read() {
        for bad in [
            "ftp://example.org/",
            "file:///etc/passwd",
            "gopher://example.org/",
            "//example.org/",
            "example.org",
            "http://",
            "http:///",
            "http://exa mple.org/",
            "http://[::1/",
            "http://256.1.1.1/",
            "",
            &format!("http://example.org/{}", "a".repeat(MAX_URL_BYTES)),
        ] {
            assert!(matches!(STRICT.url(bad), Err(EgressError::Url(_))), "{bad}");
        }
        let strict = Egress { allow_http: false, ..STRICT };
        assert!(strict.url("http://example.org/").is_err());
        assert!(strict.url("https://example.org:8443/hook?x=1").is_ok());
    }
}
