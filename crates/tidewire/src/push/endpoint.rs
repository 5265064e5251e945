//! An endpoint: one request per event, and what its answer means.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode, header};
use reqwest::Response;
use sha2::{Digest, Sha256};
use tidewire_core::codec::CodecError;
use tidewire_core::codec::http::{Encoded, encode_binary, encode_structured};
use tidewire_core::{Clock, Envelope};

use super::PushOptions;
use super::breaker::{Breaker, Circuit, Entry};
use super::secret::signatures;
use super::status::Tally;
use super::subscription::{Mode, Subscription};
use crate::egress::{EgressError, Pinned, bounded_body, short_text};

/// Bytes of an answer that are read for the error text.
const MAX_ERROR_BYTES: usize = 500;
/// Bytes of an answer without an event that are read, so that its connection can be used again.
const MAX_IDLE_BYTES: usize = 64 << 10;
/// A turn that comes sooner than this is waited for at once.
const SHORT_WAIT: Duration = Duration::from_millis(200);

/// What an endpoint made of an event.
#[derive(Debug)]
pub enum Outcome {
    /// It took it, and may have answered with an event.
    Taken(Option<Box<Answer>>),
    /// It will never take this event.
    Refused {
        /// A stable code.
        code: &'static str,
        /// What it said.
        reason: String,
    },
    /// It may take it later. That counts as a try of this event.
    Failed {
        /// What happened.
        reason: String,
        /// Not before, as it said.
        after: Option<Duration>,
    },
    /// It takes nothing now, which says nothing about this event.
    Away {
        /// A stable code.
        code: &'static str,
        /// What happened.
        reason: String,
        /// Not before, as it said.
        after: Option<Duration>,
    },
    /// It is gone for good (410), and wants no event any more.
    Gone,
}

/// An answer that holds an event.
#[derive(Debug)]
pub struct Answer {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Outcome {
    /// One word for metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Taken(_) => "taken",
            Self::Refused { .. } => "refused",
            Self::Failed { .. } => "failed",
            Self::Away { .. } => "away",
            Self::Gone => "gone",
        }
    }

    /// The code and reason of whatever is no success.
    pub fn failure(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Taken(_) => None,
            Self::Refused { code, reason } | Self::Away { code, reason, .. } => Some((code, reason.clone())),
            Self::Failed { reason, .. } => Some(("push.failed", reason.clone())),
            Self::Gone => Some(("push.gone", "the endpoint answered 410: it is gone".into())),
        }
    }
}

/// The endpoint of one subscription, as this process knows it.
pub struct Endpoint {
    subscription: Subscription,
    options: PushOptions,
    pinned: Pinned,
    pub(super) breaker: Breaker,
    pub(super) tally: Mutex<Tally>,
    turn: Mutex<Option<Instant>>,
}

/// Leave to send one request.
pub(super) struct Pass(Entry);

impl Endpoint {
    /// The endpoint of a subscription.
    pub fn new(subscription: &Subscription, options: &PushOptions) -> Self {
        let patience = subscription.wanted.config.timeout(options) + Duration::from_secs(5);
        let breaker = Breaker::new(options.breaker_failures, options.breaker_first, options.breaker_max, patience);
        Self {
            subscription: subscription.clone(),
            options: options.clone(),
            pinned: Pinned::default(),
            breaker,
            tally: Mutex::default(),
            turn: Mutex::default(),
        }
    }

    /// Asks to send a request: not while the circuit is open, and no oftener than the endpoint agreed to. Otherwise, how
    /// long to wait before asking again.
    pub(super) async fn enter(&self) -> Result<Pass, Duration> {
        if let Some(wait) = self.until_turn(Instant::now())? {
            tokio::time::sleep(wait).await;
        }
        match self.breaker.enter(Instant::now()) {
            Entry::Wait(wait) => Err(wait),
            entry => Ok(Pass(entry)),
        }
    }

