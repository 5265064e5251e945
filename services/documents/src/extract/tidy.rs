//! The one shape all extracted text has, whatever it came from.

/// Removes control characters, zero-width and soft-hyphen marks, unifies line ends, strips the ends of
/// lines, and leaves at most one empty line between paragraphs.
pub(super) fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut newlines = 2usize; // leading empty lines are dropped
    let mut blanks = String::new();
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' | '\r' | '\u{B}' | '\u{C}' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                blanks.clear();
                if newlines < 2 {
                    out.push('\n');
                    newlines += 1;
                }
            }
            ' ' | '\t' | '\u{A0}' => blanks.push(if c == '\t' { '\t' } else { ' ' }),
            c if is_noise(c) => {}
            c => {
                out.push_str(&blanks);
                blanks.clear();
                newlines = 0;
                out.push(c);
            }
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// One line of at most `max_chars` characters, cut at a word; nothing if there is nothing to see.
pub(super) fn line(raw: &str, max_chars: usize) -> Option<String> {
    let mut line = String::new();
    let mut count = 0usize;
    for word in raw.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        let word: String = word.chars().filter(|c| !is_noise(*c)).collect();
        let length = word.chars().count();
        if length == 0 {
            continue;
        }
        if count + length + 1 > max_chars {
            if line.is_empty() {
                line.extend(word.chars().take(max_chars));
            }
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
        count += length + 1;
    }
    (!line.is_empty()).then_some(line)
}

fn is_noise(c: char) -> bool {
    c.is_control() || matches!(c, '\u{AD}' | '\u{200B}' | '\u{2060}' | '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_one_shape() {
        let cases = [
            ("", ""),
            ("\n\n  \n a", " a"),
            ("a\r\nb\rc", "a\nb\nc"),
            ("a  \n\n\n\n b\t\n", "a\n\n b"),
            ("a\u{0}b\u{1b}[1mc", "ab[1mc"),
            ("wa\u{AD}ter \u{FEFF}x", "water x"),
            ("a\u{A0}b\u{C}c", "a b\nc"),
        ];
        for (raw, want) in cases {
            assert_eq!(text(raw), want, "{raw:?}");
        }
    }

    #[test]
    fn a_line_is_cut_at_a_word() {
        assert_eq!(line("  Tides \n and\u{0}currents ", 99).as_deref(), Some("Tides and currents"));
        assert_eq!(line("Tides and currents", 10).as_deref(), Some("Tides and"));
        assert_eq!(line("Überschwemmungsgebiet", 4).as_deref(), Some("Über"));
        assert_eq!(line(" \u{0} \u{AD} ", 10), None);
    }
}
