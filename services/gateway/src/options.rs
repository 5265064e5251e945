//! The limits of the edge.

use std::time::Duration;

use tidewire::config::{HttpAuth, HttpConfig};
use tidewire::identity::JwtRules;

/// The limits of the edge. Every one bounds what a single client can cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of a request body, on routes that set no limit of their own.
    pub body_limit: usize,
    /// Time for one request up to the head of its answer; live streams go on after that.
    pub request_timeout: Duration,
    /// Time for a client to send the head of a request, its first one included.
    pub header_timeout: Duration,
    /// Open connections; further ones wait in the listener's backlog.
    pub max_connections: usize,
    /// Requests at once, live streams aside; further ones are answered 503.
    pub max_in_flight: usize,
    /// Requests per second of each caller; 0 is no limit.
    pub rate_limit: u32,
    /// Requests of a caller at once, saved up while he asked less.
    pub rate_burst: u32,
    /// Time for open requests to end after shutdown began; then connections are cut.
    pub drain: Duration,
    /// Whether only this machine's own names are served, because nobody is authenticated: a page elsewhere
    /// that points a name of its own at this address gets nothing.
    pub local_names_only: bool,
    /// Whether everybody needs a key or a token. Otherwise who sends none is the machine's own.
    pub authenticate: bool,
    /// Whose tokens are taken beside our own keys.
    pub tokens: Option<Tokens>,
}

/// An issuer of JSON Web Tokens that is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// What his tokens must say.
    pub rules: JwtRules,
    /// Where his public keys are (a JWK set).
    pub keys_url: String,
}

impl Options {
    /// The options of a configuration, for a listener that is bound to loopback or not.
    pub fn of(config: &HttpConfig, on_loopback: bool) -> Self {
        Self {
            body_limit: usize::try_from(config.body_limit).unwrap_or(usize::MAX),
            request_timeout: config.request_timeout,
            header_timeout: config.header_timeout,
            max_connections: config.max_connections,
            max_in_flight: config.max_in_flight,
            rate_limit: config.rate_limit,
            rate_burst: config.rate_burst,
            authenticate: config.auth == HttpAuth::Required,
            tokens: (!config.jwks_url.is_empty()).then(|| Tokens {
                rules: JwtRules { issuer: config.jwt_issuer.clone(), audience: config.jwt_audience.clone() },
                keys_url: config.jwks_url.expose().to_owned(),
            }),
            // `http.allow_remote` also means a proxy on this machine, which passes on the names others know it by.
            local_names_only: on_loopback && !config.allow_remote && config.auth == HttpAuth::Local,
            ..Self::default()
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            body_limit: 1 << 20,
            request_timeout: Duration::from_secs(30),
            header_timeout: Duration::from_secs(10),
            max_connections: 10_000,
            max_in_flight: 512,
            rate_limit: 500,
            rate_burst: 1_000,
            drain: Duration::from_secs(10),
            local_names_only: false,
            authenticate: false,
            tokens: None,
        }
    }
}
