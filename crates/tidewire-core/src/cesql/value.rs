//! Values and casts.

use std::borrow::Cow;
use std::fmt;

use super::error::EvaluationError;

/// A value of the language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A string; also every URI and timestamp.
    Text(Cow<'a, str>),
    /// A signed integer of 32 bits.
    Integer(i32),
    /// A boolean.
    Boolean(bool),
}

/// The types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Boolean,
}

impl Kind {
    pub(super) fn zero(self) -> Value<'static> {
        match self {
            Self::Text => Value::Text(Cow::Borrowed("")),
            Self::Integer => Value::Integer(0),
            Self::Boolean => Value::Boolean(false),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Integer => "a 32-bit integer",
            Self::Boolean => "`true` or `false`",
        }
    }
}

impl<'a> Value<'a> {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Text(_) => Kind::Text,
            Self::Integer(_) => Kind::Integer,
            Self::Boolean(_) => Kind::Boolean,
        }
    }

    /// The value as another type.
    pub(super) fn cast(self, wanted: Kind) -> Result<Value<'a>, EvaluationError> {
        let refused = |found: &Value<'_>| EvaluationError::Cast { found: found.quoted(), wanted: wanted.name() };
        Ok(match (self, wanted) {
            (value, wanted) if value.kind() == wanted => value,
            (Self::Integer(number), Kind::Text) => Value::Text(number.to_string().into()),
            (Self::Integer(number), _) => Value::Boolean(number != 0),
            (Self::Boolean(boolean), Kind::Text) => Value::Text(if boolean { "true" } else { "false" }.into()),
            (Self::Boolean(boolean), _) => Value::Integer(boolean.into()),
            (Self::Text(text), Kind::Integer) => match text.parse() {
                Ok(number) => Value::Integer(number),
                Err(_) => return Err(refused(&Value::Text(text))),
            },
            (Self::Text(text), _) => match text.to_ascii_lowercase().as_str() {
                "true" => Value::Boolean(true),
                "false" => Value::Boolean(false),
                _ => return Err(refused(&Value::Text(text))),
            },
        })
    }

    /// For errors: bounded, since values come from outside.
    fn quoted(&self) -> String {
        const SHOWN: usize = 40;
        match self {
            Self::Text(text) if text.chars().nth(SHOWN).is_some() => {
                format!("'{}…'", text.chars().take(SHOWN).flat_map(char::escape_debug).collect::<String>())
            }
            Self::Text(text) => format!("'{}'", text.escape_debug()),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => number.fmt(f),
            Self::Boolean(boolean) => boolean.fmt(f),
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<i32> for Value<'_> {
    fn from(number: i32) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for Value<'_> {
    fn from(boolean: bool) -> Self {
        Self::Boolean(boolean)
    }
}
