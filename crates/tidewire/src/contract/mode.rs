//! The seven compatibility modes, by the names schema registries gave them.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// Which readers and writers of different versions must understand each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// None: nothing is compared.
    None,
    /// The new reads what the last one wrote: consumers are upgraded first. The log is full of old events, so this
    /// is the least a log can live with, and the default.
    #[default]
    Backward,
    /// As backward, against every earlier version.
    BackwardTransitive,
    /// The last one reads what the new writes: producers are upgraded first.
    Forward,
    /// As forward, against every earlier version.
    ForwardTransitive,
    /// Both ways.
    Full,
    /// Both ways, against every earlier version.
    FullTransitive,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Backward,
        Self::BackwardTransitive,
        Self::Forward,
        Self::ForwardTransitive,
        Self::Full,
        Self::FullTransitive,
    ];

    /// Its name on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Backward => "backward",
            Self::BackwardTransitive => "backward_transitive",
            Self::Forward => "forward",
            Self::ForwardTransitive => "forward_transitive",
            Self::Full => "full",
            Self::FullTransitive => "full_transitive",
        }
    }

    /// Whether the new must read the old.
    pub(super) fn is_backward(self) -> bool {
        matches!(self, Self::Backward | Self::BackwardTransitive | Self::Full | Self::FullTransitive)
    }

    /// Whether the old must read the new.
    pub(super) fn is_forward(self) -> bool {
        matches!(self, Self::Forward | Self::ForwardTransitive | Self::Full | Self::FullTransitive)
    }

    /// Whether every earlier version counts, not only the last.
    pub(super) fn is_transitive(self) -> bool {
        matches!(self, Self::BackwardTransitive | Self::ForwardTransitive | Self::FullTransitive)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.to_ascii_lowercase().replace('-', "_");
        Self::ALL.into_iter().find(|mode| mode.name() == wanted).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("`{text}` is no compatibility mode; there are {names}")
        })
    }
}
