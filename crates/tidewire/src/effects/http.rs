//! HTTP requests to the outside.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::Method;
use tidewire_core::{Call, Effect};

use super::{CallError, Caller, unexpected};
use crate::egress::{Egress, EgressError, Pinned, short_text};

/// Bytes of an answer's body that are read for the error text.
const MAX_ANSWER_BYTES: usize = 2_048;

/// Sends HTTP effects, by the rules of [`egress`](crate::egress): private, loopback and link-local targets are refused
/// unless allowed.
pub struct HttpCaller {
    timeout: Duration,
    egress: Egress,
}

impl HttpCaller {
    /// A caller whose requests take at most `timeout`.
    pub fn new(timeout: Duration, allow_private: bool) -> Self {
        Self { timeout: timeout.min(super::MAX_ATTEMPT), egress: Egress { allow_private, allow_http: true } }
    }
}

impl From<EgressError> for CallError {
    fn from(error: EgressError) -> Self {
        match error {
            EgressError::Unresolved(reason) => Self::Transient(reason),
            EgressError::Url(reason) => Self::Permanent(reason),
            EgressError::Refused(reason) => {
                Self::Permanent(format!("{reason}; set effects.allow_private_targets if that is meant"))
            }
        }
    }
}

#[async_trait]
impl Caller for HttpCaller {
    fn kind(&self) -> &'static str {
        "http"
    }

    async fn call(&self, effect: &Effect) -> Result<(), CallError> {
        let Call::Http { method, url, headers, body } = &effect.call else { return Err(unexpected(&effect.call)) };
        let url = self.egress.url(url)?;
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|error| CallError::Permanent(format!("not a method: {error}")))?;
        // Effects go to many places, each rarely: no connection is worth keeping.
        let client = Pinned::default().client(&url, self.egress.resolve(&url).await?)?;
        let request = client.request(method, url).timeout(self.timeout);
        let mut request = request.header("idempotency-key", &effect.id).body(body.clone());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = request.send().await.map_err(|error| CallError::Transient(error.without_url().to_string()))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let reason = format!("answered {status}: {}", short_text(answer, MAX_ANSWER_BYTES).await);
        let later = status.is_server_error() || matches!(status.as_u16(), 408 | 409 | 425 | 429);
        Err(if later { CallError::Transient(reason) } else { CallError::Permanent(reason) })
    }
}
