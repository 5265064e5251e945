//! Requests to JetStream, and what is read of its answers: only what is used, so that it does not matter what else
//! a newer server says.

use std::sync::Arc;
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{HeaderMap, Message, Request, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidewire_core::BrokerError;
use tidewire_core::bytes::Bytes;

use super::link::Link;

/// How long an answer may take. A cluster that elects a leader answers later; what asks asks again.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a request did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// The server said no.
    #[error("{description} ({err_code})")]
    Refused { code: u16, err_code: u32, description: String },
    /// Nobody there takes such requests: JetStream is off, has no leader, or there is no such stream.
    #[error("nobody answers")]
    NobodyThere,
    /// No answer, or none that can be read. It may have been done.
    #[error("{0}")]
    Unknown(BrokerError),
}

pub(super) const STREAM_NOT_FOUND: u32 = 10_059;
pub(super) const CONSUMER_NOT_FOUND: u32 = 10_014;
pub(super) const WRONG_LAST_SEQUENCE: [u32; 2] = [10_071, 10_164];
pub(super) const STREAM_EXISTS: u32 = 10_058;
/// JetStream is not enabled: on the server, for the account.
const NOT_ENABLED: [u32; 2] = [10_076, 10_039];
/// No room: resources, storage, memory, account, streams, consumers, bytes, and the stream's own limits.
const FULL: [u32; 9] = [10_023, 10_047, 10_028, 10_002, 10_027, 10_026, 10_122, 10_077, 10_113];
pub(super) const EXCEEDS_MAXIMUM: [u32; 2] = [10_054, 10_097];

impl ApiError {
    /// Whether the server said no for this reason.
    pub(super) fn is(&self, reason: u32) -> bool {
        matches!(self, Self::Refused { err_code, .. } if *err_code == reason)
    }
}

impl From<ApiError> for BrokerError {
    fn from(error: ApiError) -> Self {
        let text = error.to_string();
        match error {
            ApiError::Unknown(error) => error,
            ApiError::NobodyThere => Self::Unavailable("JetStream does not answer: it has no leader, or is off".into()),
            ApiError::Refused { err_code, .. } if NOT_ENABLED.contains(&err_code) => Self::Misconfigured(text),
            ApiError::Refused { err_code, .. } if FULL.contains(&err_code) => Self::Full(text),
            ApiError::Refused { err_code: STREAM_NOT_FOUND | CONSUMER_NOT_FOUND, .. } => Self::Unavailable(text),
            ApiError::Refused { code: 401 | 403, .. } => Self::Denied(text),
            ApiError::Refused { code: 400..=499, .. } => Self::Misconfigured(text),
            ApiError::Refused { .. } => Self::Unavailable(text),
        }
    }
}

/// The answer to a publish.
#[derive(Debug, Deserialize)]
pub(super) struct PublishAck {
    #[serde(default)]
    pub seq: u64,
    #[serde(default)]
    pub duplicate: bool,
    pub error: Option<Refusal>,
}

/// What the server says when it says no.
#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let Refusal { code, err_code, description } = refusal;
        Self::Refused { code, err_code, description }
    }
}

#[derive(Deserialize)]
struct Verdict {
    error: Option<Refusal>,
}

/// A stream.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct StreamInfo {
    pub config: Value,
    pub created: String,
    pub state: StreamState,
}

/// What is in a stream.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct StreamState {
    pub last_seq: u64,
    /// By subject, where asked for.
    #[serde(default)]
    pub subjects: std::collections::BTreeMap<String, u64>,
}

/// A place in a consumer's deliveries and in the stream.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Pair {
    pub consumer_seq: u64,
    pub stream_seq: u64,
}

/// A consumer.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ConsumerInfo {
    pub delivered: Pair,
    pub ack_floor: Pair,
    pub num_ack_pending: u64,
    pub num_pending: u64,
}

#[derive(Deserialize)]
struct Deleted {}

/// The door to JetStream.
#[derive(Clone)]
pub(super) struct Api {
    link: Arc<Link>,
}

