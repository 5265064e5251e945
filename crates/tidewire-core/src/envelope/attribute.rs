//! Extension attributes: names and values.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{EnvelopeError, MAX_ATTRIBUTE_BYTES};

/// The value of an extension attribute. CloudEvents knows more types, but on every wire they are one of
/// these three; a timestamp or URI extension is text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// A string.
    Text(String),
    /// A signed 32-bit integer.
    Integer(i32),
    /// A boolean.
    Boolean(bool),
}

impl Attribute {
    /// The value as it is written in a header.
    pub fn to_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Integer(number) => number.to_string(),
            Self::Boolean(boolean) => boolean.to_string(),
        }
    }

    pub(super) fn size(&self) -> usize {
        if let Self::Text(text) = self { text.len() } else { 8 }
    }

    pub(super) fn check(&self, name: &str) -> Result<(), EnvelopeError> {
        let Self::Text(text) = self else { return Ok(()) };
        if text.len() > MAX_ATTRIBUTE_BYTES {
            return Err(EnvelopeError::invalid(name, format!("at most {MAX_ATTRIBUTE_BYTES} bytes are taken")));
        }
        if !is_clean(text) {
            return Err(EnvelopeError::invalid(name, "control characters are not allowed"));
        }
        Ok(())
    }
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Attribute {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// Whether text holds nothing that CloudEvents excludes. Most text is ASCII, which is seen at a glance.
pub(crate) fn is_clean(text: &str) -> bool {
    text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) || !text.chars().any(is_forbidden)
}

/// Control characters and non-characters, as the CloudEvents type system excludes them.
fn is_forbidden(c: char) -> bool {
    c.is_control() || matches!(u32::from(c), 0xFDD0..=0xFDEF) || u32::from(c) & 0xFFFE == 0xFFFE
}

/// The names with a meaning of their own, which no extension may take.
const RESERVED: [&str; 18] = [
    "id",
    "source",
    "specversion",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "data",
    "partitionkey",
    "sequence",
    "correlationid",
    "causationid",
    "traceparent",
    "recordedtime",
    "expirytime",
    "dataref",
    "database64",
];

/// Whether `name` may name an extension attribute: 1 to 20 lower-case letters and digits, not reserved.
pub fn is_attribute_name(name: &str) -> bool {
    (1..=20).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && !RESERVED.contains(&name)
}

impl Serialize for Attribute {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Integer(number) => serializer.serialize_i32(*number),
            Self::Boolean(boolean) => serializer.serialize_bool(*boolean),
        }
    }
}

impl<'de> Deserialize<'de> for Attribute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Attribute;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string, a 32-bit integer or a boolean")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Attribute, E> {
                Ok(Attribute::Text(text.to_owned()))
            }
            fn visit_bool<E: serde::de::Error>(self, boolean: bool) -> Result<Attribute, E> {
                Ok(Attribute::Boolean(boolean))
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Attribute, E> {
                i32::try_from(number).map(Attribute::Integer).map_err(|_| E::custom("an integer beyond 32 bits"))
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Attribute, E> {
                i32::try_from(number).map(Attribute::Integer).map_err(|_| E::custom("an integer beyond 32 bits"))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