    /// Takes the next turn: endpoints say how many there are a minute, and when to leave them alone.
    fn until_turn(&self, now: Instant) -> Result<Option<Duration>, Duration> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = turn.filter(|at| *at > now).or(self.subscription.rate.map(|_| now)) else { return Ok(None) };
        if at - now > SHORT_WAIT {
            return Err(at - now);
        }
        if let Some(rate) = self.subscription.rate {
            *turn = Some(at + Duration::from_secs(60) / rate.max(1));
        }
        Ok(Some(at - now))
    }

    /// Leaves the endpoint alone for so long, as it asked.
    fn hold(&self, wait: Duration) {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + wait;
        *turn = Some(turn.map_or(until, |at| at.max(until)));
    }

    /// Sends an event, once. Every try of the same event carries the same `webhook-id`.
    pub async fn send(&self, event: &Envelope, clock: &dyn Clock) -> Outcome {
        let begun = Instant::now();
        let outcome = match self.request(event, clock.now()).await {
            Ok(answer) => self.judge(answer, clock.now()).await,
            Err(outcome) => outcome,
        };
        if let Outcome::Away { after: Some(after), .. } = &outcome {
            self.hold(*after);
        }
        tracing::debug!(subscription = self.subscription.id, event = event.id, outcome = outcome.word(), took = ?begun.elapsed(), "pushed");
        outcome
    }

    async fn request(&self, event: &Envelope, now: DateTime<Utc>) -> Result<Response, Outcome> {
        let wanted = &self.subscription.wanted;
        let url = self.options.egress.url(&wanted.sink)?;
        let client = self.pinned.client(&url, self.options.egress.resolve(&url).await?)?;
        let Encoded { headers, body } = match wanted.config.mode {
            Mode::Binary => encode_binary(event)?,
            Mode::Structured => encode_structured(event)?,
        };
        let id = webhook_id(&self.subscription.consumer_name(), event);
        let mut request = client.post(url).timeout(wanted.config.timeout(&self.options));
        for (name, value) in &headers {
            request = request.header(name.as_ref(), value);
        }
        if let Some(traceparent) = &event.traceparent {
            // Where libraries for tracing look for it.
            request = request.header("traceparent", traceparent);
        }
        let request = request
            .header("webhook-signature", signatures(&self.subscription.secrets, now, &id, &body))
            .header("webhook-timestamp", now.timestamp())
            .header("webhook-id", id)
            .header("webhook-request-origin", &self.options.origin)
            .header(header::USER_AGENT, concat!("tidewire/", env!("CARGO_PKG_VERSION")));
        request.body(body).send().await.map_err(unanswered)
    }

    /// What an answer means.
    async fn judge(&self, answer: Response, now: DateTime<Utc>) -> Outcome {
        let status = answer.status();
        if status.is_success() {
            return self.taken(answer).await;
        }
        let after = retry_after(answer.headers(), now).map(|after| after.min(self.options.breaker_max));
        if status == StatusCode::GONE {
            return Outcome::Gone;
        }
        let said = short_text(answer, MAX_ERROR_BYTES).await;
        let reason = format!("answered {status}: {said}");
        match status.as_u16() {
            // Nothing about this event: the endpoint, or what stands before it, takes none now.
            429 | 502 | 503 | 504 => Outcome::Away { code: "push.unavailable", reason, after },
            408 | 425 | 500..=599 => Outcome::Failed { reason, after },
            300..=399 => Outcome::Refused { code: "push.redirected", reason: format!("{reason} (not followed)") },
            _ => Outcome::Refused { code: "push.refused", reason },
        }
    }

    async fn taken(&self, answer: Response) -> Outcome {
        let headers = answer.headers().clone();
        if !holds_event(&headers) {
            // What it says besides is nobody's business; a connection that says too much is not used again.
            let _ = bounded_body(answer, MAX_IDLE_BYTES).await;
            return Outcome::Taken(None);
        }
        match bounded_body(answer, self.options.reply_bytes).await {
            Ok(Some(body)) => Outcome::Taken(Some(Box::new(Answer { headers, body }))),
            Ok(None) => Outcome::Refused {
                code: "push.reply_invalid",
                reason: format!("the event in the answer takes more than {} bytes", self.options.reply_bytes),
            },
            Err(error) => unanswered(error),
        }
    }

    /// Notes how a request ended, for the circuit and for whoever looks.
    pub(super) fn ended(&self, Pass(entry): Pass, failure: Option<(&str, &str)>, now: DateTime<Utc>) {
        let id = &self.subscription.id;
        self.tally().count(failure, now);
        match failure {
            None if self.breaker.succeeded() => tracing::info!(subscription = id, "the endpoint is back"),
            None => {}
            Some((code, reason)) => {
                if let Some(wait) = self.breaker.failed(entry, Instant::now()) {
                    tracing::warn!(subscription = id, code, reason, again_in = ?wait, "the endpoint fails again and again; it is left alone for a while");
                }
            }
        }
    }

    /// Whether requests that fail now say nothing about their events, because the endpoint has long been failing.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.breaker.circuit() != Circuit::Closed
    }

    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        // Every state of it is a valid one.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<EgressError> for Outcome {
    fn from(error: EgressError) -> Self {
        let code = match error {
            EgressError::Unresolved(_) => "push.unreachable",
            EgressError::Url(_) | EgressError::Refused(_) => "push.target_refused",
        };
        // Whatever the name leads to: it says nothing about the event.
        Self::Away { code, reason: error.to_string(), after: None }
    }
}

