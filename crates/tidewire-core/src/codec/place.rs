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

/// A line that was counted already, so that the next one is counted from there: whoever looks at many places of a long
/// text would read all of it for each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// Bytes that were counted.
    offset: usize,
    number: usize,
    start: usize,
}

impl Line {
    pub(super) const FIRST: Self = Self { offset: 0, number: 1, start: 0 };

    /// The line at a later offset.
    pub(super) fn at(self, text: &[u8], offset: usize) -> Self {
        let offset = offset.clamp(self.offset, text.len());
        let passed = &text[self.offset..offset];
        let number = self.number + passed.iter().filter(|byte| **byte == b'\n').count();
        let start = passed.iter().rposition(|byte| *byte == b'\n').map_or(self.start, |at| self.offset + at + 1);
        Self { offset, number, start }
    }
}

/// The longest header name that is repeated, in characters: names come from outside.
const MAX_SHOWN: usize = 60;

impl Place {
    /// A place in `text`, which is not before `start`.
    pub(super) fn in_text(text: &[u8], start: Line, offset: usize) -> Self {
        let Line { number, start, .. } = start.at(text, offset);
        let offset = offset.min(text.len());
        Self::Text { offset, line: number, column: offset - start + 1 }
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
