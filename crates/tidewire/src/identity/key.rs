//! API keys: `tw_<id>_<secret>`. The secret is 256 random bits, shown once; kept is its SHA-256, which no guessing
//! undoes, so that a slow hash would only slow down every request.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use chrono::{DateTime, Utc};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Caller, IdentityError, Scopes};

/// How every key begins, so that scanners of repositories and logs find those that leaked.
const PREFIX: &str = "tw_";
/// Bytes of an id: unique among the keys of one installation, not secret.
const ID_BYTES: usize = 9;
/// Bytes of a secret.
const SECRET_BYTES: usize = 32;
/// The longest key that is looked at.
const MAX_KEY_BYTES: usize = 128;

/// A key as it is shown, once, to whoever made it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text to send as `Authorization: Bearer …`.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What a key is made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewKey {
    /// For people: whose it is.
    pub name: String,
    /// What it allows.
    pub scopes: Scopes,
    /// The `source` of what it emits; any without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<DateTime<Utc>>,
}

/// A key as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its id, which is part of the key.
    pub id: String,
    /// What it was made for.
    #[serde(flatten)]
    pub of: NewKey,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// When it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<DateTime<Utc>>,
    /// The digest of its secret.
    digest: String,
}

impl ApiKey {
    /// Makes a key. Fails only where the system has no randomness to give.
    pub fn make(of: NewKey, now: DateTime<Utc>) -> Result<(Self, Secret), IdentityError> {
        let random = SystemRandom::new();
        let draw = |bytes: &mut [u8]| {
            random.fill(bytes).map_err(|_| IdentityError::Invalid("the system gives no random numbers"))
        };
        let (mut id, mut secret) = ([0; ID_BYTES], [0; SECRET_BYTES]);
        draw(&mut id)?;
        draw(&mut secret)?;
        // Underscores separate: an id must hold none.
        let id = BASE64.encode(id).replace(['_', '-'], "0");
        let secret = BASE64.encode(secret);
        let key = Self { digest: digest(&secret), id, of, created: now, revoked: None };
        let secret = Secret(format!("{PREFIX}{}_{secret}", key.id));
        Ok((key, secret))
    }

    /// The id in a key that somebody sent; `None` if it is no API key at all.
    pub fn id_of(sent: &str) -> Option<&str> {
        let (id, secret) = sent.strip_prefix(PREFIX)?.split_once('_')?;
        let is_id = id.len() == ID_BYTES.div_ceil(3) * 4 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (sent.len() <= MAX_KEY_BYTES && is_id && !secret.is_empty()).then_some(id)
    }

    /// Whoever sent this key, if it is this one, complete, and still good.
    pub fn caller(&self, sent: &str, now: DateTime<Utc>) -> Result<Caller, IdentityError> {
        let secret = sent.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_'));
        let (id, secret) = secret.ok_or(IdentityError::Invalid("not an API key"))?;
        // Equal digests of 256 bits: comparing them may take whatever time it takes, since nobody can choose one.
        if id != self.id || digest(secret) != self.digest {
            return Err(IdentityError::Invalid("no such key"));
        }
        if self.revoked.is_some() || self.of.expires.is_some_and(|expires| expires <= now) {
            return Err(IdentityError::Expired);
        }
        Ok(Caller { name: format!("key:{}", self.id), scopes: self.of.scopes.clone(), source: self.of.source.clone() })
    }

    /// The same key with a new secret; the old one stops working with the commit that keeps this.
    pub fn rotate(&self, now: DateTime<Utc>) -> Result<(Self, Secret), IdentityError> {
        let (fresh, secret) = Self::make(self.of.clone(), now)?;
        let (_, text) = secret.0.rsplit_once(&format!("{PREFIX}{}_", fresh.id)).unwrap_or(("", ""));
        let key = Self { digest: fresh.digest, ..self.clone() };
        Ok((key, Secret(format!("{PREFIX}{}_{text}", self.id))))
    }
}

fn digest(secret: &str) -> String {
    Sha256::digest(secret.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (ApiKey, Secret) {
        let of = NewKey {
            name: "billing".into(),
            scopes: Scopes::parse("emit:invoice.* read").unwrap(),
            source: Some("/billing".into()),
            expires: Some(DateTime::UNIX_EPOCH + chrono::TimeDelta::days(30)),
        };
        ApiKey::make(of, DateTime::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn a_key_is_recognised_until_it_expires_or_is_revoked() {
        let (key, secret) = made();
        let now = DateTime::UNIX_EPOCH;
        assert_eq!(ApiKey::id_of(secret.reveal()), Some(key.id.as_str()));
        let caller = key.caller(secret.reveal(), now).unwrap();
        assert_eq!(
            (caller.name.as_str(), caller.source.as_deref()),
            (format!("key:{}", key.id).as_str(), Some("/billing"))
        );
        assert_eq!(key.caller(secret.reveal(), now + chrono::TimeDelta::days(31)), Err(IdentityError::Expired));
        let revoked = ApiKey { revoked: Some(now), ..key.clone() };
        assert_eq!(revoked.caller(secret.reveal(), now), Err(IdentityError::Expired));
        let wrong = format!("{}x", secret.reveal());
        assert!(matches!(key.caller(&wrong, now), Err(IdentityError::Invalid(_))));
        let (_, other) = made();
        assert!(matches!(key.caller(other.reveal(), now), Err(IdentityError::Invalid(_))));
    }

    #[test]
    fn rotation_keeps_the_id_and_changes_the_secret() {
        let (key, old) = made();
        let (rotated, new) = key.rotate(DateTime::UNIX_EPOCH).unwrap();
        assert_eq!((rotated.id.as_str(), ApiKey::id_of(new.reveal())), (key.id.as_str(), Some(key.id.as_str())));
        assert!(rotated.caller(new.reveal(), DateTime::UNIX_EPOCH).is_ok());
        assert!(rotated.caller(old.reveal(), DateTime::UNIX_EPOCH).is_err());
    }

    #[test]
    fn no_secret_is_kept_or_shown() {
        let (key, secret) = made();
        let stored = serde_json::to_string(&key).unwrap();
        let text = secret.reveal().rsplit('_').next().unwrap();
        assert!(!stored.contains(text) && !format!("{secret:?} {key:?}").contains(text));
        assert_eq!(serde_json::from_str::<ApiKey>(&stored).unwrap(), key);
    }

    #[test]
    fn what_is_no_key_is_seen_at_once() {
        for sent in [
            "",
            "tw_",
            "tw__x",
            "tw_short_x",
            "Bearer tw_aaaaaaaaaaaa_x",
            "tw_aaaaaaaa-aaa_x",
            &"tw_aaaaaaaaaaaa_".repeat(20),
        ] {
            assert_eq!(ApiKey::id_of(sent), None, "{sent}");
        }
    }
}
