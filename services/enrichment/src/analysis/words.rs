/// A word and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    /// Where it begins, in bytes.
    pub(super) start: usize,
    /// Whether it is a single character of a script written without spaces.
    pub(super) unspaced: bool,
}

/// The words of a text: runs of letters and digits, with an apostrophe, hyphen, point or comma between two of
/// them where it belongs to the word or number.
pub(super) fn words(text: &str) -> impl Iterator<Item = Word<'_>> {
    let mut chars = text.char_indices().peekable();
    std::iter::from_fn(move || {
        let (start, first) = chars.find(|(_, c)| c.is_alphanumeric())?;
        let mut end = start + first.len_utf8();
        if is_unspaced(first) {
            return Some(Word { text: &text[start..end], start, unspaced: true });
        }
        let mut last = first;
        while let Some(&(at, c)) = chars.peek() {
            if c.is_alphanumeric() && !is_unspaced(c) || is_mark(c) {
                end = at + c.len_utf8();
            } else {
                let next = text[at + c.len_utf8()..].chars().next();
                if !next.is_some_and(|next| joins(last, c, next)) {
                    break;
                }
            }
            last = c;
            chars.next();
        }
        Some(Word { text: &text[start..end], start, unspaced: false })
    })
}

/// Combining marks follow the letter they change.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36F}')
}

fn joins(before: char, joint: char, after: char) -> bool {
    match joint {
        '\'' | '’' | '-' => before.is_alphanumeric() && after.is_alphanumeric() && !is_unspaced(after),
        '.' | ',' => before.is_ascii_digit() && after.is_ascii_digit(),
        _ => false,
    }
}

/// Han, Hiragana, Katakana, Thai, Lao, Khmer, Myanmar.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}' | '\u{3040}'..='\u{30FF}'
        | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_where_a_reader_would() {
        let cases: &[(&str, &[&str])] = &[
            ("Don't stop--now, at 3.5 m.", &["Don't", "stop", "now", "at", "3.5", "m"]),
            ("event-driven 'quoted' l’eau", &["event-driven", "quoted", "l’eau"]),
            ("海x水-火", &["海", "x", "水", "火"]),
            ("a.b e\u{301}te\u{301}", &["a", "b", "e\u{301}te\u{301}"]),
        ];
        for (text, want) in cases {
            let got: Vec<Word<'_>> = words(text).collect();
            assert_eq!(got.iter().map(|word| word.text).collect::<Vec<_>>(), *want);
            for word in got {
                assert!(text[word.start..].starts_with(word.text));
            }
        }
    }
}
