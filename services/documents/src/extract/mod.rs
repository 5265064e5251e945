//! Text out of uploaded files: plain text, Markdown, HTML and PDF.
//!
//! Uploaded files are hostile until proven otherwise: PDF parsers panic, recurse, loop and eat
//! memory. A service therefore uses [`ExtractorChild`], which does the work in a child process with
//! a deadline and a memory limit; [`extract`] is the same work in this process, for tests and for
//! files that are trusted.

mod child;
mod decode;
mod error;
mod extractor;
mod html;
mod markdown;
mod media;
mod pdf;
mod tidy;

use serde::{Deserialize, Serialize};

pub use child::child_main;
pub use error::ExtractError;
pub use extractor::{ExtractorChild, ExtractorOptions};
pub use media::MediaType;

/// The largest original that is accepted, in bytes (64 MiB): an illustrated book as PDF fits, and two
/// of them in work at once stay within a small machine's memory.
pub const MAX_ORIGINAL_BYTES: usize = 64 * 1024 * 1024;

/// The longest text that is extracted, in bytes (16 MiB): about 2.5 million words, more than any book.
/// A file that unfolds to more is refused rather than cut, because half a document is a wrong answer.
pub const MAX_TEXT_BYTES: usize = 16 * 1024 * 1024;

/// The longest title kept, in characters; longer ones are cut at a word.
pub const MAX_TITLE_CHARS: usize = 300;

/// What was uploaded: the bytes, and what the sender said about them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Original<'a> {
    /// The file as it came.
    pub bytes: &'a [u8],
    /// The `Content-Type` that came with it, parameters included.
    pub content_type: Option<&'a str>,
    /// The file's name; only its extension is looked at.
    pub file_name: Option<&'a str>,
}

/// The text of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extracted {
    /// The title the document itself states (PDF information, `<title>`, first heading), if any.
    pub title: Option<String>,
    /// The text: never empty, at most [`MAX_TEXT_BYTES`], lines end in `\n`, no control characters
    /// but `\n` and `\t`.
    pub text: String,
    /// Number of pages, for media types that have them.
    pub pages: Option<u32>,
    /// Pages whose text could not be read while that of others could. They are missing in `text`.
    pub unreadable_pages: u32,
    /// What the file was found to be, whatever the sender said.
    pub media_type: MediaType,
    /// The character encoding the text was read from, by its WHATWG name (`UTF-8`, `windows-1252`).
    pub encoding: Option<String>,
}

/// Extracts the text in this process, on this thread.
///
/// A panic of a parser is caught and reported as [`ExtractError::Crashed`]; an endless loop, a stack
/// overflow or memory exhaustion is not: use [`ExtractorChild`] for files from outside.
///
/// # Errors
/// See [`ExtractError`]; all of them are final for this file.
pub fn extract(original: Original<'_>) -> Result<Extracted, ExtractError> {
    if original.bytes.len() > MAX_ORIGINAL_BYTES {
        return Err(ExtractError::TooLarge { what: "the file".into(), limit_bytes: MAX_ORIGINAL_BYTES as u64 });
    }
    let media_type = media::detect(&original)?;
    // Nothing the parsers touch outlives the call, so a half-made state cannot be seen.
    let work = std::panic::AssertUnwindSafe(|| extract_as(media_type, &original));
    std::panic::catch_unwind(work).unwrap_or_else(|panic| Err(ExtractError::Crashed { detail: panic_text(&*panic) }))
}

fn extract_as(media_type: MediaType, original: &Original<'_>) -> Result<Extracted, ExtractError> {
    let draft = match media_type {
        MediaType::Plain => {
            let (text, encoding) = decode::text(original)?;
            Draft { text, encoding: Some(encoding), ..Draft::default() }
        }
        MediaType::Markdown => {
            let (source, encoding) = decode::text(original)?;
            Draft { encoding: Some(encoding), ..markdown::extract(&source)? }
        }
        MediaType::Html => {
            let (source, encoding) = decode::html(original)?;
            Draft { encoding: Some(encoding), ..html::extract(&source)? }
        }
        MediaType::Pdf => pdf::extract(original.bytes)?,
    };
    finish(draft, media_type)
}

/// What a parser hands back: not yet tidied, not yet measured.
#[derive(Debug, Default)]
struct Draft {
    title: Option<String>,
    text: String,
    pages: Option<u32>,
    unreadable_pages: u32,
    encoding: Option<&'static str>,
}

fn finish(draft: Draft, media_type: MediaType) -> Result<Extracted, ExtractError> {
    let text = tidy::text(&draft.text);
    if !text.chars().any(char::is_alphanumeric) {
        return Err(ExtractError::Empty);
    }
    if text.len() > MAX_TEXT_BYTES {
        return Err(text_too_large());
    }
    let title = draft.title.as_deref().and_then(|title| tidy::line(title, MAX_TITLE_CHARS));
    Ok(Extracted {
        title,
        text,
        pages: draft.pages,
        unreadable_pages: draft.unreadable_pages,
        media_type,
        encoding: draft.encoding.map(str::to_owned),
    })
}

