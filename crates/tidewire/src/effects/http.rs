//! HTTP requests to the outside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::redirect::Policy;
use reqwest::{Method, Url};
use tidewire_core::{Call, Effect};

use super::{CallError, Caller, unexpected};

/// Bytes of an answer's body that are read for the error text.
const MAX_ANSWER_BYTES: usize = 2_048;

/// Sends HTTP effects. A name is resolved once and the connection pinned to what was found; private,
/// loopback and link-local targets are refused unless allowed; redirects are not followed.
pub struct HttpCaller {
    timeout: Duration,
    allow_private: bool,
}

impl HttpCaller {
    /// A caller whose requests take at most `timeout`.
    pub fn new(timeout: Duration, allow_private: bool) -> Self {
        Self { timeout: timeout.min(super::MAX_ATTEMPT), allow_private }
    }

    async fn resolve(&self, url: &Url) -> Result<(String, Vec<SocketAddr>), CallError> {
        let host = url.host_str().ok_or_else(|| CallError::Permanent("the URL names no host".into()))?.to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let found = tokio::net::lookup_host((bare, port))
            .await
            .map_err(|error| CallError::Transient(format!("`{host}` cannot be resolved: {error}")))?;
        let targets: Vec<SocketAddr> = found.filter(|target| self.allow_private || is_public(target.ip())).collect();
        if targets.is_empty() {
            return Err(CallError::Permanent(format!(
                "`{host}` leads to no public address; set effects.allow_private_targets if that is meant"
            )));
        }
        Ok((host, targets))
    }
}

/// Whether an address belongs to the public internet.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => is_public_v4(ip),
            None => is_public_v6(ip),
        },
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let reserved = a == 0 || a >= 240 || (a == 192 && b == 0) || (a == 198 && (18..20).contains(&b));
    !(ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_documentation()
        || shared
        || reserved)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let first = ip.segments()[0];
    let unique_local = first & 0xfe00 == 0xfc00;
    let link_local = first & 0xffc0 == 0xfe80;
    // Translated IPv4 (64:ff9b::/96) may lead anywhere.
    let translated = first == 0x64 && ip.segments()[1] == 0xff9b;
    !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || unique_local || link_local || translated)
}

#[async_trait]
impl Caller for HttpCaller {
    fn kind(&self) -> &'static str {
        "http"
    }

    async fn call(&self, effect: &Effect) -> Result<(), CallError> {
        let Call::Http { method, url, headers, body } = &effect.call else { return Err(unexpected(&effect.call)) };
        let permanent = |what: &str, error: &dyn std::fmt::Display| CallError::Permanent(format!("{what}: {error}"));
        let url: Url = url.parse().map_err(|error| permanent("not a URL", &error))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(CallError::Permanent(format!("`{}` URLs are not called", url.scheme())));
        }
        let method = Method::from_bytes(method.as_bytes()).map_err(|error| permanent("not a method", &error))?;
        let (host, targets) = self.resolve(&url).await?;
        let client = reqwest::Client::builder()
            .redirect(Policy::none())
            .timeout(self.timeout)
            .resolve_to_addrs(&host, &targets)
            .build()
            .map_err(|error| permanent("no HTTP client", &error))?;
        let mut request = client.request(method, url).header("idempotency-key", &effect.id).body(body.clone());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = request.send().await.map_err(|error| CallError::Transient(error.without_url().to_string()))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let mut text = answer.text().await.unwrap_or_default();
        let end = (0..=MAX_ANSWER_BYTES.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
        let reason = format!("answered {status}: {text}");
        let later = status.is_server_error() || matches!(status.as_u16(), 408 | 409 | 425 | 429);
        Err(if later { CallError::Transient(reason) } else { CallError::Permanent(reason) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_targets_are_told_from_public_ones() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "172.16.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "224.0.0.1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in ["1.1.1.1", "93.184.216.34", "2606:4700::1111"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }
}
