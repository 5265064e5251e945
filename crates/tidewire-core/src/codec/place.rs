//! Where in its input something was found.

use std::fmt;

/// Where in its input something was found. Offsets, lines and columns are counted in bytes of the whole text that was
/// handed in; lines and columns from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In JSON.
    Text {
        /// Bytes before it.
        offset: usize,
        /// Its line.
        line: usize,
        /// Its byte in that line.
        column: usize,
    },
    /// In a header.
    Header(String),
    /// In what follows the headers.
    Body,
    /// Nowhere in particular: it is about the event as a whole.
    Event,
}

/// The longest header name that is repeated, in characters: names come from outside.
const MAX_SHOWN: usize = 60;

impl Place {
    pub(super) fn in_text(text: &[u8], offset: usize) -> Self {
        let before = &text[..offset.min(text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        Self::Text { offset: before.len(), line, column: before.len() - start + 1 }
    }

    pub(super) fn header(name: &str) -> Self {
        Self::Header(shown(name))
    }
}

/// A name from outside, safe to print and of a length that is.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(MAX_SHOWN).flat_map(char::escape_default).collect()
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { line, column, .. } => write!(f, "line {line}, column {column}"),
            Self::Header(name) => write!(f, "header `{name}`"),
            Self::Body => f.write_str("the body"),
            Self::Event => f.write_str("the event"),
        }
    }
}
