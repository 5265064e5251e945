//! What is wrong with a configuration: every problem at once, each with where it came from and its cure.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from. `config show` prints it beside every value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it: the default of the key.
    Default,
    /// A line of the configuration file.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// One-based line; 0 when the whole file is meant.
        line: usize,
    },
    /// An environment variable.
    Env(String),
    /// A file that an environment variable or a `…_file` key names.
    SecretFile {
        /// The variable or key that named the file.
        name: String,
        /// The file that was read.
        path: PathBuf,
    },
    /// A command line flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: 0 } => write!(f, "file {}", path.display()),
            Self::File { path, line } => write!(f, "file {}:{line}", path.display()),
            Self::Env(name) => write!(f, "environment {name}"),
            Self::SecretFile { name, path } => write!(f, "{name} = {}", path.display()),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

impl serde::Serialize for Origin {
    /// As the text that people see.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One thing that is wrong. The text never holds a secret: values of secret keys are masked before they get here.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// Stable code; `tidewire explain CODE` prints cause and cure.
    pub code: &'static str,
    /// The key it is about (`broker.ack_wait`), or a file or variable name where no key is known.
    pub path: String,
    /// Where the refused value came from.
    pub origin: Origin,
    /// What would have been accepted.
    pub expected: String,
    /// What was there.
    pub found: String,
    /// What to do about it; empty when `expected` says it all.
    pub hint: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}  [{}]", printable(&self.path), self.code)?;
        writeln!(f, "    from      {}", printable(&self.origin.to_string()))?;
        writeln!(f, "    found     {}", printable(&self.found))?;
        write!(f, "    expected  {}", printable(&self.expected))?;
        if !self.hint.is_empty() {
            write!(f, "\n    hint      {}", printable(&self.hint))?;
        }
        Ok(())
    }
}

/// Every problem of a configuration, names first, then values, then contradictions. Not transient: nothing starts
/// until a person has changed the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => f.write_str("the configuration has a problem:")?,
            n => write!(f, "the configuration has {n} problems:")?,
        }
        for (index, problem) in self.problems.iter().enumerate() {
            write!(f, "\n\n {}. {problem}", index + 1)?;
        }
        if let Some(first) = self.problems.first() {
            write!(f, "\n\n`tidewire explain {}` says more.", first.code)?;
        }
        Ok(())
    }
}

/// Control characters made visible, so that a value cannot move the cursor or forge a line.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_printed_and_no_control_character_survives() {
        let problem = |path: &str| Problem {
            code: "config.invalid_value",
            path: path.into(),
            origin: Origin::Env("X".into()),
            expected: "a number".into(),
            found: "a\u{1b}[2J\nb".into(),
            hint: String::new(),
        };
        let text = ConfigError { problems: vec![problem("one"), problem("two")] }.to_string();
        assert!(text.contains("2 problems"), "{text}");
        assert!(text.contains(" 1. one") && text.contains(" 2. two"), "{text}");
        assert!(text.contains(r"a\u{1b}[2J\nb"), "{text}");
        assert!(text.contains("tidewire explain config.invalid_value"), "{text}");
    }
}
