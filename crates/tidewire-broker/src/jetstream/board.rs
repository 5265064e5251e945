//! The board: a key-value bucket on the server where members of groups write who reads what, and that they live.
//!
//! What is read may be a moment old (any replica answers); what is written depends on the revision it was read at,
//! so that nothing is decided on old news.

use async_nats::HeaderMap;
use tidewire_core::BrokerError;
use tidewire_core::bytes::Bytes;

use super::api::{Api, ApiError, WRONG_LAST_SEQUENCE};

/// The largest value: what a group has open, at most. See `roll::MAX_OPEN`.
pub(super) const MAX_VALUE_BYTES: usize = 384 << 10;
/// The most the bucket may take, which the server sets aside: hundreds of groups with much open.
pub(super) const MAX_BYTES: u64 = 32 << 20;

/// The bucket's name.
pub(super) fn bucket(domain: &str) -> String {
    format!("TW_{domain}_SEATS")
}

/// The stream under it.
pub(super) fn stream(domain: &str) -> String {
    format!("KV_{}", bucket(domain))
}

/// The bucket.
#[derive(Clone)]
pub(super) struct Board {
    api: Api,
    domain: String,
}

/// A value and the revision it has.
pub(super) struct Noted {
    pub value: Bytes,
    pub revision: u64,
}

impl Board {
    pub(super) fn new(api: Api, domain: &str) -> Self {
        Self { api, domain: domain.to_owned() }
    }

    /// The subject under which changes of `key` are published, which may be a wildcard.
    pub(super) fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{key}", bucket(&self.domain))
    }

    /// A value; `None` where there is none.
    pub(super) async fn get(&self, key: &str) -> Result<Option<Noted>, BrokerError> {
        let subject = format!("$JS.API.DIRECT.GET.{}.{}", stream(&self.domain), self.subject(key));
        let answer = self.api.request(subject, Bytes::new(), None).await?;
        let headers = answer.headers.as_ref();
        let header = |name: &str| headers.and_then(|headers| headers.get(name)).map(|value| value.as_str());
        match answer.status.map(|status| status.as_u16()) {
            Some(404) => return Ok(None),
            Some(status @ 400..) => {
                return Err(BrokerError::Unavailable(format!("the seats cannot be read: status {status}")));
            }
            _ => {}
        }
        let revision = header("Nats-Sequence").and_then(|text| text.parse().ok());
        let revision = revision.ok_or_else(|| BrokerError::Unavailable("the seats have no revision".into()))?;
        // A mark that the value was taken away keeps its revision: what follows must know it.
        let value = if header("KV-Operation").is_some() { Bytes::new() } else { answer.payload };
        Ok(Some(Noted { value, revision }))
    }

    /// Writes a value whatever was there.
    pub(super) async fn put(&self, key: &str, value: Vec<u8>) -> Result<u64, BrokerError> {
        Ok(self.api.publish(self.subject(key), HeaderMap::new(), value.into()).await?)
    }

    /// Writes a value if nobody has since `revision` (0: if there was none). `None` when somebody has.
    pub(super) async fn change(&self, key: &str, value: Vec<u8>, revision: u64) -> Result<Option<u64>, BrokerError> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", revision.to_string());
        match self.api.publish(self.subject(key), headers, value.into()).await {
            Ok(revision) => Ok(Some(revision)),
            Err(ApiError::Refused { err_code, .. }) if WRONG_LAST_SEQUENCE.contains(&err_code) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes a value away, with all that is kept of it.
    pub(super) async fn remove(&self, key: &str) -> Result<(), BrokerError> {
        let mut headers = HeaderMap::new();
        headers.insert("KV-Operation", "PURGE");
        headers.insert("Nats-Rollup", "sub");
        self.api.publish(self.subject(key), headers, Bytes::new()).await?;
        Ok(())
    }

    /// The keys there are under `prefix`, those taken away included.
    pub(super) async fn keys(&self, prefix: &str) -> Result<Vec<String>, BrokerError> {
        let filter = self.subject(&format!("{prefix}>"));
        let start = self.subject("");
        let info = self.api.stream(&stream(&self.domain), Some(&filter)).await?;
        let subjects = info.map(|info| info.state.subjects).unwrap_or_default();
        Ok(subjects.into_keys().filter_map(|subject| subject.strip_prefix(&start).map(str::to_owned)).collect())
    }
}
