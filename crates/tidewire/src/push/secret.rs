//! Signatures by Standard Webhooks: `webhook-signature: v1,<HMAC-SHA256 of "id.timestamp.body">`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

/// How every secret begins, as receivers' libraries expect it and scanners of repositories know it.
const PREFIX: &str = "whsec_";
/// Bytes of a secret: what HMAC-SHA256 can make use of.
const SECRET_BYTES: usize = 32;
/// Secrets that sign at once: a rotation under way, and one more that nobody waited for.
pub(super) const MAX_SECRETS: usize = 3;

/// What deliveries are signed with. It is kept as it is, since signing needs it: whoever reads the database can sign.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    secret: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Until when it still signs, after a newer one took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("since", &self.since).field("until", &self.until).finish_non_exhaustive()
    }
}

impl Secret {
    /// A new one. `None` only where the system has no randomness to give.
    pub fn make(now: DateTime<Utc>) -> Option<Self> {
        let mut bytes = [0; SECRET_BYTES];
        SystemRandom::new().fill(&mut bytes).ok()?;
        Some(Self { secret: format!("{PREFIX}{}", BASE64.encode(bytes)), since: now, until: None })
    }

    /// The text to be given to whoever checks signatures: shown once.
    pub fn reveal(&self) -> &str {
        &self.secret
    }

    /// Whether it still signs.
    pub fn is_good(&self, now: DateTime<Utc>) -> bool {
        self.until.is_none_or(|until| until > now)
    }

    fn signature(&self, id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
        let bytes = BASE64.decode(self.secret.strip_prefix(PREFIX)?).ok()?;
        let mut signing = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &bytes));
        signing.update(format!("{id}.{timestamp}.").as_bytes());
        signing.update(body);
        Some(format!("v1,{}", BASE64.encode(signing.sign())))
    }
}

/// The value of `webhook-signature`: a signature by every secret that is good, the newest first.
pub fn signatures(secrets: &[Secret], now: DateTime<Utc>, id: &str, body: &[u8]) -> String {
    let good = secrets.iter().filter(|secret| secret.is_good(now));
    let all: Vec<String> = good.filter_map(|secret| secret.signature(id, now.timestamp(), body)).collect();
    all.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(secret: &str, until: Option<&str>) -> Secret {
        let until = until.map(|until| until.parse().unwrap());
        Secret { secret: secret.into(), since: DateTime::UNIX_EPOCH, until }
    }

    #[test]
    fn signs_as_the_specification_does() {
        // The example of the Standard Webhooks specification's reference libraries.
        let secret = known("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", None);
        let now = DateTime::from_timestamp(1_614_265_330, 0).unwrap();
        let signed = signatures(&[secret], now, "msg_p5jXN8AQM9LWM0D4loKWxJek", br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn both_secrets_of_a_rotation_sign_until_the_old_one_ends() {
        let secrets = [known("whsec_AAAA", None), known("whsec_BBBB", Some("2026-01-02T00:00:00Z"))];
        let count = |now: &str| signatures(&secrets, now.parse().unwrap(), "i", b"b").split(' ').count();
        assert_eq!((count("2026-01-01T23:59:59Z"), count("2026-01-02T00:00:00Z")), (2, 1));
    }

    #[test]
    fn a_secret_is_long_and_never_shown_by_accident() {
        let secret = Secret::make(DateTime::UNIX_EPOCH).unwrap();
        assert!(secret.reveal().starts_with("whsec_") && secret.reveal().len() > 48);
        assert_ne!(secret, Secret::make(DateTime::UNIX_EPOCH).unwrap());
        assert!(!format!("{secret:?}").contains(&secret.reveal()[6..]));
    }
}
