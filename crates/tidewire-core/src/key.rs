//! Keys: the unit of order.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// The longest key accepted, in bytes.
pub const MAX_KEY_BYTES: usize = 256;

/// How many buckets keys fall into. Fixed for ever: relays and brokers divide their work by bucket, and
/// a key that changed its bucket would lose its order.
pub const BUCKETS: u8 = 64;

/// The ordering unit: events with the same key are stored in one stream, and every consumer is handed
/// them in that order. CloudEvents calls it `partitionkey`. By convention `kind/id`, such as `user/42`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<str>);

impl Key {
    /// Checks and takes a key: 1 to [`MAX_KEY_BYTES`] bytes, no control characters.
    pub fn new(text: impl Into<Arc<str>>) -> Result<Self, InvalidKey> {
        let text = text.into();
        if text.is_empty() || text.len() > MAX_KEY_BYTES || text.chars().any(char::is_control) {
            return Err(InvalidKey { found: text.chars().take(80).flat_map(char::escape_default).collect() });
        }
        Ok(Self(text))
    }

    /// `kind/id`. What a key may not hold is replaced in `id`, and what is too long is cut to a digest, so
    /// that an event type can always name its key; equal ids give equal keys, different ids different ones.
    pub fn of(kind: &str, id: impl fmt::Display) -> Self {
        let text = format!("{kind}/{id}");
        Self::new(text.as_str()).unwrap_or_else(|_| {
            let digest = Sha256::digest(text.as_bytes());
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            let kind: String = kind.chars().filter(|c| !c.is_control()).take(32).collect();
            Self(format!("{kind}/sha256-{hex}").into())
        })
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bucket, 0 to 63: the first byte of the key's SHA-256, modulo [`BUCKETS`]. Chosen because every
    /// database and language computes it in one expression, so that SQL and other clients agree with us.
    pub fn bucket(&self) -> u8 {
        Sha256::digest(self.0.as_bytes())[0] % BUCKETS
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// A text that can be no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a key: expected 1 to {MAX_KEY_BYTES} bytes without control characters, such as `user/42`")]
pub struct InvalidKey {
    /// What was found, escaped and cut to a length that is safe to print.
    pub found: String,
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Key::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_never_move() {
        // Frozen: a change here would break per-key order in every installation.
        let found: Vec<u8> =
            ["user/42", "user/7", "document/a", "ü"].iter().map(|k| Key::new(*k).unwrap().bucket()).collect();
        let expected: Vec<u8> =
            ["user/42", "user/7", "document/a", "ü"].iter().map(|k| Sha256::digest(k.as_bytes())[0] & 63).collect();
        assert_eq!(found, expected);
        assert_eq!(Key::new("user/42").unwrap().bucket(), 63);
    }

    #[test]
    fn hostile_ids_still_make_distinct_keys() {
        let (a, b) = (Key::of("user", "a\nb"), Key::of("user", "a\tb"));
        assert!(a.as_str().starts_with("user/sha256-"));
        assert_ne!(a, b);
        assert_eq!(Key::of("user", "x".repeat(9_000)), Key::of("user", "x".repeat(9_000)));
        assert_eq!(Key::of("user", 42).as_str(), "user/42");
    }

    #[test]
    fn refuses_what_is_no_key() {
        for bad in ["", "a\u{0}", "a\r\nNats-Rollup: all", &"k".repeat(MAX_KEY_BYTES + 1)] {
            assert!(Key::new(bad).is_err(), "{bad:?}");
        }
    }
}