impl Api {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link }
    }

    /// One request to the API and its answer.
    pub(super) async fn call<T: DeserializeOwned>(&self, subject: &str, body: &impl Serialize) -> Result<T, ApiError> {
        let unreadable = |error: serde_json::Error| {
            ApiError::Unknown(BrokerError::Unavailable(format!("JetStream's answer to {subject}: {error}")))
        };
        let body = serde_json::to_vec(body).map_err(unreadable)?;
        let answer = self.request(format!("$JS.API.{subject}"), body.into(), None).await?;
        let verdict: Verdict = serde_json::from_slice(&answer.payload).map_err(unreadable)?;
        match verdict.error {
            Some(refusal) => Err(refusal.into()),
            None => serde_json::from_slice(&answer.payload).map_err(unreadable),
        }
    }

    /// One request and its answer, whatever it is.
    pub(super) async fn request(
        &self,
        subject: String,
        body: Bytes,
        headers: Option<HeaderMap>,
    ) -> Result<Message, ApiError> {
        let mut request = Request::new().payload(body).timeout(Some(TIMEOUT));
        if let Some(headers) = headers {
            request = request.headers(headers);
        }
        let answer = self.link.client.send_request(subject, request).await.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => ApiError::NobodyThere,
            RequestErrorKind::TimedOut => ApiError::Unknown(self.link.unavailable("JetStream did not answer in time")),
            _ => ApiError::Unknown(self.link.unavailable(&error.to_string())),
        })?;
        match answer.status {
            Some(StatusCode::NO_RESPONDERS) => Err(ApiError::NobodyThere),
            _ => Ok(answer),
        }
    }

    /// Stores something with proof: the server's own answer, which is looked at.
    pub(super) async fn publish(&self, subject: String, headers: HeaderMap, body: Bytes) -> Result<u64, ApiError> {
        let answer = self.request(subject, body, Some(headers)).await?;
        let ack: PublishAck = serde_json::from_slice(&answer.payload).map_err(|error| {
            ApiError::Unknown(BrokerError::Unavailable(format!("the answer to a publish: {error}")))
        })?;
        match ack.error {
            Some(refusal) => Err(refusal.into()),
            None => Ok(ack.seq),
        }
    }

    /// A stream; `None` where there is none.
    pub(super) async fn stream(&self, name: &str, subjects: Option<&str>) -> Result<Option<StreamInfo>, ApiError> {
        let mut body = serde_json::Map::new();
        if let Some(filter) = subjects {
            body.insert("subjects_filter".into(), filter.into());
        }
        match self.call(&format!("STREAM.INFO.{name}"), &body).await {
            Ok(info) => Ok(Some(info)),
            Err(error) if error.is(STREAM_NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A consumer; `None` where there is none.
    pub(super) async fn consumer(&self, stream: &str, name: &str) -> Result<Option<ConsumerInfo>, ApiError> {
        match self.call(&format!("CONSUMER.INFO.{stream}.{name}"), &serde_json::Map::new()).await {
            Ok(info) => Ok(Some(info)),
            Err(error) if error.is(CONSUMER_NOT_FOUND) || error.is(STREAM_NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates a consumer, or changes it.
    pub(super) async fn put_consumer(&self, stream: &str, config: &Value) -> Result<ConsumerInfo, ApiError> {
        let name = config["name"].as_str().unwrap_or_default();
        let body = serde_json::json!({ "stream_name": stream, "config": config });
        self.call(&format!("CONSUMER.CREATE.{stream}.{name}"), &body).await
    }

    /// Deletes a consumer, if it is there.
    pub(super) async fn delete_consumer(&self, stream: &str, name: &str) -> Result<(), ApiError> {
        let subject = format!("CONSUMER.DELETE.{stream}.{name}");
        match self.call::<Deleted>(&subject, &serde_json::Map::new()).await {
            Err(error) if !(error.is(CONSUMER_NOT_FOUND) || error.is(STREAM_NOT_FOUND)) => Err(error),
            _ => Ok(()),
        }
    }
}
