//! What is refused, and why.

use super::deviation::Deviation;
use super::place::Place;
use crate::envelope::EnvelopeError;

/// Why something is not read as an event, or not written. Permanent: the same input fails again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// There is no event at all in what was handed in: neither mode of CloudEvents. Whoever allows other content goes on.
    #[error("this is no CloudEvent: expected {expected}")]
    NoEvent {
        /// What would have made it one.
        expected: &'static str,
    },
    /// An event in a format or character set that is not read here.
    #[error("`{found}` is not read here: expected {expected}")]
    UnsupportedMediaType {
        /// The media type.
        found: String,
        /// Those that are read.
        expected: &'static str,
    },
    /// The text is no JSON, or not of the shape of an event.
    #[error("this is not a CloudEvent in JSON: expected {expected} at {place}")]
    Malformed {
        /// Where.
        place: Place,
        /// What should be there.
        expected: String,
    },
    /// A required attribute is absent or empty.
    #[error("attribute `{attribute}` is missing or empty; CloudEvents requires it")]
    Missing {
        /// Its name.
        attribute: &'static str,
    },
    /// An attribute, or `data`, does not hold what it must.
    #[error("attribute `{attribute}` is invalid at {place}: expected {expected}")]
    Invalid {
        /// Its name.
        attribute: String,
        /// Where.
        place: Place,
        /// What should be there.
        expected: String,
    },
    /// An attribute is there twice, so that readers would differ in what they see.
    #[error("attribute `{attribute}` is there twice, the second time at {place}")]
    Duplicate {
        /// Its name.
        attribute: String,
        /// The second place.
        place: Place,
    },
    /// Something is longer, deeper or more than is taken.
    #[error("{what} at {place}: {found}, and at most {limit} is taken")]
    Limit {
        /// What it is: an attribute's length in bytes, a count, a depth.
        what: String,
        /// Where.
        place: Place,
        /// What was found.
        found: usize,
        /// The most that is taken.
        limit: usize,
    },
    /// It can be read, but the caller does not accept this departure from the specification.
    #[error("{}: {}, at {}", .0.attribute, .0.kind.cure(), .0.place)]
    Deviates(Deviation),
}

impl CodecError {
    /// The stable code for operators and clients.
    pub fn code(&self) -> &'static str {
        "event.malformed"
    }

    /// The kind of refusal by its stable name, as the vectors have it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NoEvent { .. } => "no_event",
            Self::UnsupportedMediaType { .. } => "unsupported_media_type",
            Self::Malformed { .. } => "malformed",
            Self::Missing { .. } => "missing",
            Self::Invalid { .. } => "invalid",
            Self::Duplicate { .. } => "duplicate",
            Self::Limit { .. } => "limit",
            Self::Deviates(_) => "deviates",
        }
    }

    /// The attribute it is about, if it is about one.
    pub fn attribute(&self) -> Option<&str> {
        match self {
            Self::Missing { attribute } => Some(attribute),
            Self::Invalid { attribute, .. } | Self::Duplicate { attribute, .. } => Some(attribute),
            Self::Deviates(deviation) => Some(&deviation.attribute),
            Self::NoEvent { .. } | Self::UnsupportedMediaType { .. } | Self::Malformed { .. } | Self::Limit { .. } => {
                None
            }
        }
    }

    /// Where it was found, where that can be said.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Malformed { place, .. }
            | Self::Invalid { place, .. }
            | Self::Duplicate { place, .. }
            | Self::Limit { place, .. } => Some(place),
            Self::Deviates(deviation) => Some(&deviation.place),
            Self::NoEvent { .. } | Self::UnsupportedMediaType { .. } | Self::Missing { .. } => None,
        }
    }

    pub(super) fn invalid(attribute: &str, place: Place, expected: impl Into<String>) -> Self {
        Self::Invalid { attribute: super::place::shown(attribute), place, expected: expected.into() }
    }
}

/// What an envelope's own check found, when one is written.
impl From<EnvelopeError> for CodecError {
    fn from(error: EnvelopeError) -> Self {
        match error {
            EnvelopeError::Malformed { reason } => Self::Malformed { place: Place::Event, expected: reason },
            EnvelopeError::Missing { attribute } => Self::Missing { attribute },
            EnvelopeError::Invalid { attribute, reason } => {
                Self::Invalid { attribute, place: Place::Event, expected: reason }
            }
        }
    }
}

impl From<CodecError> for EnvelopeError {
    fn from(error: CodecError) -> Self {
        match error {
            CodecError::Missing { attribute } => Self::Missing { attribute },
            CodecError::Invalid { attribute, place, expected } => {
                Self::Invalid { attribute, reason: format!("expected {expected}, at {place}") }
            }
            CodecError::Duplicate { ref attribute, .. } => {
                Self::Invalid { attribute: attribute.clone(), reason: error.to_string() }
            }
            CodecError::Deviates(deviation) => Self::Invalid {
                reason: format!("{}, at {}", deviation.kind.cure(), deviation.place),
                attribute: deviation.attribute,
            },
            other => Self::Malformed { reason: other.to_string() },
        }
    }
}
