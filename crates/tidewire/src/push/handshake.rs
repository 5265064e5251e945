//! The handshake of "HTTP 1.1 Web Hooks for Event Delivery": whoever is to be called must have agreed to it, or anybody
//! who may subscribe could flood anybody else.

use reqwest::Method;

use super::PushOptions;
use crate::egress::{EgressError, Pinned};

/// Why an endpoint is not called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Its address is not one that may be called.
    #[error("{0}")]
    Target(String),
    /// It could not be asked.
    #[error("{0}")]
    Unreachable(String),
    /// It did not agree.
    #[error("{0}")]
    Refused(String),
}

impl HandshakeError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Target(_) => "push.target_refused",
            Self::Unreachable(_) => "push.unreachable",
            Self::Refused(_) => "push.handshake_refused",
        }
    }
}

impl From<EgressError> for HandshakeError {
    fn from(error: EgressError) -> Self {
        match error {
            EgressError::Url(reason) | EgressError::Refused(reason) => Self::Target(reason),
            EgressError::Unresolved(reason) => Self::Unreachable(reason),
        }
    }
}

/// Asks an endpoint whether it wants to be called, and how often a minute at most. Where handshakes are switched off, its
/// address is only checked.
pub async fn shake_hands(sink: &str, options: &PushOptions) -> Result<Option<u32>, HandshakeError> {
    let url = options.egress.url(sink)?;
    let targets = options.egress.resolve(&url).await?;
    if !options.handshake {
        return Ok(None);
    }
    let request = Pinned::default().client(&url, targets)?.request(Method::OPTIONS, url).timeout(options.timeout);
    let answer = request
        .header("webhook-request-origin", &options.origin)
        .send()
        .await
        .map_err(|error| HandshakeError::Unreachable(error.without_url().to_string()))?;
    if !answer.status().is_success() {
        let detail = format!("the endpoint answered OPTIONS with {}, expected 200", answer.status());
        return Err(HandshakeError::Refused(detail));
    }
    let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    match header("webhook-allowed-origin") {
        Some(allowed) if allowed == "*" || allowed.eq_ignore_ascii_case(&options.origin) => {
            Ok(header("webhook-allowed-rate").and_then(|rate| rate.parse().ok()).filter(|rate| *rate > 0))
        }
        Some(_) => Err(HandshakeError::Refused(format!(
            "the endpoint's `WebHook-Allowed-Origin` names somebody else; this is `{}`",
            options.origin
        ))),
        None => Err(HandshakeError::Refused(
            "the endpoint answered OPTIONS without `WebHook-Allowed-Origin`, which says that it wants to be called"
                .into(),
        )),
    }
}