impl From<CodecError> for Outcome {
    fn from(error: CodecError) -> Self {
        Self::Refused { code: error.code(), reason: error.to_string() }
    }
}

/// What no answer means. A connection that never came about says nothing about the event; one that broke off, or an
/// answer that did not come, may well be its doing.
fn unanswered(error: reqwest::Error) -> Outcome {
    let is_unreachable = error.is_connect();
    let timed_out = error.is_timeout();
    let error = error.without_url();
    // The cause says what people want to know: refused, reset, a certificate.
    let cause = std::iter::successors(std::error::Error::source(&error), |cause| cause.source()).last();
    let reason = cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
    match (is_unreachable, timed_out) {
        (true, _) => Outcome::Away { code: "push.unreachable", reason, after: None },
        (false, true) => Outcome::Failed { reason: format!("no answer in time: {reason}"), after: None },
        (false, false) => Outcome::Failed { reason, after: None },
    }
}

/// The id of a delivery: the same for every try of an event, another for another subscription to the same endpoint.
pub(super) fn webhook_id(consumer: &str, event: &Envelope) -> String {
    let mut digest = Sha256::new();
    for part in [consumer, &event.source, &event.id] {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    format!("msg_{}", URL_SAFE_NO_PAD.encode(&digest.finalize()[..18]))
}

/// Whether an answer holds a CloudEvent, in whatever mode.
fn holds_event(headers: &HeaderMap) -> bool {
    let is_structured = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|text| text.trim_start().to_ascii_lowercase().starts_with("application/cloudevents"));
    is_structured || headers.contains_key("ce-specversion")
}

/// `Retry-After`, in seconds or as a date.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTime::parse_from_rfc2822(text).ok()?;
    Some((at.to_utc() - now).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_in_an_answer_is_recognised() {
        let headers = |name: &'static str, value: &'static str| {
            HeaderMap::from_iter([(header::HeaderName::from_static(name), header::HeaderValue::from_static(value))])
        };
        assert!(holds_event(&headers("content-type", "application/cloudevents+json; charset=utf-8")));
        assert!(holds_event(&headers("content-type", "Application/CloudEvents-batch+json")));
        assert!(holds_event(&headers("ce-specversion", "1.0")));
        assert!(!holds_event(&headers("content-type", "application/json")));
    }

    #[test]
    fn an_endpoint_is_called_no_oftener_than_it_agreed_to() {
        let wanted = serde_json::from_value(serde_json::json!({ "sink": "https://example.org" })).unwrap();
        let subscription = Subscription {
            id: "s".into(),
            wanted,
            owner: String::new(),
            created: DateTime::UNIX_EPOCH,
            changed: DateTime::UNIX_EPOCH,
            since: Default::default(),
            state: Default::default(),
            rate: Some(60),
            secrets: Vec::new(),
        };
        let endpoint = Endpoint::new(&subscription, &PushOptions::default());
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        assert_eq!(endpoint.until_turn(now), Ok(Some(Duration::ZERO)));
        assert_eq!(endpoint.until_turn(now), Err(second), "the next turn is a second later");
        assert_eq!(endpoint.until_turn(now + second), Ok(Some(Duration::ZERO)));
        let free = Endpoint::new(&Subscription { rate: None, ..subscription }, &PushOptions::default());
        assert_eq!((free.until_turn(now), free.until_turn(now)), (Ok(None), Ok(None)));
        free.hold(second);
        assert!(free.until_turn(now).is_err(), "as it asked");
        assert_eq!(free.until_turn(Instant::now() + second * 2), Ok(None));
    }

    #[test]
    fn an_endpoint_says_when_to_come_again() {
        let now = "1999-12-31T23:59:50Z".parse().unwrap();
        for (text, seconds) in [
            (" 7 ", Some(7)),
            ("Fri, 31 Dec 1999 23:59:59 GMT", Some(9)),
            ("Fri, 31 Dec 1999 23:00:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
        ] {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, header::HeaderValue::from_static(text))]);
            assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