fn text_too_large() -> ExtractError {
    ExtractError::TooLarge { what: "the extracted text".into(), limit_bytes: MAX_TEXT_BYTES as u64 }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("the parser panicked");
    tidy::line(text, MAX_TITLE_CHARS).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(bytes: &[u8]) -> Result<Extracted, ExtractError> {
        extract(Original { bytes, ..Original::default() })
    }

    #[test]
    fn plain_text_in_the_encodings_people_use() {
        let utf16: Vec<u8> =
            [0xFF, 0xFE].into_iter().chain("Ebbe für Fünf".encode_utf16().flat_map(u16::to_le_bytes)).collect();
        let cases: &[(&[u8], &str, &str)] = &[
            (b"The tide turns.", "The tide turns.", "UTF-8"),
            (b"\xEF\xBB\xBFThe tide turns.", "The tide turns.", "UTF-8"),
            (&utf16, "Ebbe für Fünf", "UTF-16LE"),
            (b"Ebbe f\xFCr F\xFCnf, \x93so\x94", "Ebbe für Fünf, “so”", "windows-1252"),
            ("a\0b\u{7}c\r\nd".as_bytes(), "abc\nd", "UTF-8"),
        ];
        for (bytes, text, encoding) in cases {
            let mut padded = bytes.to_vec();
            if *encoding == "UTF-8" {
                padded.extend(b" ".repeat(200));
            }
            let got = plain(&padded).unwrap();
            assert_eq!(got.text, *text);
            assert_eq!(got.encoding.as_deref(), Some(*encoding));
        }
    }

    #[test]
    fn refuses_what_is_not_text() {
        let noise: Vec<u8> = (0u32..4096).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let cases: &[(&[u8], Option<&str>, &str)] = &[
            (b"", None, "empty"),
            (b" \n\t ", None, "empty"),
            (b"PK\x03\x04rest of a zip", None, "unsupported_media_type"),
            (b"\x89PNG\r\n\x1a\n....", Some("text/plain"), "unsupported_media_type"),
            (&noise, None, "unsupported_media_type"),
            (&[&[0xFF, 0xFE], &noise[..]].concat(), None, "unsupported_media_type"),
            (b"some words", Some("image/png"), "unsupported_media_type"),
            (b"some words", Some("application/pdf"), "corrupt"),
        ];
        for (bytes, content_type, code) in cases {
            let error = extract(Original { bytes, content_type: *content_type, file_name: None }).unwrap_err();
            assert_eq!(error.code(), format!("document.{code}"), "{content_type:?} {error}");
        }
    }

    #[test]
    fn text_beyond_the_limit_is_refused_not_cut() {
        let long = "word ".repeat(MAX_TEXT_BYTES / 5 + 1);
        assert_eq!(plain(long.as_bytes()).unwrap_err().code(), "document.too_large");
        assert!(plain(&long.as_bytes()[..1000]).is_ok());
    }

    #[test]
    fn the_documents_to_try_with_are_read_or_refused_as_meant() {
        /// Title and pages, or the code of the refusal.
        type Expected = Result<(Option<&'static str>, Option<u32>), &'static str>;
        let cases: &[(&str, Expected)] = &[
            ("berth-tariffs-encrypted.pdf", Err("encrypted")),
            ("log-book-corrupt.pdf", Err("corrupt")),
            ("harbour-handover.pdf", Ok((Some("Harbour handover"), Some(3)))),
            ("gezeiten-und-warteschlangen.pdf", Ok((Some("Gezeiten und Warteschlangen"), Some(3)))),
            ("exactly-once.html", Ok((Some("Exactly once, in effect"), None))),
            ("spring-tides.html", Ok((Some("Spring tides at the Marsh Gauge"), None))),
            ("incident-review.html", Ok((Some("Review: notifications late on 9 June 2026"), None))),
            ("marees-et-evenements.html", Ok((Some("Marées et événements"), None))),
            ("outbox-pattern.md", Ok((Some("Why the log is the outbox"), None))),
            ("runbook-parked-keys.md", Ok((Some("Runbook: a parked key"), None))),
            ("tide-tables.txt", Ok((None, None))),
            ("tide-tables-revised.txt", Ok((None, None))),
        ];
        let dir = format!("{}/../../tests/data/documents", env!("CARGO_MANIFEST_DIR"));
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), cases.len());
        for (name, want) in cases {
            let bytes = std::fs::read(format!("{dir}/{name}")).unwrap();
            let got = extract(Original { bytes: &bytes, content_type: None, file_name: Some(name) });
            match (&got, want) {
                (Err(error), Err(code)) => assert_eq!(error.code(), format!("document.{code}"), "{name}"),
                (Ok(found), Ok((title, pages))) => {
                    assert_eq!(
                        (found.title.as_deref(), found.pages, found.unreadable_pages),
                        (*title, *pages, 0),
                        "{name}"
                    );
                    assert!(found.text.split_whitespace().count() > 200, "{name}");
                    assert!(!found.text.contains(['<', '\u{FFFD}']) || name.ends_with(".md"), "{name}");
                }
                _ => panic!("{name}: {got:?}"),
            }
        }
    }
}
