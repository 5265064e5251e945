//! Refusals of the HTTP surface as failures of a command.

use serde_json::Value;

use crate::exit::Exit;
use crate::failure::Failure;

/// How much of an answer that is no problem+json is repeated.
const MAX_REPEATED_CHARS: usize = 300;

/// The failure an answer with an error status means.
pub fn failure(status: u16, body: &[u8]) -> Failure {
    let exit = Exit::of_status(status);
    let problem: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let text = |name: &str| problem.get(name).and_then(Value::as_str);
    let Some(code) = text("code") else {
        let start: String = String::from_utf8_lossy(body).chars().take(MAX_REPEATED_CHARS).collect();
        return Failure::new(exit, "client.unexpected_answer", format!("the instance answered {status}: {start}"))
            .hint("is this address a Tidewire of the same version?");
    };
    let message = text("detail").or_else(|| text("title")).unwrap_or("the request was refused").to_owned();
    let mut failure = Failure::new(exit, code, message);
    if let Some(hint) = text("hint") {
        failure = failure.hint(hint);
    }
    failure.details(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_keep_their_code_and_strangers_are_named_as_such() {
        let body = br#"{"type":"about:blank","title":"t","status":404,"detail":"no saga `x`","code":"saga.unknown"}"#;
        let found = failure(404, body);
        assert_eq!(
            (found.exit, found.code.as_str(), found.message.as_str()),
            (Exit::NotFound, "saga.unknown", "no saga `x`")
        );
        let stranger = failure(502, b"<html>");
        assert_eq!((stranger.exit, stranger.code.as_str()), (Exit::Unavailable, "client.unexpected_answer"));
        assert!(stranger.message.contains("<html>"));
    }
}
