//! Event types: a name and a schema version.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest type accepted, version included, in bytes: it becomes a subject token and a file name.
pub const MAX_TYPE_BYTES: usize = 128;

/// The type of an event: what happened, and the version of the schema its data follows.
///
/// Written `user.followed.v1` on the wire (the CloudEvents `type` attribute). The name is lower case,
/// in the past tense, dotted from the domain inwards; the first part is the *domain*.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventType {
    name: Cow<'static, str>,
    version: u16,
}

impl EventType {
    /// A type known at compile time. The name is checked when the catalogue's tests run, not here.
    pub const fn new(name: &'static str, version: u16) -> Self {
        Self { name: Cow::Borrowed(name), version }
    }

    /// The name without its version: `user.followed`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The schema version, from 1.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// The same name at another version.
    pub fn at(&self, version: u16) -> Self {
        Self { name: self.name.clone(), version }
    }

    /// The first part of the name: `user` of `user.followed`.
    pub fn domain(&self) -> &str {
        self.name.split('.').next().unwrap_or_default()
    }

    /// Whether `name` may name a type: `^[a-z][a-z0-9]*([._-][a-z0-9]+)*$`, at most [`MAX_TYPE_BYTES`].
    pub fn is_name(name: &str) -> bool {
        let mut separated = true;
        let mut first = true;
        for byte in name.bytes() {
            match byte {
                b'a'..=b'z' => separated = false,
                b'0'..=b'9' if !first => separated = false,
                b'.' | b'_' | b'-' if !separated => separated = true,
                _ => return false,
            }
            first = false;
        }
        !separated && name.len() <= MAX_TYPE_BYTES
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.v{}", self.name, self.version)
    }
}

/// A text that is no event type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{found}` is not an event type: expected a lower-case dotted name with a version, such as `user.followed.v1`, of at most {MAX_TYPE_BYTES} bytes"
)]
pub struct InvalidType {
    /// What was found, cut to a length that is safe to print.
    pub found: String,
}

impl FromStr for EventType {
    type Err = InvalidType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidType { found: text.chars().take(80).flat_map(char::escape_default).collect() };
        let (name, version) = text.rsplit_once(".v").ok_or_else(invalid)?;
        let canonical = !version.starts_with('0') && version.bytes().all(|b| b.is_ascii_digit());
        let version: u16 = version.parse().map_err(|_| invalid())?;
        if !canonical || !Self::is_name(name) || text.len() > MAX_TYPE_BYTES {
            return Err(invalid());
        }
        Ok(Self { name: Cow::Owned(name.to_owned()), version })
    }
}

impl Serialize for EventType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let followed = EventType::new("user.followed", 2);
        assert_eq!(followed.to_string().parse::<EventType>().as_ref(), Ok(&followed));
        assert_eq!(followed.domain(), "user");
    }

    #[test]
    fn refuses_hostile_types() {
        let long = format!("{}.v1", "a".repeat(MAX_TYPE_BYTES));
        for bad in [
            "",
            "user.followed",
            "user.followed.v",
            "user.followed.v0",
            "user.followed.v01",
            "user.followed.v-1",
            "user.followed.v70000",
            "User.followed.v1",
            "user..followed.v1",
            ".user.v1",
            "user.>.v1",
            "user.*.v1",
            "user followed.v1",
            "user.followed\r\n.v1",
            "$JS.API.v1",
            "1user.v1",
            "user.followed.v1 ",
            &long,
        ] {
            assert!(bad.parse::<EventType>().is_err(), "{bad:?}");
        }
    }
}
