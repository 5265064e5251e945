//! CloudEvents SQL 1.0: the language of every filter.
//!
//! ```
//! use tidewire_core::cesql::Expression;
//! use tidewire_core::Envelope;
//!
//! let event = Envelope::from_json(
//!     br#"{"specversion":"1.0","id":"1","source":"/social","type":"user.followed.v1","partitionkey":"user/42",
//!          "time":"2026-01-01T00:00:00Z","sequence":"7"}"#,
//! )?;
//! assert!(Expression::filter("type LIKE 'user.%' AND sequence > 5")?.matches(&event));
//!
//! let error = Expression::filter("type LIKE 5").unwrap_err();
//! assert_eq!(error.to_string(), "at character 11: expected a string in quotes, found `5`");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Evaluation is total: it ends within the limits below, whatever the expression and the event, and answers with a
//! value and the errors on the way. As a filter an event passes only when the value is true and nothing went wrong.
//!
//! Where the specification leaves a choice, or its text and its test kit disagree:
//! - `AND`, `OR` and `XOR` have one precedence and are taken from the left, as the text says (its grammar says from
//!   the right): use parentheses.
//! - An operator of which an operand failed answers with the zero value of its type, as for a missing attribute;
//!   only a failed cast lets `NOT` go on with `false`. An integer is not cast to a boolean by `NOT`, `AND`, `OR` and
//!   `XOR`, only by `BOOL()`. The kit asks for both.
//! - A sign belongs to a number where a value is expected, and is an operator elsewhere: `4 -1` is 3.

mod attributes;
mod error;
mod evaluate;
mod function;
mod lexer;
mod like;
mod parser;
#[cfg(test)]
mod tests;
mod value;

pub use error::{EvaluationError, ParseError};
pub use evaluate::Evaluated;
pub use value::Value;

use parser::Node;

/// The longest expression, in bytes: far beyond what people write, and little work to refuse.
pub const MAX_EXPRESSION_BYTES: usize = 4_096;
/// The deepest nesting of an expression. Bounds the stack that parsing and evaluation take.
pub const MAX_DEPTH: usize = 64;
/// The longest text a function may make, in bytes: `CONCAT` would otherwise multiply what it is given.
pub const MAX_TEXT_BYTES: usize = 64 << 10;

/// What an expression reads: the context attributes of an event.
pub trait Attributes {
    /// The attribute of this name (lower case), if the event has it.
    fn attribute(&self, name: &str) -> Option<Value<'_>>;
}

/// A parsed expression. Cheap to evaluate any number of times, by any number of threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    root: Node,
    text: Box<str>,
}

impl Expression {
    /// Parses `text`. An unknown function is no error here, but each time it is called: see [`Expression::filter`].
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Ok(Self { root: parser::parse(text)?, text: text.into() })
    }

    /// Parses what is meant as a filter: also refuses what could never let an event pass because a function does
    /// not exist or is called with too few or too many arguments.
    pub fn filter(text: &str) -> Result<Self, ParseError> {
        let expression = Self::parse(text)?;
        match expression.root.unknown_function() {
            Some((at, name, arguments)) => Err(ParseError {
                at,
                reason: format!("there is no function `{name}` of {arguments} arguments; {}", function::known(name)),
            }),
            None => Ok(expression),
        }
    }

    /// Whether an event passes: the value is true, and there was no error.
    pub fn matches(&self, event: &dyn Attributes) -> bool {
        let found = self.evaluate(event);
        found.errors.is_empty() && found.value == Value::Boolean(true)
    }

    /// The value for an event, and what went wrong on the way.
    pub fn evaluate<'a>(&'a self, event: &'a dyn Attributes) -> Evaluated<'a> {
        evaluate::evaluate(&self.root, event)
    }

    /// The text it was parsed from.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl std::fmt::Display for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for Expression {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::filter(text)
    }
}
