//! What can go wrong, before and while an expression is evaluated.

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {}: {reason}", .at + 1)]
pub struct ParseError {
    /// Where, in characters from 0.
    pub at: usize,
    /// What was expected, and what was found.
    pub reason: String,
}

/// What went wrong while an expression was evaluated. The names are the specification's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluationError {
    /// A division by zero, or a number beyond 32 bits.
    #[error("the result of `{0}` is no 32-bit integer")]
    Math(&'static str),
    /// A value is not of the type that is needed, and cannot be read as one.
    #[error("{found} cannot be read as {wanted}")]
    Cast {
        /// The value.
        found: String,
        /// The type.
        wanted: &'static str,
    },
    /// The event lacks the attribute.
    #[error("the event has no attribute `{0}`")]
    MissingAttribute(String),
    /// No such function, or not of so many arguments.
    #[error("there is no function `{name}` of {arguments} arguments")]
    MissingFunction {
        /// Its name.
        name: String,
        /// How many it was given.
        arguments: usize,
    },
    /// A function cannot do anything sensible with its arguments.
    #[error("{function}: {reason}")]
    FunctionEvaluation {
        /// Its name.
        function: &'static str,
        /// What is wrong with them.
        reason: &'static str,
    },
    /// Beyond a limit of this implementation.
    #[error("{0}")]
    Generic(&'static str),
}
