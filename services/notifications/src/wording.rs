//! What notifications say.

use events::{DocumentIngested, DocumentRejected, SagaStuck};

use crate::kind::Kind;

/// The longest title, in characters: it becomes the subject of an e-mail.
const TITLE: usize = 160;

/// The words of one notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wording {
    pub kind: Kind,
    pub title: String,
    pub text: String,
}

impl Wording {
    fn new(kind: Kind, title: String, text: String) -> Self {
        Self { kind, title: one_line(&title), text }
    }

    /// The body of an e-mail.
    pub fn letter(&self) -> String {
        let parts = [self.title.as_str(), self.text.as_str()];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join("\n\n") + "\n"
    }
}

pub(crate) fn followed(follower: &str) -> Wording {
    Wording::new(Kind::UserFollowed, format!("{follower} follows you"), String::new())
}

pub(crate) fn ingested(event: &DocumentIngested) -> Wording {
    let what = document(event.title.as_deref(), event.filename.as_deref(), &event.document_id);
    let mut text = format!("{} characters in {} pieces", event.characters, event.chunks);
    if let Some(language) = &event.language {
        text.push_str(&format!(", language {language}"));
    }
    if !event.keywords.is_empty() {
        text.push_str(&format!(". About: {}", event.keywords.join(", ")));
    }
    text.push('.');
    Wording::new(Kind::DocumentIngested, format!("{what} can be found"), text)
}

pub(crate) fn rejected(event: &DocumentRejected) -> Wording {
    let what = document(event.title.as_deref(), event.filename.as_deref(), &event.document_id);
    let text = format!("{} ({}). Nothing of it was kept.", event.reason, event.code);
    Wording::new(Kind::DocumentRejected, format!("{what} was not taken"), text)
}

/// `document` is the title, file name or id of the document the saga works on, if it works on one.
pub(crate) fn stuck(event: &SagaStuck, document: Option<&str>) -> Wording {
    let what = document.unwrap_or(&event.subject);
    let text = format!(
        "The saga {} ({}) can go neither forward nor back at step {}: {}",
        event.saga_id, event.saga, event.step, event.reason
    );
    Wording::new(Kind::SagaStuck, format!("{what} needs attention"), text)
}

/// What to call a document.
pub(crate) fn document(title: Option<&str>, filename: Option<&str>, id: &str) -> String {
    let name = title.or(filename).map(str::trim).filter(|name| !name.is_empty());
    name.map_or_else(|| format!("Document {id}"), |name| format!("“{name}”"))
}

/// Without line breaks, which would be header injection in an e-mail, and of bounded length.
fn one_line(text: &str) -> String {
    let flat: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    events::limits::cut(&flat, TITLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_one_line_of_bounded_length() {
        let wording = followed(&format!("Eve\r\nBcc: all@example.org{}", "x".repeat(500)));
        assert!(!wording.title.contains(['\r', '\n']));
        assert_eq!(wording.title.chars().count(), TITLE);
    }

    #[test]
    fn letters_have_no_empty_paragraphs() {
        assert_eq!(followed("Bob").letter(), "Bob follows you\n");
        let wording = Wording::new(Kind::SagaStuck, "title".into(), "text".into());
        assert_eq!(wording.letter(), "title\n\ntext\n");
    }

    #[test]
    fn documents_are_called_by_what_people_know() {
        assert_eq!(document(Some("On tides"), Some("t.pdf"), "1"), "“On tides”");
        assert_eq!(document(None, Some("t.pdf"), "1"), "“t.pdf”");
        assert_eq!(document(Some(" "), None, "1"), "Document 1");
    }
}
