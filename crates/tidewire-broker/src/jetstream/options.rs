//! How to open the broker.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tidewire_core::BrokerError;

/// The longest name of a domain, in bytes: it is part of the names of streams, consumers and every subject.
const MAX_DOMAIN_BYTES: usize = 32;
/// The largest event the server can be asked to take, in bytes: what NATS calls the most that makes sense.
const MAX_EVENT_BYTES: usize = 8 << 20;
/// The widest window of publishes.
const MAX_PUBLISH_WINDOW: usize = 16_384;
/// The shortest life of a silent member: three of its signs of life.
const MIN_MEMBER_TTL: Duration = Duration::from_secs(3);

/// How to open a [`JetStreamBroker`](super::JetStreamBroker).
#[derive(Clone)]
pub struct JetStreamOptions {
    /// Where the servers are: `nats://[user:password@|token@]host[:port]`, or `tls://…`; several by commas, of which
    /// the first one's credentials count.
    pub url: String,
    /// Names this installation on the servers, so that several can share them: the stream is `TW_<domain>`, the
    /// subjects are `tw.<domain>.…`. Letters, digits, `-` and `_`. Default `main`.
    pub domain: String,
    /// How many servers of a cluster keep the events: 1, 3 or 5. Default 1.
    pub replicas: usize,
    /// The most bytes the stream may take. Beyond them publishing is refused ([`BrokerError::Full`]); nothing is
    /// discarded. Default 10 GiB.
    pub max_bytes: u64,
    /// How long events are kept. Longer than any consumer stays away. Default 7 days.
    pub max_age: Duration,
    /// The largest event, headers and data, in bytes. Default 256 KiB; larger data belongs in an object store.
    pub max_event_bytes: usize,
    /// Publishing an event again within this time is recognised. Longer than the relay needs to try again. Default
    /// 10 minutes.
    pub dedupe_window: Duration,
    /// How many publishes may be under way at once; of each key one. Default 512, which is past the knee.
    pub publish_window: usize,
    /// How long to wait for the answer to one publish. Beyond, the connection is taken for dead, and everything under
    /// way on it is answered [`BrokerError::Unavailable`]. Default 5 s.
    pub ack_timeout: Duration,
    /// A file with the user's JWT and seed (`.creds`).
    pub credentials_file: Option<PathBuf>,
    /// A file with the user's nkey seed.
    pub nkey_file: Option<PathBuf>,
    /// A file with the root certificates (PEM) to trust for TLS, besides the usual ones.
    pub root_ca: Option<PathBuf>,
    /// The connection's name, which operators see on the server. Default `tidewire`.
    pub name: String,
    /// A process that gave no sign of life for so long loses its share of every group to the others. Default 6 s.
    pub member_ttl: Duration,
}

impl Default for JetStreamOptions {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".into(),
            domain: "main".into(),
            replicas: 1,
            max_bytes: 10 << 30,
            max_age: Duration::from_secs(7 * 24 * 60 * 60),
            max_event_bytes: 256 << 10,
            dedupe_window: Duration::from_secs(10 * 60),
            publish_window: 512,
            ack_timeout: Duration::from_secs(5),
            credentials_file: None,
            nkey_file: None,
            root_ca: None,
            name: "tidewire".into(),
            member_ttl: Duration::from_secs(6),
        }
    }
}

impl JetStreamOptions {
    /// Refuses what makes no sense.
    pub(super) fn check(&self) -> Result<(), BrokerError> {
        let invalid = |reason: String| Err(BrokerError::Invalid(reason));
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if !(1..=MAX_DOMAIN_BYTES).contains(&self.domain.len()) || !self.domain.bytes().all(is_token) {
            return invalid(format!("a domain is 1 to {MAX_DOMAIN_BYTES} letters, digits, `-` and `_`"));
        }
        if !matches!(self.replicas, 1 | 3 | 5) {
            return invalid("replicas are 1, 3 or 5: an even number gives nothing".into());
        }
        if !(1_024..=MAX_EVENT_BYTES).contains(&self.max_event_bytes) {
            return invalid(format!("max_event_bytes is 1024 to {MAX_EVENT_BYTES}"));
        }
        if self.max_bytes < self.max_event_bytes as u64 || self.max_bytes > i64::MAX as u64 {
            return invalid("max_bytes must hold at least one event".into());
        }
        if !(1..=MAX_PUBLISH_WINDOW).contains(&self.publish_window) {
            return invalid(format!("publish_window is 1 to {MAX_PUBLISH_WINDOW}"));
        }
        if self.ack_timeout.is_zero() || self.dedupe_window.is_zero() || self.max_age < self.dedupe_window {
            return invalid("ack_timeout and dedupe_window are longer than nothing, max_age than dedupe_window".into());
        }
        if self.member_ttl < MIN_MEMBER_TTL {
            return invalid(format!("member_ttl is at least {MIN_MEMBER_TTL:?}"));
        }
        Ok(())
    }
}

/// Everything but the URL, which may hold a password: of it only what follows the credentials.
impl fmt::Debug for JetStreamOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<&str> =
            self.url.split(',').map(|url| url.rsplit_once('@').map_or(url.trim(), |(_, host)| host)).collect();
        f.debug_struct("JetStreamOptions")
            .field("hosts", &hosts)
            .field("domain", &self.domain)
            .field("replicas", &self.replicas)
            .field("max_bytes", &self.max_bytes)
            .field("max_age", &self.max_age)
            .field("max_event_bytes", &self.max_event_bytes)
            .field("dedupe_window", &self.dedupe_window)
            .field("publish_window", &self.publish_window)
            .field("ack_timeout", &self.ack_timeout)
            .field("credentials_file", &self.credentials_file)
            .field("nkey_file", &self.nkey_file)
            .field("root_ca", &self.root_ca)
            .field("name", &self.name)
            .field("member_ttl", &self.member_ttl)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_never_shown() {
        let options = JetStreamOptions { url: "nats://me:secr@et@a:1,tls://tok@b".into(), ..Default::default() };
        let shown = format!("{options:?}");
        assert!(!shown.contains("secr") && !shown.contains("tok@"), "{shown}");
        assert!(shown.contains("\"a:1\"") && shown.contains("\"b\""), "{shown}");
    }

    #[test]
    fn nonsense_is_refused() {
        let bad = |change: &dyn Fn(&mut JetStreamOptions)| {
            let mut options = JetStreamOptions::default();
            assert_eq!(options.check(), Ok(()));
            change(&mut options);
            assert!(matches!(options.check(), Err(BrokerError::Invalid(_))), "{options:?}");
        };
        bad(&|o| o.domain = "a.b".into());
        bad(&|o| o.domain = String::new());
        bad(&|o| o.domain = ">".into());
        bad(&|o| o.replicas = 2);
        bad(&|o| o.publish_window = 0);
        bad(&|o| o.max_bytes = 5);
        bad(&|o| o.max_event_bytes = 1 << 30);
        bad(&|o| o.ack_timeout = Duration::ZERO);
        bad(&|o| o.member_ttl = Duration::from_millis(1));
    }
}
