//! The id of a user.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use crate::limits;

/// The id of a user: 1 to 64 of `A-Z a-z 0-9 _ - .`, not beginning with a dot. So it fits a URL segment (`.`
/// and `..` would not survive one), and joins with `/` into ids that cannot be misread.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct UserId(String);

/// A text that is no user id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{found}` is not a user id: expected 1 to {} letters, digits, `_`, `-` or `.`, not beginning with a dot",
    limits::USER_ID
)]
pub struct InvalidUserId {
    /// What was found, escaped and cut to a length that is safe to print.
    pub found: String,
}

const PATTERN: &str = "^[A-Za-z0-9_-][A-Za-z0-9_.-]*$";

impl UserId {
    /// Checks and takes an id.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidUserId> {
        let text = text.into();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        let fits = (1..=limits::USER_ID).contains(&text.len());
        if !fits || text.starts_with('.') || !text.bytes().all(allowed) {
            return Err(InvalidUserId { found: text.chars().take(80).flat_map(char::escape_default).collect() });
        }
        Ok(Self(text))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for UserId {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for UserId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for UserId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for UserId {
    type Err = InvalidUserId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for UserId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for UserId {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "UserId".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": limits::USER_ID, "pattern": PATTERN })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_fits_a_url_segment() {
        for good in ["42", "ada.lovelace", "A-b_c", "-", "x".repeat(64).as_str()] {
            assert!(UserId::new(good).is_ok(), "{good:?}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "ü", "a\n", "x".repeat(65).as_str()] {
            assert!(UserId::new(bad).is_err(), "{bad:?}");
            assert!(serde_json::from_value::<UserId>(bad.into()).is_err(), "{bad:?}");
        }
    }
}
