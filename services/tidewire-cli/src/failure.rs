//! Why a command failed: one shape for people, scripts and the exit code.

use serde::Serialize;
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::output::text::printable;

/// Why a command failed. `code` is stable and known to `tidewire explain`.
#[derive(Debug, Serialize)]
pub struct Failure {
    /// The stable code.
    pub code: String,
    /// What went wrong, in one sentence.
    pub message: String,
    /// What a script may want to look at; null when there is nothing.
    pub details: Value,
    /// What to do about it.
    pub hint: Option<String>,
    /// How the process ends.
    #[serde(skip)]
    pub exit: Exit,
}

impl Failure {
    /// A failure without details and hint.
    pub fn new(exit: Exit, code: impl Into<String>, message: impl std::fmt::Display) -> Self {
        Self { code: code.into(), message: message.to_string(), details: Value::Null, hint: None, exit }
    }

    /// With what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With what a script may want to look at.
    pub fn details(mut self, details: Value) -> Self {
        self.details = details;
        self
    }

    /// Standard output was closed by its reader (`… | head`): the reader has all it wanted.
    pub fn is_closed_pipe(&self) -> bool {
        self.code == CLOSED_PIPE
    }

    /// For people: the sentence, the cure, and where to read more.
    pub fn for_people(&self) -> String {
        let mut text = format!("error[{}]: {}", printable(&self.code), multiline(&self.message));
        if let Some(hint) = &self.hint {
            text.push_str(&format!("\n  hint: {}", multiline(hint)));
        }
        // A configuration's own text says so already.
        if tidewire::codes::explain(&self.code).is_some() && !text.contains("tidewire explain") {
            text.push_str(&format!("\n  more: tidewire explain {}", printable(&self.code)));
        }
        text
    }

    /// For scripts: one line of JSON.
    pub fn for_scripts(&self) -> String {
        json!(self).to_string()
    }
}

const CLOSED_PIPE: &str = "output.closed";

/// Our own texts may have several lines; whatever else is in them is made visible.
fn multiline(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

impl From<std::io::Error> for Failure {
    /// For standard output; files have their own sentences.
    fn from(error: std::io::Error) -> Self {
        let code = if error.kind() == std::io::ErrorKind::BrokenPipe { CLOSED_PIPE } else { "output.failed" };
        Self::new(Exit::Error, code, format!("cannot write the output: {error}"))
    }
}

impl From<tidewire::config::ConfigError> for Failure {
    fn from(error: tidewire::config::ConfigError) -> Self {
        let problems = crate::command::config::problems(&error);
        let code = error.problems.first().map_or("config.invalid_value", |problem| problem.code);
        Self::new(Exit::Invalid, code, &error).details(json!({ "problems": problems }))
    }
}

impl From<tidewire::StoreError> for Failure {
    fn from(error: tidewire::StoreError) -> Self {
        use tidewire::StoreError as E;
        let exit = match &error {
            E::Conflict(_) | E::Fenced { .. } | E::Locked(_) => Exit::Conflict,
            E::Unavailable(_) | E::Full(_) | E::ReadOnly(_) | E::Unknown(_) => Exit::Unavailable,
            E::Invalid(_) | E::Denied(_) | E::Misconfigured(_) => Exit::Invalid,
            _ => Exit::Error,
        };
        Self::new(exit, error.code(), &error)
    }
}

impl From<tidewire::BrokerError> for Failure {
    fn from(error: tidewire::BrokerError) -> Self {
        use tidewire::BrokerError as E;
        let exit = match &error {
            E::Locked(_) => Exit::Conflict,
            E::TooLarge { .. } | E::Invalid(_) | E::Denied(_) | E::Misconfigured(_) => Exit::Invalid,
            other if other.is_transient() => Exit::Unavailable,
            _ => Exit::Error,
        };
        Self::new(exit, error.code(), &error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_get_the_four_members_and_people_the_cure() {
        let failure = Failure::new(Exit::NotFound, "saga.unknown", "no saga `x\u{1b}[2J`").hint("tidewire sagas list");
        let object: Value = serde_json::from_str(&failure.for_scripts()).unwrap();
        let members: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["code", "details", "hint", "message"]);
        let text = failure.for_people();
        assert!(text.contains("error[saga.unknown]") && text.contains("hint: tidewire sagas list"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}
