//! The issuer of tokens, and his keys.

use std::time::{Duration, Instant};

use tidewire::StoreError;
use tidewire::chrono::{DateTime, Utc};
use tidewire::identity::{Caller, IdentityError, Jwks, JwtRules};
use tokio::sync::Mutex;

use crate::options::Tokens;

/// How long his keys are taken as they were read.
const REREAD_AFTER: Duration = Duration::from_secs(600);
/// How often he is asked at most, also for keys nobody has seen: tokens cannot make us ask all the time.
const ASK_AFTER: Duration = Duration::from_secs(30);
/// How long he may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest set of keys that is read, in bytes.
const MAX_SET_BYTES: usize = 256 << 10;

/// An issuer we trust.
pub(super) struct Issuer {
    rules: JwtRules,
    url: String,
    http: Option<reqwest::Client>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    keys: Option<(Instant, Jwks)>,
    asked: Option<Instant>,
}

impl Issuer {
    pub(super) fn new(tokens: Tokens) -> Self {
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            // Whoever answers for him must be him.
            .redirect(reqwest::redirect::Policy::none())
            .build();
        let http = http.map_err(|error| tracing::error!(%error, "no HTTP client for the keys of the issuer")).ok();
        Self { rules: tokens.rules, url: tokens.keys_url, http, known: Mutex::default() }
    }

    pub(super) async fn caller(
        &self,
        token: &str,
        now: DateTime<Utc>,
    ) -> Result<Result<Caller, IdentityError>, StoreError> {
        match self.keys(token).await {
            Some(keys) => Ok(keys.caller(token, &self.rules, now)),
            None => Err(StoreError::Unavailable("the keys of the issuer of tokens cannot be read".into())),
        }
    }

    /// His keys: as known, or read again when they are old or lack the one that is needed. Old ones serve on while he
    /// cannot be reached.
    async fn keys(&self, token: &str) -> Option<Jwks> {
        let mut known = self.known.lock().await;
        let is_fresh =
            known.keys.as_ref().is_some_and(|(read, keys)| read.elapsed() < REREAD_AFTER && !keys.lacks_key_of(token));
        let may_ask = known.asked.is_none_or(|asked| asked.elapsed() >= ASK_AFTER);
        if !is_fresh && may_ask {
            known.asked = Some(Instant::now());
            match self.read().await {
                Ok(keys) => known.keys = Some((Instant::now(), keys)),
                Err(reason) => tracing::warn!(reason, "the keys of the issuer of tokens cannot be read"),
            }
        }
        known.keys.as_ref().map(|(_, keys)| keys.clone())
    }

    async fn read(&self) -> Result<Jwks, String> {
        let shown = |error: reqwest::Error| error.without_url().to_string();
        let http = self.http.as_ref().ok_or("no HTTP client")?;
        let mut answer =
            http.get(&self.url).send().await.and_then(|answer| answer.error_for_status()).map_err(shown)?;
        let mut text = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(shown)? {
            text.extend_from_slice(&chunk);
            if text.len() > MAX_SET_BYTES {
                return Err(format!("more than {MAX_SET_BYTES} bytes"));
            }
        }
        Jwks::parse(&text)
    }
}
