//! A server that cannot be had.

use std::fmt;

/// A server that cannot be had. Its one line says why, and how to get it: the test fails with it.
#[derive(Clone, Debug)]
pub struct Missing {
    server: &'static str,
    why: String,
    remedy: &'static str,
}

impl Missing {
    pub(crate) fn new(server: &'static str, remedy: &'static str, why: impl fmt::Display) -> Self {
        // One line, whatever a tool printed over many.
        let why = why.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        Self { server, why, remedy }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no {}: {}; {}", self.server, self.why, self.remedy)
    }
}

impl std::error::Error for Missing {}
