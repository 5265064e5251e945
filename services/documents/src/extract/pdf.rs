//! PDF to text, page by page, so that one bad page does not cost the others.

mod layout;

use std::panic::{AssertUnwindSafe, catch_unwind};

use lopdf::{Dictionary, Document, Error, ObjectId};

use super::{Draft, ExtractError, MAX_TEXT_BYTES};
use layout::Pages;

/// More pages than any bound volume; each costs a walk of the page tree when pages are read one by one.
const MAX_PAGES: usize = 20_000;

/// Real page trees are at most a dozen levels deep. The parser follows `Parent` without a limit, so a
/// deep or circular chain must be refused before it sees the page.
const MAX_PAGE_TREE_DEPTH: usize = 64;

pub(super) fn extract(bytes: &[u8]) -> Result<Draft, ExtractError> {
    let document = load(bytes)?;
    let pages: Vec<ObjectId> = document.get_pages().into_values().collect();
    if pages.is_empty() {
        return Err(ExtractError::Corrupt { reason: "no page can be found in it".to_owned() });
    }
    if pages.len() > MAX_PAGES {
        return Err(ExtractError::TooLarge {
            what: format!("a PDF of {} pages", pages.len()),
            limit_bytes: MAX_TEXT_BYTES as u64,
        });
    }
    if pages.iter().any(|page| page_tree_too_deep(&document, *page)) {
        return Err(ExtractError::TooDeep);
    }
    let (text, unreadable) = read_pages(&document, pages.len())?;
    let missing = stated_page_count(&document).unwrap_or(0).saturating_sub(pages.len()).min(MAX_PAGES);
    let unreadable = unreadable + missing;
    if unreadable > 0 && text.trim().is_empty() {
        return Err(ExtractError::Corrupt {
            reason: format!("none of its {} pages can be read", pages.len() + missing),
        });
    }
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Ok(Draft {
        title: title(&document),
        text,
        pages: Some(count(pages.len() + missing)),
        unreadable_pages: count(unreadable),
        encoding: None,
    })
}

fn load(bytes: &[u8]) -> Result<Document, ExtractError> {
    let document = match Document::load_mem(bytes) {
        Ok(document) => document,
        Err(Error::InvalidPassword | Error::Decryption(_) | Error::UnsupportedSecurityHandler(_)) => {
            return Err(ExtractError::Encrypted);
        }
        Err(error) => return Err(ExtractError::Corrupt { reason: short(&error) }),
    };
    // Loading tries the empty password, which opens files that only restrict printing.
    if document.is_encrypted() { Err(ExtractError::Encrypted) } else { Ok(document) }
}

fn short(error: &Error) -> String {
    super::tidy::line(&error.to_string(), 200).unwrap_or_default()
}

fn page_tree_too_deep(document: &Document, page: ObjectId) -> bool {
    let mut node = page;
    for _ in 0..MAX_PAGE_TREE_DEPTH {
        let parent =
            document.get_dictionary(node).and_then(|dict| dict.get(b"Parent")).and_then(|parent| parent.as_reference());
        match parent {
            Ok(parent) => node = parent,
            Err(_) => return false,
        }
    }
    true
}

fn stated_page_count(document: &Document) -> Option<usize> {
    let root = document.catalog().ok()?.get(b"Pages").ok()?.as_reference().ok()?;
    let count = document.get_dictionary(root).ok()?.get(b"Count").ok()?.as_i64().ok()?;
    usize::try_from(count).ok()
}

/// All text, and the number of pages that could not be read.
fn read_pages(document: &Document, count: usize) -> Result<(String, usize), ExtractError> {
    let mut pages = Pages::default();
    let whole = catch_unwind(AssertUnwindSafe(|| pdf_extract::output_doc(document, &mut pages)));
    if pages.overflowed() {
        return Err(super::text_too_large());
    }
    if matches!(whole, Ok(Ok(()))) {
        return Ok((pages.into_text(), 0));
    }
    // Some page broke the parser. Those before it are done; go on page by page.
    pages.drop_unfinished();
    let mut unreadable = 0;
    for page in pages.finished() + 1..=count {
        let number = u32::try_from(page).unwrap_or(u32::MAX);
        let one = catch_unwind(AssertUnwindSafe(|| pdf_extract::output_doc_page(document, &mut pages, number)));
        if !matches!(one, Ok(Ok(()))) {
            pages.drop_unfinished();
            let simple = catch_unwind(AssertUnwindSafe(|| document.extract_text(&[number])));
            let text = simple.ok().and_then(Result::ok).filter(|text| is_prose(text));
            unreadable += usize::from(text.is_none());
            pages.push(text.unwrap_or_default());
        }
        if pages.overflowed() {
            return Err(super::text_too_large());
        }
    }
    Ok((pages.into_text(), unreadable))
}

/// The simple reader knows few font encodings and then yields glyph numbers or remarks in place of text.
fn is_prose(text: &str) -> bool {
    let (mut good, mut bad) = (0usize, 0usize);
    for c in text.chars().filter(|c| !c.is_whitespace()) {
        if c == char::REPLACEMENT_CHARACTER || c.is_control() { bad += 1 } else { good += 1 }
    }
    bad * 20 <= good && !text.contains("?Identity-H Unimplemented?")
}

fn title(document: &Document) -> Option<String> {
    let info = document.trailer.get(b"Info").ok()?;
    let info: &Dictionary = document.dereference(info).ok()?.1.as_dict().ok()?;
    let title = document.dereference(info.get(b"Title").ok()?).ok()?.1;
    let title = lopdf::decode_text_string(title).ok()?;
    let title = title.trim().trim_start_matches("Microsoft Word - ");
    let generated = ["", "untitled", "(anonymous)", "unknown", "title"].contains(&title.to_lowercase().as_str());
    (!generated).then(|| title.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_pdf_inside_is_corrupt() {
        let cases: &[&[u8]] = &[
            b"%PDF-1.4",
            b"%PDF-1.4\n%%EOF",
            b"%PDF-1.4\nstartxref\n9999999\n%%EOF",
            b"%PDF-1.4\nxref\n0 1\n0000000000 65535 f \ntrailer << /Size 1 >>\nstartxref\n9\n%%EOF",
        ];
        for bytes in cases {
            let got = catch_unwind(|| extract(bytes).map(|draft| draft.text));
            assert!(
                matches!(got, Ok(Err(ExtractError::Corrupt { .. }))),
                "{} gave {got:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }

    #[test]
    fn glyph_numbers_are_not_prose() {
        assert!(is_prose("Some words"));
        assert!(!is_prose("\u{1}\u{2}\u{3}a"));
        assert!(!is_prose("?Identity-H Unimplemented?"));
    }
}
