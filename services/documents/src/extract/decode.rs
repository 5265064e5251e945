//! Bytes to text, in the encodings found in the wild.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

use super::{ExtractError, Original};

/// How far into a page its character set may be declared, as browsers do it.
const CHARSET_WINDOW: usize = 1024;

/// How much of UTF-16 is looked at, in bytes: even, so that it ends between two units.
const UTF16_WINDOW: usize = 64 * 1024;

/// Share of control characters above which bytes are not text: compressed data has about ten in a
/// hundred, prose with a few stray ones far less than two.
const MAX_CONTROL_SHARE: f64 = 0.02;

/// Decodes plain text and Markdown.
pub(super) fn text(original: &Original<'_>) -> Result<(String, &'static str), ExtractError> {
    decode(original.bytes, original.content_type.and_then(charset_parameter))
}

/// Decodes a page, which may name its own character set.
pub(super) fn html(original: &Original<'_>) -> Result<(String, &'static str), ExtractError> {
    let declared = original.content_type.and_then(charset_parameter).or_else(|| charset_in_page(original.bytes));
    decode(original.bytes, declared)
}

fn decode(bytes: &[u8], declared: Option<&'static Encoding>) -> Result<(String, &'static str), ExtractError> {
    if let Some((encoding, skip)) = Encoding::for_bom(bytes) {
        return Ok((encoding.decode_without_bom_handling(&bytes[skip..]).0.into_owned(), encoding.name()));
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Ok((text.to_owned(), UTF_8.name()));
    }
    let encoding = match declared {
        // Declared UTF-8 and not valid: either a few broken bytes, or a wrong declaration.
        Some(encoding) if encoding != UTF_8 => encoding,
        _ => guess(bytes),
    };
    let (text, _) = encoding.decode_without_bom_handling(bytes);
    let replaced = text.chars().filter(|c| *c == char::REPLACEMENT_CHARACTER).count();
    if replaced * 10 > text.chars().count() {
        return Err(ExtractError::Corrupt { reason: format!("it is not valid {}", encoding.name()) });
    }
    Ok((text.into_owned(), encoding.name()))
}

/// Text with more valid multi-byte sequences than broken ones is damaged UTF-8; else it is the
/// superset of Latin-1 that every byte string decodes as.
fn guess(bytes: &[u8]) -> &'static Encoding {
    let (mut multi_byte, mut broken) = (0usize, 0usize);
    for chunk in bytes.utf8_chunks() {
        multi_byte += chunk.valid().bytes().filter(|byte| *byte >= 0xC0).count();
        broken += usize::from(!chunk.invalid().is_empty());
    }
    if multi_byte > broken { UTF_8 } else { WINDOWS_1252 }
}

/// Whether bytes are text in UTF-8, UTF-16 with a byte order mark, or a one-byte encoding.
pub(super) fn looks_like_text(bytes: &[u8]) -> bool {
    if let Some((encoding, skip)) = Encoding::for_bom(bytes)
        && encoding != UTF_8
    {
        // Two bytes of anything can look like this mark; the text after it cannot be mistaken.
        let (text, _) = encoding.decode_without_bom_handling(&bytes[skip..bytes.len().min(UTF16_WINDOW)]);
        let strange = text.chars().filter(|c| *c == char::REPLACEMENT_CHARACTER || is_binary(*c)).count();
        return strange as f64 <= 1.0 + text.chars().count() as f64 * MAX_CONTROL_SHARE;
    }
    let controls = bytes.iter().filter(|byte| is_binary_control(**byte)).count();
    if controls as f64 > bytes.len() as f64 * MAX_CONTROL_SHARE {
        return false;
    }
    // A zero byte in something that is not even UTF-8 is a record or an image, never prose.
    std::str::from_utf8(bytes).is_ok() || !bytes.contains(&0)
}

fn is_binary(c: char) -> bool {
    u8::try_from(c).is_ok_and(is_binary_control) || ('\u{E000}'..='\u{F8FF}').contains(&c)
}

fn is_binary_control(byte: u8) -> bool {
    matches!(byte, 0..=7 | 0x0E..=0x1A | 0x1C..=0x1F | 0x7F)
}

/// Whether a page begins here, after white space, a byte order mark, an XML declaration and comments.
pub(super) fn starts_like_html(bytes: &[u8]) -> bool {
    let head = readable_head(bytes);
    let mut rest = head.trim_start_matches(['\u{FEFF}', ' ', '\t', '\n', '\r', '\u{C}']);
    for (open, close) in [("<?xml", "?>"), ("<!--", "-->"), ("<!--", "-->")] {
        if rest.starts_with(open) {
            let Some(end) = rest.find(close) else { return false };
            rest = rest[end + close.len()..].trim_start();
        }
    }
    let lower = rest.chars().take(16).collect::<String>().to_ascii_lowercase();
    ["<!doctype html", "<html", "<head>", "<body"].iter().any(|start| lower.starts_with(start))
}

fn readable_head(bytes: &[u8]) -> Cow<'_, str> {
    let head = &bytes[..bytes.len().min(CHARSET_WINDOW)];
    match Encoding::for_bom(head) {
        Some((encoding, skip)) => encoding.decode_without_bom_handling(&head[skip..]).0,
        None => String::from_utf8_lossy(head),
    }
}

fn charset_parameter(content_type: &str) -> Option<&'static Encoding> {
    content_type
        .split(';')
        .skip(1)
        .find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
        })
        .and_then(|label| Encoding::for_label(label.as_bytes()))
}

/// `<meta charset="…">` and `<meta http-equiv content="…; charset=…">` both contain `charset=`.
fn charset_in_page(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(CHARSET_WINDOW)]).to_ascii_lowercase();
    let after = &head[head.find("charset=")? + "charset=".len()..];
    let label: String = after
        .trim_start_matches(['"', '\'', ' '])
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        .collect();
    let encoding = Encoding::for_label(label.as_bytes())?;
    // The declaration itself was readable as ASCII, so these cannot be true.
    let impossible = encoding == encoding_rs::UTF_16LE || encoding == encoding_rs::UTF_16BE;
    Some(if impossible { UTF_8 } else { encoding })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_character_sets_are_honoured_unless_utf8_fits() {
        let cases: &[(&[u8], Option<&str>, &str, &str)] = &[
            (b"\xD0\xD2\xC9\xCC\xC9\xD7", Some("text/html; charset=koi8-r"), "прилив", "KOI8-R"),
            (b"<meta charset=koi8-r>\xD0\xD2\xC9\xCC\xC9\xD7", None, "<meta charset=koi8-r>прилив", "KOI8-R"),
            ("прилив".as_bytes(), Some("text/html; charset=koi8-r"), "прилив", "UTF-8"),
            (
                "Ebbe und Flut für alle \u{e4}\u{f6}\u{fc} \u{FFFD}".as_bytes(),
                None,
                "Ebbe und Flut für alle äöü \u{FFFD}",
                "UTF-8",
            ),
            (b"caf\xC3\xA9 caf\xC3\xA9 caf\xC3", None, "café café caf\u{FFFD}", "UTF-8"),
        ];
        for (bytes, content_type, text, encoding) in cases {
            let got = html(&Original { bytes, content_type: *content_type, file_name: None }).unwrap();
            assert_eq!((got.0.as_str(), got.1), (*text, *encoding));
        }
    }
}
